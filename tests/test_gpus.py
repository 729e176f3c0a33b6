from __future__ import annotations

import pytest

from pytest_raycompat.gpus import Gpu, as_text, installed_gpus, visible_gpus

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
