from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from pytest_raycompat.gpus import GIB, Gpu, as_text, installed_gpus, mask_of, name_of, read_use, visible_gpus
from tests.fake_nvml import Device, FakeNvml, Process

A = Gpu("0", "NVIDIA H200", 139.8, "GPU-aaaa1111-0000")
B = Gpu("1", "NVIDIA H200", 139.8, "GPU-aaaa2222-0000")
C = Gpu("2", "NVIDIA L4", 22.5, "GPU-cccc3333-0000")
INSTALLED = (A, B, C)


def visible(mask: str | None) -> list[tuple[str, str]]:
    gpus = visible_gpus(INSTALLED, {} if mask is None else {"CUDA_VISIBLE_DEVICES": mask})
    return [(gpu.id, gpu.uuid) for gpu in gpus]


def test_without_a_mask_all_are_visible() -> None:
    assert visible_gpus(INSTALLED, {"NVIDIA_VISIBLE_DEVICES": "0"}) == INSTALLED


@pytest.mark.parametrize(
    ("mask", "uuids"),
    [
        ("0,1,2", [A.uuid, B.uuid, C.uuid]),
        ("2,0", [C.uuid, A.uuid]),
        (" 1 , 0 ", [B.uuid, A.uuid]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        # the first entry that names no GPU ends the list
        ("0,-1,1", [A.uuid]),
        ("0,3,1", [A.uuid]),
        ("1,,0", [B.uuid]),
        ("00", []),
        ("0,0,1", [A.uuid]),
    ],
)
def test_a_mask_of_indices(mask: str, uuids: list[str]) -> None:
    assert [uuid for _, uuid in visible(mask)] == uuids


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        ("GPU-cccc3333-0000", [("GPU-cccc3333-0000", C.uuid)]),
        ("GPU-c,GPU-aaaa2", [("GPU-c", C.uuid), ("GPU-aaaa2", B.uuid)]),
        ("GPU-cccc,0", [("GPU-cccc", C.uuid), ("0", A.uuid)]),
        # how two names begin says which no more than what begins none
        ("GPU-aaaa", []),
        ("0,GPU-aaaa,2", [("0", A.uuid)]),
        ("GPU-d", []),
        ("cccc3333", []),
        ("MIG-cccc3333-0000", []),
    ],
)
def test_a_mask_of_names(mask: str, expected: list[tuple[str, str]]) -> None:
    assert visible(mask) == expected


@pytest.mark.parametrize(
    "mask",
    [
        "2,GPU-c",
        "GPU-c,2",
        "GPU-c,GPU-c",
        "GPU-c,GPU-cccc",
    ],
)
def test_a_gpu_that_comes_twice_is_not_two(mask: str) -> None:
    assert [uuid for _, uuid in visible(mask)] == [C.uuid]


def test_a_visible_gpu_is_named_as_the_mask_names_it() -> None:
    assert visible_gpus(INSTALLED, {"CUDA_VISIBLE_DEVICES": "GPU-c"}) == (Gpu("GPU-c", C.name, C.memory_gb, C.uuid),)


def test_a_mask_makes_no_gpu_where_there_is_none() -> None:
    assert visible_gpus((), {"CUDA_VISIBLE_DEVICES": "0"}) == ()


def test_a_machine_can_be_asked_with_and_without_a_driver() -> None:
    gpus = installed_gpus()
    assert [gpu.id for gpu in gpus] == [str(index) for index in range(len(gpus))]
    assert all(gpu.uuid.startswith("GPU-") and gpu.memory_gb > 1 and gpu.name for gpu in gpus)


def test_text_of_older_and_newer_bindings() -> None:
    assert as_text(b"NVIDIA L4") == as_text("NVIDIA L4") == "NVIDIA L4"


L4 = Device("GPU-l4", "NVIDIA L4", 24 * GIB)
H200 = Device("GPU-h200", "NVIDIA H200", 140 * GIB)
PARTS = (Device("MIG-1", "NVIDIA H200 MIG 1g", 16 * GIB), None, Device("MIG-2", "NVIDIA H200 MIG 2g", 32 * GIB))
DIVIDED = Device("GPU-divided", "NVIDIA H200", 140 * GIB, parts=PARTS)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeNvml]:
    def build(*devices: Device, driver: bool = True) -> FakeNvml:
        nvml = FakeNvml(*devices, driver=driver)
        monkeypatch.setitem(sys.modules, "pynvml", nvml)
        return nvml

    return build


def test_a_divided_gpu_is_its_instances(machine: Callable[..., FakeNvml]) -> None:
    machine(L4, DIVIDED, H200)
    assert installed_gpus() == (
        Gpu("0", "NVIDIA L4", 24, "GPU-l4"),
        Gpu("MIG-1", "NVIDIA H200 MIG 1g", 16, "MIG-1", ("1", "GPU-divided")),
        Gpu("MIG-2", "NVIDIA H200 MIG 2g", 32, "MIG-2", ("1", "GPU-divided")),
        Gpu("2", "NVIDIA H200", 140, "GPU-h200"),
    )


