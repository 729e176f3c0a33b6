from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pytest_raycompat.flows import gpu_memory
from pytest_raycompat.flows.gpu_memory import GpuMemory
from pytest_raycompat.gpus import GIB, installed_gpus, name_of
from pytest_raycompat.processes.ownership import MARK_VARIABLE
from tests.fake_nvml import Device, FakeNvml, Process

MARK = "0123"


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    fake = FakeNvml(
        Device("GPU-a", "NVIDIA H200", 140 * GIB, used=GIB), Device("GPU-b", "NVIDIA H200", 140 * GIB, used=2 * GIB)
    )
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.setattr(gpu_memory, "NOTE_EVERY_S", 0.0)
    monkeypatch.setattr(gpu_memory, "LOOK_EVERY_S", 0.01)
    return fake


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], int]]:
    """Start a process that carries a mark, and return its id."""
    started = []

    def begin(mark: str) -> int:
        monkeypatch.setenv(MARK_VARIABLE, mark)
        code = "import time; print(flush=True); time.sleep(60)"
        started.append(subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE))
        assert started[-1].stdout is not None
        started[-1].stdout.readline()
        return started[-1].pid

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def use(device: Device, used_gb: float, *processes: tuple[int, float | None]) -> None:
    device.used = int(used_gb * GIB)
    device.processes = tuple(Process(pid, None if gb is None else int(gb * GIB)) for pid, gb in processes)


def measured(evidence: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [tuple(one.values()) for one in evidence["gpu_memory"]]


def test_what_a_flow_takes_and_gives_back(nvml: FakeNvml) -> None:
    memory = GpuMemory(installed_gpus(), MARK)
    use(nvml.devices[0], 60.5)
    memory.look()
    use(nvml.devices[0], 30)
    memory.look()
    use(nvml.devices[0], 1.2)
    found = memory.after()
    assert measured(found) == [("0", 1.0, 60.5, 1.2), ("1", 2.0, 2.0, 2.0)]
    assert found["gpu_memory_returned_after_s"] < 1
    assert "gpu_memory_not_returned" not in found


def test_processes_are_listed_only_where_more_is_in_use(nvml: FakeNvml) -> None:
    memory = GpuMemory(installed_gpus(), MARK)
    assert nvml.listed == 2
    use(nvml.devices[0], 60.5)
    memory.look()
    use(nvml.devices[0], 1)
    memory.after()
    assert nvml.listed == 2
    use(nvml.devices[0], 60.5)
    memory.after(0.0)
    assert nvml.listed == 3


def test_it_is_waited_for(nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = GpuMemory(installed_gpus(), MARK)
    use(nvml.devices[0], 60)
    monkeypatch.setattr("time.sleep", lambda seconds: use(nvml.devices[0], 1))
    found = memory.after()
    assert measured(found)[0] == ("0", 1.0, 60.0, 1.0)
    assert "gpu_memory_returned_after_s" in found


def test_what_stays_is_held_by_somebody(nvml: FakeNvml, start: Callable[[str], int]) -> None:
    use(nvml.devices[1], 2, (1, 1.0))
    memory = GpuMemory(installed_gpus(), MARK)
    ours = start(MARK)
    use(nvml.devices[1], 62, (ours, 60.0), (1, 1.0))
    found = memory.after(0.05)
    name = f"{name_of(ours)} (pid {ours}, 60.0 GiB)"
    assert found["gpu_memory_not_returned"] == f"after 0 s: GPU 1 has 60.0 GiB more in use than before, held by {name}"
    assert measured(found)[1] == ("1", 2.0, 62.0, 62.0)


def test_what_others_took_meanwhile_does_not_count(nvml: FakeNvml, start: Callable[[str], int]) -> None:
    memory = GpuMemory(installed_gpus(), MARK)
    theirs = start("another run")
    use(nvml.devices[0], 11.1, (theirs, 10.0))
    assert "gpu_memory_returned_after_s" in memory.after(0.05)
    use(nvml.devices[0], 41, (theirs, 10.0))
    assert "30.0 GiB more in use than before" in memory.after(0.05)["gpu_memory_not_returned"]


def test_a_process_that_cannot_be_seen_may_be_the_flow_s(nvml: FakeNvml) -> None:
    memory = GpuMemory(installed_gpus(), MARK)
    use(nvml.devices[0], 11, (2**22 + 1, 10.0))
    assert memory.after(0.05)["gpu_memory_not_returned"] == (
        "after 0 s: GPU 0 has 10.0 GiB more in use than before, "
        "held by a process of another container (pid 4194305, 10.0 GiB)"
    )


def test_memory_that_no_process_has(nvml: FakeNvml) -> None:
    memory = GpuMemory(installed_gpus(), MARK)
    use(nvml.devices[0], 2)
    assert memory.after(0.05)["gpu_memory_not_returned"] == (
        "after 0 s: GPU 0 has 1.0 GiB more in use than before, held by no process that the driver names"
    )


def test_where_others_are_on_the_gpu_only_what_this_run_has_counts(nvml: FakeNvml, start: Callable[[str], int]) -> None:
    memory = GpuMemory(installed_gpus(), MARK, shared=True)
    theirs = start("another run")
    use(nvml.devices[0], 21, (2**22 + 1, 10.0), (theirs, 10.0))
    found = memory.after(0.05)
    assert found["gpu_memory_shared"] is True
    assert "gpu_memory_returned_after_s" in found
    ours = start(MARK)
    use(nvml.devices[0], 31, (2**22 + 1, 10.0), (theirs, 10.0), (ours, 10.0))
    found = memory.after(0.05)
    assert f"(pid {ours}, 10.0 GiB)" in found["gpu_memory_not_returned"]
    assert found["gpu_memory_shared"] is True


def test_a_gpu_that_is_gone(nvml: FakeNvml) -> None:
    memory = GpuMemory(installed_gpus(), MARK)
    nvml.devices = nvml.devices[:1]
    found = memory.after()
    assert [one["gpu"] for one in found["gpu_memory"]] == ["0"]
