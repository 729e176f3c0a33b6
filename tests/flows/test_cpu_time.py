from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from pytest_raycompat.flows.cpu_time import CpuTime, descendants, read_status

BUSY = r"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "print(flush=True)\nwhile True: pass"])
sys.stdin.readline()
child.kill()
"""


def test_a_process_that_waits_in_a_busy_loop_is_found() -> None:
    command = [sys.executable, "-c", BUSY]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        cpu = CpuTime([])
        time.sleep(1.0)
        burnt = cpu.burnt()
        parent.communicate("\n")
    busy = [rate for rate in burnt.values() if rate > 0.1]
    assert len(busy) == 1  # the child of a child, and neither its parent nor this process
    assert busy[0] < 1.5
    assert any(name.endswith(f" {os.getpid()}") for name in burnt)


def test_processes_that_are_not_descendants_are_watched_too() -> None:
    cpu = CpuTime([os.getppid(), 2**22 + 1])
    assert {name.rpartition(" ")[2] for name in cpu.burnt()} >= {str(os.getpid()), str(os.getppid())}


def test_a_process_that_ended_does_not_count() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        cpu = CpuTime([])
        child.communicate(b"\n")
    assert not any(name.endswith(f" {child.pid}") for name in cpu.burnt())


def test_the_name_of_a_process_may_hold_anything() -> None:
    code = "import os, sys; open('/proc/self/comm', 'w').write('a) (b 1'); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        status = read_status(child.pid)
        assert status is not None
        assert status[:2] == ("a) (b 1", os.getpid())
        assert status[2] == pytest.approx(0.0, abs=5.0)
        assert child.pid in descendants(os.getpid())
        child.communicate(b"\n")
    assert read_status(child.pid) is None
