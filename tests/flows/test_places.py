from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pytest_raycompat.cluster.spec import Shape
from pytest_raycompat.flows import places
from pytest_raycompat.flows.needs import enough_memory
from pytest_raycompat.flows.places import Places
from pytest_raycompat.flows.registry import FLOWS, Flow
from pytest_raycompat.gpu_lease import GpuLeases
from pytest_raycompat.gpus import GIB, Gpu, Holder, Use, installed_gpus, mask_of
from pytest_raycompat.lease import LeaseError, hold_machine
from pytest_raycompat.markers import NOTHING_ASKED, Asked
from tests.fake_nvml import Device, FakeNvml, Process

ONE_NODE = Shape((2,))
SQUARES = Flow("squares", "theirs.squares", needs_vllm=False)


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    fake = FakeNvml(*(Device(f"GPU-{name}", "NVIDIA H200", 100 * GIB, used=GIB) for name in "ab"))
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    return fake


@pytest.fixture
def make(tmp_path: Path, nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Places]:
    """Make the places of one pytest process."""
    monkeypatch.setattr(places, "lease_path", lambda: tmp_path / "machine.lock")

    def make(
        *, cuda: bool = True, shape: Shape | None = ONE_NODE, told: list[str] | None = None, shares: int = 1
    ) -> Places:
        said = told if told is not None else []
        leases = GpuLeases(
            installed_gpus(), tmp_path / "locks", lambda why, gone, left: said.append(why), shares=shares
        )
        session: Any = SimpleNamespace(
            leases=leases if cuda else None, clusters=SimpleNamespace(shape=shape), give_up_clusters=lambda: None
        )
        return Places(session, lambda phase, seconds, left: None)

    return make


def has_machine(tmp_path: Path) -> bool:
    """Whether somebody has the machine."""
    try:
        with hold_machine(tmp_path / "machine.lock", lambda by, gone, left: None, limit_s=0.0):
            return False
    except LeaseError:
        return True


@pytest.mark.parametrize(
    ("flow", "on_ray", "cuda", "shape", "alone"),
    [
        (FLOWS["generate"], True, False, Shape((2,)), True),
        (FLOWS["generate"], False, False, Shape((2,)), True),
        (SQUARES, False, False, Shape((2,)), False),
        (FLOWS["generate"], True, True, Shape((2,)), False),
        (FLOWS["generate"], False, True, Shape((2,)), False),
        (FLOWS["generate"], True, True, None, True),
        (FLOWS["generate"], False, True, None, False),
    ],
    ids=["cpu", "cpu-control", "neither", "gpus", "gpus-control", "attached", "attached-control"],
)
def test_who_has_the_machine_alone(
    make: Callable[..., Places], tmp_path: Path, flow: Flow, on_ray: bool, cuda: bool, shape: Shape | None, alone: bool
) -> None:
    with make(cuda=cuda, shape=shape).machine(flow, on_ray=on_ray):
        assert has_machine(tmp_path) is alone
    assert not has_machine(tmp_path)


@pytest.mark.parametrize(
    ("flow", "parameters", "shares"),
    [
        (FLOWS["generate"], {}, 4),
        (FLOWS["rlhf"], {"way": "colocate"}, 4),
        (FLOWS["rlhf"], {"way": "colocate", "sleep": True}, 1),
        (FLOWS["generate"], {"executor": "ray-v0"}, 1),
        (FLOWS["performance"], {}, 1),
        (SQUARES, {}, 1),
    ],
    ids=["generate", "rlhf", "measures-memory", "v0-engine", "measures-time", "their-own"],
)
def test_which_flows_share_a_gpu(
    make: Callable[..., Places], flow: Flow, parameters: dict[str, Any], shares: int
) -> None:
    ours = make(shares=4)
    assert ours.shares(flow, parameters) == shares
    if flow.needs_vllm:
        ours.gpus(flow, parameters, NOTHING_ASKED)
        leases = cast("GpuLeases", ours._session.leases)
        assert leases.has_alone(leases.held) is (shares == 1)
    assert make(shares=4, cuda=False).shares(flow, parameters) == 1


@pytest.mark.parametrize(
    ("flow", "parameters", "asked", "shares"),
    [
        (FLOWS["rlhf"], {"executor": "ray-v2", "sleep": True}, NOTHING_ASKED, 4),
        (FLOWS["rlhf"], {"executor": "ray-v2"}, Asked(alone=True), 4),
        (FLOWS["rlhf"], {"executor": "ray-v2", "sleep": True}, Asked(memory_gb=26.0), 1),
        (FLOWS["rlhf"], {"executor": "ray-v0"}, NOTHING_ASKED, 1),
        (FLOWS["generate"], {"executor": "ray-v2"}, Asked(alone=True), 1),
    ],
    ids=["engines-that-sleep", "asked-for", "more-than-a-share", "the-v0-engine", "to-the-end"],
)
def test_who_lets_others_on_in_the_end(
    make: Callable[..., Places], flow: Flow, parameters: dict[str, Any], asked: Asked, shares: int
) -> None:
    assert make(shares=4).shares_later(flow, parameters, asked) == shares
    assert make(shares=4, cuda=False).shares_later(flow, parameters, asked) == 1


