from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from pytest_raycompat.lease import LeaseError, hold_machine, lease_path
from tests.programs import line_of, start

HOLDER = """
import sys, time
from pathlib import Path
from pytest_raycompat.lease import hold_machine
with hold_machine(Path(sys.argv[1]), lambda by, gone, left: None):
    print("held", flush=True)
    time.sleep(60)
"""

GREEDY = """
import sys, time
from pathlib import Path
from pytest_raycompat.lease import hold_machine
for turn in range(100):
    with hold_machine(Path(sys.argv[1]), lambda by, gone, left: None):
        print("held", flush=True)
        time.sleep(0.5)
"""

WORKER = """
import sys, time
from pathlib import Path
from pytest_raycompat.lease import hold_machine
log = Path(sys.argv[2])
for turn in range(5):
    with hold_machine(Path(sys.argv[1]), lambda by, gone, left: None):
        with log.open("a") as stream:
            stream.write("in\\n")
            stream.flush()
            time.sleep(0.02)
            stream.write("out\\n")
"""


def test_processes_take_turns(tmp_path: Path) -> None:
    lock, log = tmp_path / "lock", tmp_path / "log"
    workers = [start(WORKER, lock, log) for _ in range(4)]
    for worker in workers:
        with worker:
            assert worker.wait(60) == 0
    assert log.read_text().split() == ["in", "out"] * 20


def test_whoever_waits_is_before_the_one_who_has_just_had_it(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    told: list[str] = []
    with start(GREEDY, lock) as greedy:
        assert line_of(greedy) == "held"
        began = time.monotonic()
        with hold_machine(lock, lambda by, gone, left: told.append(by), limit_s=10):
            waited = time.monotonic() - began
        greedy.kill()
    assert told
    assert waited < 5  # of the 50 s in which the other one has it again and again


def test_who_waits_is_told_for_whom(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    told: list[tuple[str, bool, bool]] = []
    with start(HOLDER, lock) as holder:
        assert line_of(holder) == "held"
        with pytest.raises(LeaseError) as caught:
            with hold_machine(lock, lambda by, gone, left: told.append((by, gone >= 0, left <= 0.5)), limit_s=0.5):
                pass
        holder.kill()
    assert str(caught.value) == f"a flow of process {holder.pid} has had this machine for 0 s (lock: {lock})"
    assert set(told) == {(f"a flow of process {holder.pid}", True, True)}


def test_it_ends_with_its_process(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with start(HOLDER, lock) as holder:
        assert line_of(holder) == "held"
        holder.kill()
    began = time.monotonic()
    with hold_machine(lock, lambda by, gone, left: None, limit_s=10):
        assert lock.read_text() == f"a flow of process {os.getpid()}"
    assert time.monotonic() - began < 10


def test_it_is_given_back_after_an_error(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with pytest.raises(ZeroDivisionError), hold_machine(lock, lambda by, gone, left: None):
        raise ZeroDivisionError
    with hold_machine(lock, lambda by, gone, left: None, limit_s=0.1):
        pass


def test_each_user_has_a_lock_of_their_own() -> None:
    assert lease_path().name == f"raycompat-{os.getuid()}.lock"


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    lock, other = tmp_path / "lock", tmp_path / "other"
    other.write_text("kept")
    lock.symlink_to(other)
    with pytest.raises(OSError), hold_machine(lock, lambda by, gone, left: None):
        pass
    assert other.read_text() == "kept"
