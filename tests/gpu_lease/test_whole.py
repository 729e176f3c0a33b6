from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_raycompat.gpu_lease import GpuLeases
from pytest_raycompat.gpus import Holder, Use
from pytest_raycompat.lease import LeaseError
from pytest_raycompat.lease_files import lease_folder
from tests.gpu_lease.programs import (
    GPUS,
    HOLDER,
    WAITER,
    WORKER,
    names,
    statuses,
)
from tests.programs import line_of, start


def test_two_flows_of_one_gpu_run_side_by_side(lease: Callable[..., GpuLeases]) -> None:
    first, second = lease(), lease()
    assert (names(first.hold(1)), names(second.hold(1))) == (["0"], ["1"])


def test_two_flows_of_two_gpus_run_side_by_side(lease: Callable[..., GpuLeases]) -> None:
    first, second = lease(), lease()
    assert (names(first.hold(2)), names(second.hold(2))) == (["0", "1"], ["2", "3"])


def test_what_is_held_serves_the_next_flow(lease: Callable[..., GpuLeases]) -> None:
    ours = lease()
    ours.hold(2)
    assert names(ours.hold(1)) == ["0", "1"]
    assert names(ours.hold(3)) == ["0", "1", "2"]


def test_who_is_alone_takes_all(lease: Callable[..., GpuLeases]) -> None:
    assert names(lease().hold(1, most=4)) == ["0", "1", "2", "3"]


def test_who_is_not_alone_takes_what_it_needs(lease: Callable[..., GpuLeases]) -> None:
    lease().hold(1)
    assert names(lease().hold(1, most=4)) == ["1"]


def test_one_of_several_workers_takes_what_it_needs(lease: Callable[..., GpuLeases]) -> None:
    assert names(lease(greedy=False).hold(1, most=4)) == ["0"]


def test_released_gpus_can_be_had(lease: Callable[..., GpuLeases]) -> None:
    first = lease()
    first.hold(4)
    first.release()
    assert first.held == ()
    assert names(lease().hold(4)) == ["0", "1", "2", "3"]


def test_only_those_of_the_mask_are_taken(lease: Callable[..., GpuLeases]) -> None:
    ours = lease((GPUS[3], GPUS[1]))
    assert names(ours.hold(1, most=4)) == ["3", "1"]
    with pytest.raises(LeaseError) as caught:
        ours.hold(3)
    assert str(caught.value) == "3 GPUs are needed, and 2 may be used"


def test_the_freest_are_taken(lease: Callable[..., GpuLeases], uses: dict[str, Use]) -> None:
    for index in (0, 1):
        uses[f"GPU-{index}"] = Use(GPUS[index], 100.0, 40.0)
    assert names(lease().hold(1)) == ["2"]


def test_one_that_is_not_free_enough_is_passed_over(lease: Callable[..., GpuLeases], uses: dict[str, Use]) -> None:
    uses["GPU-0"] = Use(GPUS[0], 3.0, 137.0)
    assert names(lease().hold(2, most=4, enough=lambda use: use.free_gb > 10)) == ["1", "2", "3"]


def test_memory_of_others_is_waited_for_and_they_are_named(
    lease: Callable[..., GpuLeases], uses: dict[str, Use]
) -> None:
    uses["GPU-0"] = Use(GPUS[0], 3.0, 137.0, (Holder(77, "python", 137.0),))
    del uses["GPU-1"]
    said: list[str] = []
    ours = lease(GPUS[:2], said)
    with pytest.raises(LeaseError) as caught:
        ours.hold(1, enough=lambda use: use.free_gb > 10, memory_limit_s=0.3)
    why = "GPU 0 has 3.0 of 140.0 GiB free, held by python (pid 77, 137.0 GiB); the driver lists a GPU no more"
    assert str(caught.value) == f"1 GPU could not be had within 0 s: {why}"
    assert set(said) == {why}
    uses["GPU-0"] = Use(GPUS[0], 139.0, 1.0)
    assert names(ours.hold(1, enough=lambda use: use.free_gb > 10)) == ["0"]


def test_other_flows_are_waited_for_longer_than_memory(lease: Callable[..., GpuLeases]) -> None:
    first = lease()
    first.hold(4)
    began = time.monotonic()
    with pytest.raises(LeaseError) as caught:
        lease().hold(1, limit_s=0.6, memory_limit_s=0.1)
    assert time.monotonic() - began >= 0.6
    holder = f"held by a run of process {os.getpid()}"
    assert str(caught.value) == "1 GPU could not be had within 1 s: " + "; ".join(
        f"GPU {index} is {holder}" for index in range(4)
    )


def test_who_holds_some_gives_them_back_before_it_waits(lease: Callable[..., GpuLeases]) -> None:
    first, second = lease(), lease()
    first.hold(2)
    second.hold(2)
    given_up: list[list[str]] = []

    def give_up() -> None:
        given_up.append(names(second.held))

    with pytest.raises(LeaseError):
        second.hold(4, give_up=give_up, limit_s=0.1)
    assert given_up == [["2", "3"]]
    assert second.held == ()
    assert names(first.hold(4)) == ["0", "1", "2", "3"]