@pytest.mark.parametrize(("memory_gb", "shares"), [(25.0, 4), (26.0, 1)])
def test_who_needs_more_than_a_share_has_a_gpu_alone(
    make: Callable[..., Places], memory_gb: float, shares: int
) -> None:
    assert make(shares=4).shares(FLOWS["generate"], {}, Asked(memory_gb)) == shares


def test_a_test_may_ask_for_gpus_that_nobody_else_is_on(make: Callable[..., Places]) -> None:
    ours, asked = make(shares=4), Asked(alone=True)
    assert ours.shares(FLOWS["generate"], {}, asked) == 1
    ours.gpus(FLOWS["generate"], {"executor": "uni"}, asked)
    leases = cast("GpuLeases", ours._session.leases)
    assert leases.has_alone(leases.held)


def test_a_share_of_a_gpu_needs_a_share_of_its_memory(make: Callable[..., Places], nvml: FakeNvml) -> None:
    nvml.devices[0].used, nvml.devices[1].used = 76 * GIB, 78 * GIB
    assert [gpu.id for gpu in make(shares=4).gpus(FLOWS["generate"], {"executor": "uni"}, NOTHING_ASKED)] == ["0"]


def test_two_controls_have_a_gpu_each(make: Callable[..., Places]) -> None:
    one, two = (make().gpus(FLOWS["generate"], {"executor": "uni"}, NOTHING_ASKED) for _ in range(2))
    assert [mask_of(gpus)["CUDA_VISIBLE_DEVICES"] for gpus in (one, two)] == ["0", "1"]


def test_a_control_has_as_many_as_it_has_ranks(make: Callable[..., Places]) -> None:
    ours = make()
    assert len(ours.gpus(FLOWS["generate"], {"executor": "mp", "tensor_parallel_size": 2}, NOTHING_ASKED)) == 2
    assert [gpu.id for gpu in ours.gpus(FLOWS["generate"], {"executor": "uni"}, NOTHING_ASKED)] == ["0"]


def test_what_needs_no_gpu_has_none(make: Callable[..., Places]) -> None:
    assert make().gpus(SQUARES, {}, NOTHING_ASKED) == ()
    assert make(cuda=False).gpus(FLOWS["generate"], {}, NOTHING_ASKED) == ()


def test_a_gpu_in_use_is_passed_over(make: Callable[..., Places], nvml: FakeNvml) -> None:
    nvml.devices[0].used = 50 * GIB
    assert [gpu.id for gpu in make().gpus(FLOWS["generate"], {"executor": "uni"}, NOTHING_ASKED)] == ["1"]


def test_memory_that_somebody_took_meanwhile_is_waited_for(
    make: Callable[..., Places], nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    ours = make(told=told)
    ours.gpus(FLOWS["generate"], {"executor": "uni"}, NOTHING_ASKED)
    nvml.devices[0].used, nvml.devices[0].processes = 50 * GIB, (Process(2**22 + 1, 49 * GIB),)

    def free(seconds: float) -> None:
        nvml.devices[0].used, nvml.devices[0].processes = GIB, ()

    monkeypatch.setattr("time.sleep", free)
    assert [gpu.id for gpu in ours.gpus(FLOWS["generate"], {"executor": "uni"}, NOTHING_ASKED)] == ["0"]
    assert told == ["GPU 0 has 50.0 of 100.0 GiB free, held by a process of another container (pid 4194305, 49.0 GiB)"]


def test_memory_is_not_waited_for_for_ever(make: Callable[..., Places], nvml: FakeNvml) -> None:
    leases = cast("GpuLeases", make()._session.leases)
    held = leases.hold(1)
    nvml.devices[0].used = 50 * GIB
    with pytest.raises(LeaseError) as caught:
        leases.wait_for_memory(held, lambda use: use.free_gb > 90, limit_s=0.1)
    assert str(caught.value) == (
        "memory of 1 GPU is not free after 0 s: "
        "GPU 0 has 50.0 of 100.0 GiB free, held by no process that the driver names"
    )


@pytest.mark.parametrize(
    ("flow", "parameters", "memory_gb", "free_gb", "enough"),
    [
        (FLOWS["generate"], {}, 0.0, 92.0, True),
        (FLOWS["generate"], {}, 0.0, 91.9, False),
        (FLOWS["generate"], {"gpu_memory_utilization": 0.3}, 0.0, 30.0, True),
        (FLOWS["generate"], {"gpu_memory_utilization": "0.3"}, 40.0, 39.0, False),
        (FLOWS["compiled_graph"], {}, 0.0, 1.0, True),
        (FLOWS["compiled_graph"], {}, 0.0, 0.9, False),
    ],
)
def test_how_much_is_enough(
    flow: Flow, parameters: dict[str, Any], memory_gb: float, free_gb: float, enough: bool
) -> None:
    use = Use(Gpu("0", "NVIDIA H200", 100.0, "GPU-a"), free_gb, 100.0 - free_gb, (Holder(1, "init"),))
    assert enough_memory(flow, parameters, memory_gb)(use) is enough
