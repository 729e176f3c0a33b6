from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from pytest_raycompat.processes.children import Child, Children, describe_exit
from pytest_raycompat.processes.ownership import MARK_VARIABLE, end_processes, processes_of
from tests.programs import MAP_A_SEGMENT

SHELL = {"PATH": "/usr/bin:/bin"}
SHARED_MEMORY = Path("/dev/shm")


@pytest.fixture
def shell(children: Children) -> Iterator[Callable[[str], Child]]:
    """Start children that run a shell script; what they print can be read."""
    started = []

    def start(script: str) -> Child:
        started.append(children.start(["sh", "-c", script], environment=SHELL, stdout=subprocess.PIPE))
        return started[-1]

    yield start
    children.close()
    for child in started:
        child.process.wait(20)
        if child.process.stdout is not None:
            child.process.stdout.close()


@pytest.fixture
def segments() -> Iterator[list[Path]]:
    """Names of shared-memory segments that nobody has."""
    paths = [SHARED_MEMORY / f"raycompat-test-{os.getpid()}-{time.monotonic_ns()}-{number}" for number in range(4)]
    yield paths
    for path in paths:
        path.unlink(missing_ok=True)


def read_pid(child: Child) -> int:
    assert child.process.stdout is not None
    return int(child.process.stdout.readline())


def test_a_child_leads_a_session_of_its_own_and_carries_the_mark(
    children: Children, shell: Callable[[str], Child]
) -> None:
    child = shell("echo $$; exec sleep 60")
    assert read_pid(child) == child.pid == os.getsid(child.pid)
    assert child.pid != os.getsid(0)
    environment = psutil.Process(child.pid).environ()
    environment.pop("PWD", None)  # the shell's own
    assert environment == {**SHELL, MARK_VARIABLE: children.mark}


def test_runs_do_not_share_a_mark() -> None:
    assert Children().mark != Children().mark


def test_a_program_that_is_not_there_is_an_error(children: Children) -> None:
    with pytest.raises(FileNotFoundError):
        children.start(["/nowhere/program"], environment={})


def test_a_child_runs_in_the_folder_that_it_is_given(children: Children, tmp_path: Path) -> None:
    child = children.start(["pwd"], environment=SHELL, stdout=subprocess.PIPE, folder=tmp_path)
    output, _ = child.process.communicate(timeout=20)
    assert output.decode().strip() == str(tmp_path)


def test_a_child_has_nothing_to_read_unless_told_so(children: Children) -> None:
    child = children.start(["cat"], environment=SHELL)
    assert child.process.wait(20) == 0


def test_a_child_that_has_ended_tells_its_status(shell: Callable[[str], Child]) -> None:
    child = shell("exit 3")
    child.process.wait(20)
    assert (child.poll(), child.end()) == (3, 3)


def test_a_child_is_asked_to_end_first(shell: Callable[[str], Child]) -> None:
    child = shell("trap 'exit 7' TERM; echo $$; while :; do sleep 0.05; done")
    read_pid(child)
    assert child.poll() is None
    assert child.end() == 7


def test_a_child_that_does_not_end_is_killed(shell: Callable[[str], Child]) -> None:
    child = shell("trap '' TERM; echo $$; while :; do sleep 0.05; done")
    read_pid(child)
    began = time.monotonic()
    assert child.end(grace_s=0.3) == -signal.SIGKILL
    assert 0.3 <= time.monotonic() - began < 10


def test_a_child_that_was_asked_to_end_is_not_waited_for(
    shell: Callable[[str], Child], wait_until: Callable[..., None]
) -> None:
    child = shell("trap 'sleep 0.3; exit 7' TERM; echo ready; sleep 60 & wait")
    assert child.process.stdout is not None
    child.process.stdout.readline()
    child.ask_to_end()
    assert child.poll() is None
    wait_until(lambda: child.poll() is not None, 10)
    assert child.end() == 7