def test_the_driver_is_started_once(machine: Callable[..., FakeNvml]) -> None:
    nvml = machine(L4, H200)
    assert nvml.started == 0
    for _ in range(3):
        assert len(read_use(installed_gpus())) == 2
    assert nvml.started == 1


def test_a_process_that_was_forked_starts_the_driver_itself(
    machine: Callable[..., FakeNvml], monkeypatch: pytest.MonkeyPatch
) -> None:
    nvml = machine(L4)
    installed_gpus()
    monkeypatch.setattr("os.getpid", lambda: 7)
    installed_gpus()
    assert nvml.started == 2


def test_a_driver_that_comes_later_is_found(machine: Callable[..., FakeNvml]) -> None:
    nvml = machine(L4, driver=False)
    assert installed_gpus() == ()
    nvml.driver = True
    assert len(installed_gpus()) == 1


@pytest.mark.parametrize(
    ("mask", "uuids"),
    [
        ("MIG-2,MIG-1", ["MIG-2", "MIG-1"]),
        ("2,MIG-2", ["GPU-h200", "MIG-2"]),
        # of a divided GPU that is named as a whole CUDA takes the first instance
        ("1", ["MIG-1"]),
        ("GPU-div,0", ["MIG-1", "GPU-l4"]),
        ("1,MIG-1,0", ["MIG-1"]),
        # an instance has no short name
        ("MIG-", []),
        ("MIG-3,MIG-1", []),
        ("GPU-", []),
    ],
)
def test_a_mask_of_instances(mask: str, uuids: list[str], machine: Callable[..., FakeNvml]) -> None:
    machine(L4, DIVIDED, H200)
    visible = visible_gpus(installed_gpus(), {"CUDA_VISIBLE_DEVICES": mask})
    assert [gpu.uuid for gpu in visible] == uuids
    assert [gpu.id for gpu in visible] == mask.split(",")[: len(uuids)]


@pytest.mark.parametrize(
    ("mask", "written"),
    [("2,0", "2,0"), ("GPU-h200,0", "2,0"), ("GPU-l", "0"), ("MIG-2,GPU-h", "MIG-2,2"), ("", "")],
)
def test_what_is_started_gets_indices(mask: str, written: str, machine: Callable[..., FakeNvml]) -> None:
    machine(L4, DIVIDED, H200)
    assert mask_of(visible_gpus(installed_gpus(), {"CUDA_VISIBLE_DEVICES": mask})) == {
        "CUDA_VISIBLE_DEVICES": written,
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "RAYCOMPAT_VISIBLE_DEVICES": written,
    }


def test_who_holds_a_gpu(machine: Callable[..., FakeNvml], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_raycompat.gpus.name_of", {7: "ray::Worker", 8: "", 9: "Xorg"}.__getitem__)
    processes = (Process(9, None), Process(8, 2 * GIB), Process(7, 60 * GIB))
    machine(dataclasses.replace(H200, used=62 * GIB, processes=processes), L4)
    busy, idle = read_use(installed_gpus(), holders=True)
    assert (busy.free_gb, busy.used_gb) == (78, 62)
    assert str(busy) == (
        "GPU 0 has 78.0 of 140.0 GiB free, held by ray::Worker (pid 7, 60.0 GiB), "
        "a process of another container (pid 8, 2.0 GiB), Xorg (pid 9)"
    )
    assert str(idle) == "GPU 1 has 24.0 of 24.0 GiB free, held by no process that the driver names"
    assert list(map(str, read_use(installed_gpus()))) == [
        "GPU 0 has 78.0 of 140.0 GiB free",
        "GPU 1 has 24.0 of 24.0 GiB free",
    ]


def test_the_use_of_an_instance(machine: Callable[..., FakeNvml]) -> None:
    machine(dataclasses.replace(DIVIDED, parts=(dataclasses.replace(PARTS[0], used=GIB), PARTS[2])))
    assert [(use.gpu.uuid, use.used_gb) for use in read_use(installed_gpus())] == [("MIG-1", 1), ("MIG-2", 0)]


def test_a_driver_that_does_not_list_processes(machine: Callable[..., FakeNvml]) -> None:
    machine(dataclasses.replace(H200, used=GIB, lists_processes=False))
    assert [(use.used_gb, use.holders) for use in read_use(installed_gpus(), holders=True)] == [(1, ())]


def test_a_gpu_that_is_gone(machine: Callable[..., FakeNvml]) -> None:
    machine(H200, L4)
    gpus = installed_gpus()
    machine(L4)
    assert [use.gpu.uuid for use in read_use(gpus)] == ["GPU-l4"]


def test_no_driver(machine: Callable[..., FakeNvml]) -> None:
    machine(H200)
    gpus = installed_gpus()
    machine(driver=False)
    assert installed_gpus() == ()
    assert read_use(gpus) == ()


def test_the_name_of_a_process() -> None:
    assert "python" in name_of(os.getpid()) or "pytest" in name_of(os.getpid())
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait(timeout=60)
    assert name_of(child.pid) == ""


def test_a_title_is_the_name() -> None:
    code = "import time; print(flush=True); time.sleep(60)"
    with subprocess.Popen(["ray::Worker", "-c", code], executable=sys.executable, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        try:
            assert name_of(child.pid) == "ray::Worker"
        finally:
            child.kill()
