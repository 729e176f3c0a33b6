from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import psutil
import pytest

from pytest_raycompat.processes.guardian import Guardian
from pytest_raycompat.processes.ownership import MARK_VARIABLE
from tests.programs import MAP_A_SEGMENT

OWNER = """
import json, os, subprocess, sys, time
from pathlib import Path
from pytest_raycompat.processes.children import Children

children = Children()
folder = children.new_folder("raycompat-test-")
(folder / "file").write_text("x")
pids = []

def start(*command):
    child = children.start(command, environment={"PATH": "/usr/bin:/bin"}, stdout=subprocess.PIPE)
    pids.append(child.pid)
    return child.process.stdout

exec(sys.argv[1])
print(json.dumps({"folder": str(folder), "pids": pids, "guardian": children._guardian.pid}), flush=True)
exec(sys.argv[2])
"""
SLEEP = """
start("sleep", "60")
time.sleep(0.5)
"""
ALL_KINDS = """
start("sleep", "60")
leaver = start("sh", "-c", "sleep 60 & echo $!; setsid sh -c 'echo $$; exec sleep 60' & exec sleep 60")
pids += [int(leaver.readline()), int(leaver.readline())]
start("sh", "-c", "trap '' TERM; while :; do sleep 0.05; done")
start(sys.executable, "-c", PROGRAM, SEGMENT, "x+b").readline()
time.sleep(2.2)  # the guardian looks once a second who has which segment mapped
""".replace("PROGRAM", repr(MAP_A_SEGMENT))


SEGMENT_AT_THE_END = """
start(sys.executable, "-c", '''
import mmap, signal, sys, time
def end(number, frame):
    with open(sys.argv[1], "x+b") as stream:
        stream.truncate(4096)
        globals()["mapped"] = mmap.mmap(stream.fileno(), 4096)
signal.signal(signal.SIGTERM, end)
print(flush=True)
while True:
    time.sleep(60)
''', SEGMENT).readline()
"""


class Owned(Protocol):
    """Starts the process of a run that has a folder, and children; ``last`` is the last thing that it does."""

    def __call__(self, last: str, *, children: str = SLEEP) -> tuple[subprocess.Popen[bytes], dict[str, Any]]: ...


@pytest.fixture
def own() -> Iterator[Owned]:
    started = []

    def start(last: str, *, children: str = SLEEP) -> tuple[subprocess.Popen[bytes], dict[str, Any]]:
        command = [sys.executable, "-P", "-c", OWNER, children, last]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
        stream = started[-1].stdout
        assert stream is not None
        return started[-1], json.loads(stream.readline())

    yield start
    for process in started:
        process.kill()
        process.communicate(timeout=20)


@pytest.fixture
def segment() -> Iterator[Path]:
    path = Path("/dev/shm") / f"raycompat-test-{os.getpid()}-{time.monotonic_ns()}"
    yield path
    path.unlink(missing_ok=True)


def test_everything_is_gone_when_the_run_is_killed(
    own: Owned, segment: Path, is_alive: Callable[[int], bool], wait_until: Callable[..., None]
) -> None:
    process, told = own("time.sleep(60)", children=ALL_KINDS.replace("SEGMENT", repr(str(segment))))
    assert segment.exists()
    assert len(told["pids"]) == 6
    assert all(map(is_alive, told["pids"]))
    process.send_signal(signal.SIGKILL)
    wait_until(lambda: not any(map(is_alive, [*told["pids"], told["guardian"]])), 15)
    assert not Path(told["folder"]).exists()
    assert not segment.exists()


def test_a_segment_that_is_made_while_all_is_ended_is_gone_too(
    own: Owned, segment: Path, is_alive: Callable[[int], bool], wait_until: Callable[..., None]
) -> None:
    process, told = own("time.sleep(60)", children=SEGMENT_AT_THE_END.replace("SEGMENT", repr(str(segment))))
    process.send_signal(signal.SIGKILL)
    wait_until(segment.exists, 15)
    wait_until(lambda: not any(map(is_alive, [*told["pids"], told["guardian"]])), 15)
    assert not segment.exists()


@pytest.mark.parametrize(
    "last",
    ["os._exit(1)", "raise SystemExit", "children.close()", "children.close(); children.close()"],
    ids=["exits at once", "exits without closing", "closes", "closes twice"],
)
def test_everything_is_gone_however_the_run_ends(
    own: Owned, last: str, is_alive: Callable[[int], bool], wait_until: Callable[..., None]
) -> None:
    _, told = own(last)
    wait_until(lambda: not any(map(is_alive, [*told["pids"], told["guardian"]])), 15)
    assert not Path(told["folder"]).exists()