def test_a_child_is_asked_to_end_once_and_its_grace_counts_from_then(
    shell: Callable[[str], Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    graces: list[float] = []

    def note(leaders: Any, find: Any, *, grace_s: float, limit_s: float) -> Any:
        graces.append(grace_s)
        return end_processes(leaders, find, grace_s=grace_s, limit_s=limit_s)

    monkeypatch.setattr("pytest_raycompat.processes.children.end_processes", note)
    child = shell("trap 'echo asked' TERM; echo ready; while :; do sleep 0.05; done")
    output, child.process.stdout = child.process.stdout, None  # else it is closed with the child
    assert output is not None
    output.readline()
    child.ask_to_end()
    time.sleep(0.3)
    assert child.end(grace_s=1.0) == -signal.SIGKILL
    assert 0 < graces[0] <= 0.7
    assert output.read().split() == [b"asked"]
    output.close()


def test_the_streams_of_a_child_that_was_ended_are_closed(children: Children) -> None:
    child = children.start(["cat"], environment=SHELL, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.process.stdin is not None
    assert child.process.stdout is not None
    child.end()
    assert child.process.stdin.closed
    assert child.process.stdout.closed


def test_a_child_that_ended_without_reading_is_ended_all_the_same(children: Children) -> None:
    child = children.start(["true"], environment=SHELL, stdin=subprocess.PIPE)
    assert child.process.stdin is not None
    child.process.stdin.write(b"not sent yet")
    child.process.wait(20)
    assert child.end() == 0


def test_ending_a_child_ends_its_session(shell: Callable[[str], Child], is_alive: Callable[[int], bool]) -> None:
    child = shell("sleep 60 & echo $!; exec sleep 60")
    grandchild = read_pid(child)
    assert is_alive(grandchild)
    child.end(grace_s=0.3)
    assert not is_alive(grandchild)


def test_what_a_child_left_in_its_session_is_ended_though_it_has_ended_itself(
    shell: Callable[[str], Child], is_alive: Callable[[int], bool]
) -> None:
    child = shell("sleep 60 & echo $!; exit 0")
    grandchild = read_pid(child)
    child.process.wait(20)
    began = time.monotonic()
    assert child.end() == 0
    assert not is_alive(grandchild)
    assert time.monotonic() - began < 5


def test_ending_a_child_leaves_the_others_alone(shell: Callable[[str], Child]) -> None:
    first, second = shell("exec sleep 60"), shell("exec sleep 60")
    first.end()
    assert second.poll() is None


LEAVE_THE_SESSION = "setsid sh -c 'echo $$; exec sleep 60' & exec sleep 60"


def test_a_process_that_left_its_session_is_found_by_its_mark(
    children: Children, shell: Callable[[str], Child]
) -> None:
    child = shell(LEAVE_THE_SESSION)
    grandchild = read_pid(child)
    assert os.getsid(grandchild) == grandchild
    found = {process.pid for process in processes_of([child.pid], children.mark)}
    assert found == {child.pid, grandchild}
    assert {process.pid for process in processes_of([child.pid])} == {child.pid}
    assert {process.pid for process in processes_of([], children.mark)} == {child.pid, grandchild}
    os.kill(grandchild, signal.SIGKILL)


def test_closing_ends_sessions_and_what_has_left_them(
    children: Children, shell: Callable[[str], Child], is_alive: Callable[[int], bool]
) -> None:
    child, ended = shell(LEAVE_THE_SESSION), shell(LEAVE_THE_SESSION)
    grandchildren = [read_pid(child), read_pid(ended)]
    ended.end()
    assert all(map(is_alive, grandchildren))
    children.close()
    assert not any(map(is_alive, [child.pid, *grandchildren]))


def test_closing_leaves_the_processes_of_others_alone(children: Children, shell: Callable[[str], Child]) -> None:
    foreign = dict(os.environ) | {MARK_VARIABLE: "somebody-else"}
    with subprocess.Popen(["sleep", "60"], env=foreign, start_new_session=True) as theirs:
        try:
            child = shell("exec sleep 60")
            children.close()
            assert child.process.wait(20) == -signal.SIGTERM
            assert theirs.poll() is None
        finally:
            theirs.kill()


def test_closing_twice_and_closing_what_was_never_used(children: Children, shell: Callable[[str], Child]) -> None:
    shell("exec sleep 60")
    children.close()
    children.close()
    Children().close()


def test_after_closing_there_can_be_children_again(children: Children, shell: Callable[[str], Child]) -> None:
    children.close()
    child = shell("exec sleep 60")
    assert child.poll() is None
    children.close()
    assert child.process.wait(20) == -signal.SIGTERM


def test_a_folder_is_private_and_removed_when_closing(children: Children) -> None:
    folder = children.new_folder("raycompat-test-")
    assert folder.name.startswith("raycompat-test-")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "b" / "c").write_text("c")
    children.close()
    assert not folder.exists()


def test_what_a_link_in_a_folder_points_to_stays(children: Children, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (children.new_folder("raycompat-test-") / "link").symlink_to(tmp_path)
    children.close()
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_guardian_that_takes_too_long_is_told(
    children: Children, shell: Callable[[str], Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_raycompat.processes.children.GUARDIAN_LIMIT_S", 0.2)
    child = shell("trap '' TERM; echo $$; while :; do sleep 0.05; done")
    read_pid(child)
    guardian = children._guardian
    assert guardian is not None
    with pytest.raises(TimeoutError) as caught:
        children.close()
    assert str(caught.value) == (
        f"processes of this run are still alive after 0 s; process {guardian.pid} goes on ending them"
    )
    child.process.kill()
    assert guardian.wait(20) == 0


SEEN_S = 2.2
"""The guardian looks once a second who has which segment mapped."""


def map_segment(children: Children, segment: Path, mode: str = "x+b") -> Child:
    """Start a child that makes or opens a segment, and that has it mapped."""
    command = [sys.executable, "-c", MAP_A_SEGMENT, str(segment), mode]
    child = children.start(command, environment=SHELL, stdout=subprocess.PIPE)
    assert child.process.stdout is not None
    assert child.process.stdout.readline() == b"mapped\n"
    return child


def test_segments_that_children_leave_behind_are_removed_when_closing_and_no_others(
    children: Children, segments: list[Path]
) -> None:
    left, still_used, theirs, theirs_too = segments
    theirs.write_bytes(bytes(4096))
    theirs_too.write_bytes(bytes(4096))
    mapping = [map_segment(children, left), map_segment(children, still_used), map_segment(children, theirs_too, "r+b")]
    command = [sys.executable, "-c", MAP_A_SEGMENT, str(still_used), "r+b"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == b"mapped\n"
            time.sleep(SEEN_S)
            mapping[0].process.kill()
            mapping[1].end()
            mapping[2].end()
            assert left.exists()
            children.close()
            assert [segment.exists() for segment in segments] == [False, True, True, True]
        finally:
            other.kill()
    mapping[0].end()


def test_a_named_semaphore_that_a_child_leaves_behind_is_removed(children: Children) -> None:
    name = f"raycompat-test-{os.getpid()}-{time.monotonic_ns()}"
    program = (
        "import ctypes, time; library = ctypes.CDLL(None, use_errno=True); library.sem_open.restype = ctypes.c_void_p; "
        f"assert library.sem_open(b'/{name}', 0o100, 0o600, 1); print('made', flush=True); time.sleep(60)"
    )
    child = children.start([sys.executable, "-c", program], environment=SHELL, stdout=subprocess.PIPE)
    assert child.process.stdout is not None
    assert child.process.stdout.readline() == b"made\n"
    semaphore = SHARED_MEMORY / f"sem.{name}"
    assert semaphore.exists()
    time.sleep(SEEN_S)
    child.process.kill()
    children.close()
    assert not semaphore.exists()
    child.end()


def test_a_segment_is_reclaimed_while_the_run_goes_on(
    children: Children, segments: list[Path], wait_until: Callable[..., None]
) -> None:
    child = map_segment(children, segments[0])
    children.reclaim_shared_memory()  # still in use
    time.sleep(SEEN_S)
    assert segments[0].exists()
    child.end()
    children.reclaim_shared_memory()
    wait_until(lambda: not segments[0].exists())


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (None, "still running"),
        (0, "exit status 0"),
        (3, "exit status 3"),
        (-signal.SIGABRT, "killed by SIGABRT"),
        (-signal.SIGKILL, "killed by SIGKILL"),
        (-(signal.SIGRTMIN + 1), f"killed by signal {signal.SIGRTMIN + 1}"),
    ],
)
def test_how_a_process_ended(status: int | None, text: str) -> None:
    assert describe_exit(status) == text


def test_ending_nothing_asks_nobody() -> None:
    assert end_processes([], list, grace_s=5, limit_s=5) == []


def test_what_cannot_be_ended_is_returned(shell: Callable[[str], Child]) -> None:
    child = shell("trap '' TERM; echo $$; while :; do sleep 0.05; done")
    read_pid(child)
    left = end_processes([child.pid], lambda: processes_of([child.pid]), grace_s=5, limit_s=0.3)
    assert child.pid in {process.pid for process in left}
    child.end(grace_s=0.0)


def test_what_the_guardian_ends_is_reaped() -> None:
    children = Children()
    child = children.start([sys.executable, "-c", "import time; time.sleep(60)"], environment={})
    children.close()
    assert child.process.returncode in (-signal.SIGTERM, -signal.SIGKILL)


def test_what_a_guardian_that_died_would_have_ended_is_ended(is_alive: Callable[[int], bool]) -> None:
    children = Children()
    folder = children.new_folder("raycompat-test-")
    (folder / "token").touch()
    stubborn = [
        children.start(["sh", "-c", "trap '' TERM; while :; do sleep 1; done"], environment=dict(os.environ))
        for _ in range(2)
    ]
    assert children._guardian is not None
    children._guardian.kill()
    children._guardian.wait()
    stubborn[0].end(0)
    assert not is_alive(stubborn[0].pid)
    children.reclaim_shared_memory()
    children.close()
    assert not is_alive(stubborn[1].pid)
    assert not folder.exists()
    children.close()
