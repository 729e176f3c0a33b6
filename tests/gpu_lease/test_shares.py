from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_raycompat import gpu_lease
from pytest_raycompat.distribution import ALONE
from pytest_raycompat.gpu_lease import GpuLeases
from pytest_raycompat.gpus import Use
from pytest_raycompat.head_start import HeadStart
from pytest_raycompat.lease import LeaseError
from tests.gpu_lease.programs import (
    GPUS,
    SHARER,
    SHARES_WAITER,
    WAITER,
    names,
    statuses,
)
from tests.programs import line_of, start


def test_two_flows_share_a_gpu(lease: Callable[..., GpuLeases]) -> None:
    first, second, third = (lease(GPUS[:1], shares=2) for _ in range(3))
    assert names(first.hold(1, shared=True)) == names(second.hold(1, shared=True)) == ["0"]
    assert not first.has_alone(GPUS[:1])
    with pytest.raises(LeaseError) as caught:
        third.hold(1, shared=True, limit_s=0.1)
    runs = f"a run of process {os.getpid()}, a run of process {os.getpid()}"
    assert str(caught.value) == f"1 GPU could not be had within 0 s: GPU 0 is held by {runs}"
    second.release()
    assert names(third.hold(1, shared=True)) == ["0"]


def test_of_many_who_share_a_gpu_some_are_named(lease: Callable[..., GpuLeases]) -> None:
    sharing = [lease(GPUS[:1], shares=5) for _ in range(5)]
    for one in sharing:
        one.hold(1, shared=True)
    with pytest.raises(LeaseError) as caught:
        lease(GPUS[:1], shares=5).hold(1, shared=True, limit_s=0.1)
    assert str(caught.value).endswith(f"held by {', '.join([f'a run of process {os.getpid()}'] * 3)} and 2 more")


def test_runs_that_let_other_numbers_of_flows_on_a_gpu_do_not_share_it(lease: Callable[..., GpuLeases]) -> None:
    halves, thirds = lease(GPUS[:2], shares=2), lease(GPUS[:2], shares=3)
    halves.hold(1, shared=True)
    assert names(thirds.hold(1, shared=True)) == ["1"]
    with pytest.raises(LeaseError) as caught:
        lease(GPUS[:1], shares=3).hold(1, shared=True, limit_s=0.1)
    assert str(caught.value).endswith(f"GPU 0 is held by a run of process {os.getpid()}")
    halves.release()
    assert names(lease(GPUS[:1], shares=3).hold(1, shared=True)) == ["0"]


def test_a_gpu_that_is_shared_cannot_be_had_alone(lease: Callable[..., GpuLeases]) -> None:
    first, second = lease(GPUS[:1], shares=4), lease(GPUS[:1])
    first.hold(1, shared=True)
    with pytest.raises(LeaseError) as caught:
        second.hold(1, limit_s=0.1)
    assert str(caught.value).endswith(f"GPU 0 is held by a run of process {os.getpid()}")
    first.release()
    assert names(second.hold(1)) == ["0"]
    assert second.has_alone(GPUS[:1])


def test_a_gpu_that_is_had_alone_cannot_be_shared(lease: Callable[..., GpuLeases]) -> None:
    lease(GPUS[:1], shares=4).hold(1)
    with pytest.raises(LeaseError):
        lease(GPUS[:1], shares=4).hold(1, shared=True, limit_s=0.1)


def test_who_has_gpus_alone_lets_others_onto_them(lease: Callable[..., GpuLeases]) -> None:
    first, second, third = (lease(GPUS[:2], shares=2, greedy=False) for _ in range(3))
    first.hold(2)
    first.share()
    assert names(first.held) == ["0", "1"]
    assert not first.has_alone(GPUS[:1])
    assert names(second.hold(2, shared=True)) == ["0", "1"]
    with pytest.raises(LeaseError) as caught:
        third.hold(1, shared=True, limit_s=0.1)
    assert f"GPU 0 is held by a run of process {os.getpid()}, a run of process {os.getpid()}" in str(caught.value)
    first.release()
    with pytest.raises(LeaseError):
        third.hold(1, limit_s=0.1)
    second.release()
    assert names(third.hold(1)) == ["0"]


def test_a_whole_gpu_where_none_is_shared_stays_one(lease: Callable[..., GpuLeases]) -> None:
    ours = lease()
    ours.hold(1)
    ours.share()
    assert ours.has_alone(GPUS[:1])


def test_one_share_is_a_whole_gpu(lease: Callable[..., GpuLeases]) -> None:
    ours = lease()
    ours.hold(2, shared=True)
    assert ours.has_alone(GPUS[:2])
    assert not ours.has_alone(GPUS[:3])


def test_flows_that_share_are_spread_over_the_gpus(lease: Callable[..., GpuLeases]) -> None:
    found = [names(lease(GPUS[:2], shares=2, greedy=False).hold(1, shared=True)) for _ in range(4)]
    assert found == [["0"], ["1"], ["0"], ["1"]]