def test_a_run_that_is_killed_before_the_guardian_is_up_leaves_nothing(
    own: Owned, is_alive: Callable[[int], bool], wait_until: Callable[..., None]
) -> None:
    _, told = own("os.kill(os.getpid(), 9)", children="")
    wait_until(lambda: not is_alive(told["guardian"]))
    left = Path(told["folder"])
    try:
        assert not left.exists()
    finally:
        if left.exists():
            (left / "file").unlink()
            left.rmdir()


def test_signals_that_are_meant_for_the_run_do_not_end_its_guardian(
    own: Owned, is_alive: Callable[[int], bool], wait_until: Callable[..., None]
) -> None:
    process, told = own("time.sleep(60)")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(told["guardian"], number)
    time.sleep(0.2)
    assert is_alive(told["guardian"])
    process.kill()
    wait_until(lambda: not any(map(is_alive, [*told["pids"], told["guardian"]])), 15)


def test_the_guardian_is_out_of_the_terminals_and_the_tests_way(own: Owned, tmp_path: Path) -> None:
    for name in ("select", "shutil", "signal"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong module')")
    script = f"""
children.close()
os.chdir({str(tmp_path)!r})
os.environ.update(PYTHONPATH={str(tmp_path)!r}, PYTHONHOME="/nowhere")
"""
    _, told = own("time.sleep(60)", children=script + SLEEP)
    assert os.getsid(told["guardian"]) == told["guardian"]
    assert os.readlink(f"/proc/{told['guardian']}/cwd") == "/"


def test_the_guardian_starts_whatever_lies_in_the_folder_of_the_moment(
    own: Owned, tmp_path: Path, is_alive: Callable[[int], bool]
) -> None:
    (tmp_path / "select.py").write_text("raise SystemExit('the wrong module')")
    script = f"""
import tempfile
children.close()
tempfile.tempdir = {str(tmp_path)!r}
sys.path.insert(0, "")  # as `python -m pytest` has it
os.chdir({str(tmp_path)!r})
children.new_folder("raycompat-test-")
time.sleep(0.5)
"""
    _, told = own("time.sleep(60)", children=script)
    assert is_alive(told["guardian"])


@pytest.mark.parametrize(("mark", "stays"), [("another run", False), (None, True)], ids=["another-run", "anybody"])
def test_who_has_a_segment_of_ours(mark: str | None, stays: bool, segment: Path) -> None:
    environment = {"PATH": "/usr/bin:/bin", **({} if mark is None else {MARK_VARIABLE: mark})}
    command = [sys.executable, "-c", MAP_A_SEGMENT, str(segment), "x+b"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            guardian = Guardian("ours", os.getpid())
            guardian.segments = {segment}
            guardian.handle({"reclaim": True})
            assert segment.exists() is stays
        finally:
            process.kill()


def semaphore(pid: int) -> Path:
    """Name a semaphore as Ray's channels do."""
    return Path(f"/dev/shm/sem.hdr{pid}-{time.time_ns()}")


MAKES_NOTHING = [sys.executable, "-c", "print(flush=True); import time; time.sleep(60)"]


@pytest.mark.parametrize(
    ("mark", "seconds_later", "stays"),
    [("ours", 0, False), ("ours", 60, True), ("ours", -60, True), ("another run", 0, True)],
    ids=["ours", "after-its-end", "before-its-birth", "another-run"],
)
def test_a_semaphore_that_says_who_made_it(mark: str, seconds_later: int, stays: bool) -> None:
    """It was gone from its maker's maps when the guardian looked; a process id may be another's later."""
    guardian = Guardian("ours", os.getpid())
    environment = {"PATH": "/usr/bin:/bin", MARK_VARIABLE: mark}
    with subprocess.Popen(MAKES_NOTHING, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        guardian.look()
        made = semaphore(process.pid)
        process.kill()
    try:
        made.touch()
        then = time.time() + seconds_later
        os.utime(made, (then, then))
        guardian.handle({"reclaim": True})
        assert made.exists() is stays
    finally:
        made.unlink(missing_ok=True)


def test_a_process_that_ends_while_it_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def create_time(process: psutil.Process) -> float:
        asked.append(process.pid)
        raise psutil.NoSuchProcess(process.pid)

    monkeypatch.setattr(psutil.Process, "create_time", create_time)
    guardian = Guardian("ours", os.getpid())
    guardian.look()
    assert os.getpid() in asked
    assert guardian.segments == set()