def test_who_cannot_give_back_does_not_wait(lease: Callable[..., GpuLeases]) -> None:
    first, second = lease(GPUS[:2]), lease(GPUS[:2])
    first.hold(1)
    second.hold(1)
    with pytest.raises(LeaseError) as caught:
        second.hold(2, give_up=lambda: "a test uses a cluster on them")
    assert str(caught.value) == (
        "2 GPUs are needed, 1 are held here and cannot be given back to wait for more: a test uses a cluster on them; "
        f"GPU 0 is held by a run of process {os.getpid()}"
    )
    assert names(second.held) == ["1"]


def test_a_holder_is_told_that_somebody_waits(
    folder: Path, lease: Callable[..., GpuLeases], wait_until: Callable[..., None]
) -> None:
    ours, others = lease(GPUS[:2]), lease(GPUS[2:])
    ours.hold(1)
    others.hold(2)
    assert not ours.wanted()
    with start(WAITER, folder, folder, 2, 2, 0) as waiter:
        assert line_of(waiter) == "waits"
        wait_until(ours.wanted, 20)
        assert not others.wanted()  # it may not use those
        ours.release()
        assert line_of(waiter) == "0 1"
        assert not ours.wanted()
        waiter.kill()


def test_a_small_need_does_not_overtake_a_large_one(
    folder: Path, lease: Callable[..., GpuLeases], wait_until: Callable[..., None]
) -> None:
    ours = lease(GPUS[:2])
    ours.hold(1)
    with start(WAITER, folder, folder, 2, 2, 0) as waiter:
        assert line_of(waiter) == "waits"
        wait_until(ours.wanted, 20)
        with pytest.raises(LeaseError) as caught:
            lease(GPUS[:2]).hold(1, limit_s=0.1)
        assert f"process {waiter.pid} waits for 2 GPUs and came first" in str(caught.value)
        assert names(lease(GPUS[2:]).hold(1)) == ["2"]  # which the one that waits may not use
        waiter.kill()
    assert names(lease(GPUS[:2]).hold(1)) == ["1"]  # the line has only the living


def test_a_lease_ends_with_its_process(folder: Path, lease: Callable[..., GpuLeases]) -> None:
    with start(HOLDER, folder, folder, 4, 4) as holder:
        assert line_of(holder) == "0 1 2 3"
        with pytest.raises(LeaseError) as caught:
            lease().hold(1, limit_s=0.1)
        assert f"GPU 0 is held by a run of process {holder.pid}" in str(caught.value)
        holder.send_signal(signal.SIGKILL)
    assert names(lease().hold(4)) == ["0", "1", "2", "3"]


def test_a_lease_is_not_passed_to_children(lease: Callable[..., GpuLeases]) -> None:
    ours = lease()
    ours.hold(4)
    with subprocess.Popen(["sleep", "60"], close_fds=False) as child:
        ours.release()
        assert names(lease().hold(4)) == ["0", "1", "2", "3"]
        child.kill()


@pytest.mark.parametrize("seed", range(3))
def test_no_deadlock_and_no_meeting(folder: Path, tmp_path: Path, seed: int) -> None:
    """Many processes with needs of all sizes, some of which are killed while they hold: all others come to an end."""
    draw = random.Random(seed)
    here = tmp_path / "in-use"
    here.mkdir()
    gpus, turns = draw.choice([(2, 12), (3, 12), (4, 12)])
    killed = {draw.randrange(8), draw.randrange(8)}
    workers = [
        start(WORKER, folder, here, gpus, 100 * seed + index, turns, draw.randrange(turns) if index in killed else -1)
        for index in range(8)
    ]
    assert statuses(workers) == [-signal.SIGKILL if index in killed else 0 for index in range(8)]
    assert list(here.iterdir()) == []
    assert not list(folder.glob("*.waiting"))


def test_each_user_has_a_folder_of_their_own() -> None:
    assert lease_folder().name == f"raycompat-{os.getuid()}-gpus"


def test_a_link_in_its_place_is_refused(folder: Path, tmp_path: Path, lease: Callable[..., GpuLeases]) -> None:
    folder.symlink_to(tmp_path)
    with pytest.raises(LeaseError) as caught:
        lease()
    assert str(caught.value) == f"{folder} is not a folder of this user's: remove it, or set TMPDIR"


def test_others_may_not_look_into_it(folder: Path, lease: Callable[..., GpuLeases]) -> None:
    lease().hold(1)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert json.dumps(sorted(path.name for path in folder.iterdir())) == json.dumps(
        ["GPU-0.lock", "GPU-1.lock", "GPU-2.lock", "GPU-3.lock", "deciding.lock"]
    )