def test_who_shares_lets_those_begin_who_need_gpus_alone(lease: Callable[..., GpuLeases], tmp_path: Path) -> None:
    (tmp_path / ALONE).touch()
    alone = lease(greedy=False, shares=2, head_start=HeadStart(tmp_path, lambda *said: None))

    def begin(why: str, waited: float, left: float) -> None:
        alone.hold(2)

    ours = lease(greedy=False, shares=2, head_start=HeadStart(tmp_path, begin))
    assert names(ours.hold(1, shared=True)) == ["2"]
    assert names(alone.held) == ["0", "1"]


def test_a_share_beside_a_whole_gpu_leaves_that_as_it_is(lease: Callable[..., GpuLeases]) -> None:
    ours = lease(GPUS[:2], shares=2)
    assert names(ours.hold(1)) == ["0"]
    assert names(ours.hold(2, shared=True)) == ["0", "1"]
    assert names(ours.hold(1, give_up=lambda: "a test uses a cluster on them")) == ["0"]
    assert names(ours.held) == ["0", "1"]


def test_who_shares_is_not_alone(lease: Callable[..., GpuLeases]) -> None:
    lease(shares=2).hold(1, shared=True)
    assert names(lease(shares=2).hold(1, most=4, shared=True)) == ["1"]


def test_memory_that_sharers_have_is_waited_for_as_they_are(
    lease: Callable[..., GpuLeases], uses: dict[str, Use]
) -> None:
    lease(GPUS[:1], shares=2).hold(1, shared=True)
    uses["GPU-0"] = Use(GPUS[0], 3.0, 137.0)
    began = time.monotonic()
    with pytest.raises(LeaseError):
        lease(GPUS[:1], shares=2).hold(
            1, shared=True, enough=lambda use: use.free_gb > 10, limit_s=0.6, memory_limit_s=0.1
        )
    assert time.monotonic() - began >= 0.6


def test_who_waits_for_whole_gpus_keeps_no_more_than_it_needs(
    folder: Path, lease: Callable[..., GpuLeases], wait_until: Callable[..., None]
) -> None:
    ours, others = lease(shares=2), lease(shares=2, greedy=False)
    ours.hold(4, shared=True)
    with start(WAITER, folder, folder, 4, 2, 0) as waiter:
        assert line_of(waiter) == "waits"
        wait_until(ours.wanted, 20)
        with pytest.raises(LeaseError) as caught:
            others.hold(3, shared=True, limit_s=0.1)
        assert f"process {waiter.pid} waits for 2 GPUs and came first" in str(caught.value)
        assert names(others.hold(2, shared=True)) == ["0", "1"]
        assert not others.wanted()
        with pytest.raises(LeaseError):
            lease().hold(1, limit_s=0.1)  # who shares with nobody stands in line
        ours.release()
        assert line_of(waiter) == "2 3"
        waiter.kill()


@pytest.mark.parametrize("patience_s", [0.0, 300.0])
def test_a_need_for_fewer_shares_goes_first_for_a_while(
    folder: Path,
    lease: Callable[..., GpuLeases],
    monkeypatch: pytest.MonkeyPatch,
    patience_s: float,
    wait_until: Callable[..., None],
) -> None:
    monkeypatch.setattr(gpu_lease, "PATIENCE_S", patience_s)
    lease(GPUS[3:]).hold(1)
    ours = lease(GPUS[:3], shares=2)
    ours.hold(1, shared=True)
    with start(SHARES_WAITER, folder, folder, 4) as waiter:
        assert line_of(waiter) == "waits"
        wait_until(ours.wanted, 20)
        if patience_s:
            assert names(lease(shares=2, greedy=False).hold(2, shared=True)) == ["1", "2"]
        else:
            with pytest.raises(LeaseError) as caught:
                lease(shares=2).hold(2, shared=True, limit_s=0.1)
            assert f"process {waiter.pid} waits for 4 GPUs and came first" in str(caught.value)
        waiter.kill()


def test_who_needs_gpus_alone_gives_its_shares_back(lease: Callable[..., GpuLeases]) -> None:
    ours = lease(shares=2)
    ours.hold(2, shared=True)
    given_up: list[list[str]] = []

    def give_up() -> None:
        given_up.append(names(ours.held))

    assert names(ours.hold(1, give_up=give_up)) == ["0"]
    assert given_up == [["0", "1"]]
    assert ours.has_alone(GPUS[:1])


def test_who_cannot_give_its_shares_back_cannot_have_gpus_alone(lease: Callable[..., GpuLeases]) -> None:
    ours = lease(shares=2)
    ours.hold(2, shared=True)
    with pytest.raises(LeaseError) as caught:
        ours.hold(1, give_up=lambda: "a test uses a cluster on them")
    assert str(caught.value) == (
        "1 GPU needed alone, 2 shared here and cannot be given back to wait for more: a test uses a cluster on them"
    )


@pytest.mark.parametrize("seed", range(2))
def test_no_deadlock_where_gpus_are_shared(folder: Path, tmp_path: Path, seed: int) -> None:
    """Many processes, some with needs for whole GPUs: no more on a GPU than may be, and all come to an end."""
    here = tmp_path / "in-use"
    here.mkdir()
    workers = [start(SHARER, folder, here, 2 + seed, 100 * seed + index, 10, 2 + seed) for index in range(8)]
    assert statuses(workers) == [0] * 8
    assert list(here.iterdir()) == []
