from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_raycompat import gpu_lease
from pytest_raycompat.distribution import ALONE
from pytest_raycompat.gpu_lease import GpuLeases
from pytest_raycompat.gpus import Gpu, Holder, Use
from pytest_raycompat.head_start import HeadStart
from pytest_raycompat.lease import LeaseError
from pytest_raycompat.lease_files import lease_folder

GPUS = tuple(Gpu(str(index), "NVIDIA H200", 140.0, f"GPU-{index}") for index in range(4))

HEAD = """
import random, sys, time
from pathlib import Path
from pytest_raycompat import gpu_lease
from pytest_raycompat.gpus import Gpu, Use
gpu_lease.read_use = lambda gpus, holders=False: tuple(Use(gpu, 139.0, 1.0) for gpu in gpus)
gpu_lease.LOOK_EVERY_S = 0.01
folder, here = Path(sys.argv[1]), Path(sys.argv[2])
gpus = tuple(Gpu(str(index), "NVIDIA H200", 140.0, f"GPU-{index}") for index in range(int(sys.argv[3])))
def leases(some=gpus, **options):
    return gpu_lease.GpuLeases(some, folder, lambda *said: None, **options)
"""
HOLDER = (
    HEAD
    + """
ours = leases()
ours.hold(int(sys.argv[4]))
print(*(gpu.id for gpu in ours.held), flush=True)
sys.stdin.readline()
ours.release()
print("released", flush=True)
sys.stdin.readline()
"""
)
WAITER = (
    HEAD
    + """
ours = leases(gpus[int(sys.argv[5]):])
print("waits", flush=True)
ours.hold(int(sys.argv[4]))
print(*(gpu.id for gpu in ours.held), flush=True)
sys.stdin.readline()
"""
)
SHARES_WAITER = (
    HEAD
    + """
print("waits", flush=True)
leases(shares=2).hold(4, shared=True)
"""
)
# as a pytest process does: turn by turn with needs of other sizes, keeping what is held until somebody wants it, and
# marking each GPU while it is used, in a folder whose marks cannot be made twice
WORKER = (
    HEAD
    + """
import os
draw = random.Random(int(sys.argv[4]))
turns, dies_in = int(sys.argv[5]), int(sys.argv[6])
ours = leases(greedy=draw.random() < 0.5)
most_side_by_side = 0
for turn in range(turns):
    if draw.random() < 0.5 and ours.wanted():
        ours.release()
    held = ours.hold(draw.randint(1, len(gpus)), most=len(gpus), limit_s=40)
    marks = [here / gpu.uuid for gpu in held]
    for mark in marks:
        descriptor = os.open(mark, os.O_CREAT | os.O_EXCL)
        os.close(descriptor)
    time.sleep(draw.random() * 0.01)
    for mark in marks:
        mark.unlink()
    if turn == dies_in:
        ours.hold(1)
        os.kill(os.getpid(), 9)
"""
)


# the same where some needs are for a share of each GPU: as many marks as there are shares, and none beside a whole one
SHARER = (
    HEAD
    + """
draw = random.Random(int(sys.argv[4]))
turns, shares = int(sys.argv[5]), int(sys.argv[6])
ours = leases(greedy=draw.random() < 0.5, shares=shares)
for turn in range(turns):
    if draw.random() < 0.5 and ours.wanted():
        ours.release()
    held = ours.hold(draw.randint(1, len(gpus)), most=len(gpus), shared=draw.random() < 0.7, limit_s=40)
    marks = []
    for gpu in held:
        whole = here / f"{gpu.uuid} whole"
        places = [whole] if ours._locks[gpu.uuid].whole else [here / f"{gpu.uuid} {number}" for number in range(shares)]
        for place in places:
            try:
                place.touch(exist_ok=False)
            except FileExistsError:
                continue
            marks.append(place)
            break
        else:
            raise SystemExit(f"{gpu.uuid} has more on it than it should")
        if places == [whole] and list(here.glob(f"{gpu.uuid} [0-9]*")) or places != [whole] and whole.exists():
            raise SystemExit(f"{gpu.uuid} is had alone and shared")
    time.sleep(draw.random() * 0.01)
    for mark in marks:
        mark.unlink()
"""
)


def start(program: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def go_on(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def statuses(processes: Sequence[subprocess.Popen[str]]) -> list[int]:
    """Wait for processes and return their exit statuses; none is left over."""
    try:
        return [process.wait(120) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "locks"


@pytest.fixture
def uses(monkeypatch: pytest.MonkeyPatch) -> dict[str, Use]:
    """What each GPU is used for; a test may change it."""
    found = {gpu.uuid: Use(gpu, 139.0, 1.0) for gpu in GPUS}

    def read(gpus: Sequence[Gpu], *, holders: bool = False) -> tuple[Use, ...]:
        return tuple(found[gpu.uuid] for gpu in gpus if gpu.uuid in found)

    monkeypatch.setattr(gpu_lease, "read_use", read)
    return found


@pytest.fixture
def lease(folder: Path, uses: dict[str, Use]) -> Callable[..., GpuLeases]:
    """Make what another process of this user would have: locks of one process shut out each other as well."""

    def make(gpus: Sequence[Gpu] = GPUS, said: list[str] | None = None, **options: Any) -> GpuLeases:
        told = said if said is not None else []
        return GpuLeases(gpus, folder, lambda text, gone, left: told.append(text), **options)

    return make


def names(gpus: Sequence[Gpu]) -> list[str]:
    return [gpu.id for gpu in gpus]


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


def test_a_holder_is_told_that_somebody_waits(folder: Path, lease: Callable[..., GpuLeases]) -> None:
    ours, others = lease(GPUS[:2]), lease(GPUS[2:])
    ours.hold(1)
    others.hold(2)
    assert not ours.wanted()
    with start(WAITER, folder, folder, 2, 2, 0) as waiter:
        assert line_of(waiter) == "waits"
        wait_until(ours.wanted)
        assert not others.wanted()  # it may not use those
        ours.release()
        assert line_of(waiter) == "0 1"
        assert not ours.wanted()
        waiter.kill()


def test_a_small_need_does_not_overtake_a_large_one(folder: Path, lease: Callable[..., GpuLeases]) -> None:
    ours = lease(GPUS[:2])
    ours.hold(1)
    with start(WAITER, folder, folder, 2, 2, 0) as waiter:
        assert line_of(waiter) == "waits"
        wait_until(ours.wanted)
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


def test_who_waits_for_whole_gpus_keeps_no_more_than_it_needs(folder: Path, lease: Callable[..., GpuLeases]) -> None:
    ours, others = lease(shares=2), lease(shares=2, greedy=False)
    ours.hold(4, shared=True)
    with start(WAITER, folder, folder, 4, 2, 0) as waiter:
        assert line_of(waiter) == "waits"
        wait_until(ours.wanted)
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
    folder: Path, lease: Callable[..., GpuLeases], monkeypatch: pytest.MonkeyPatch, patience_s: float
) -> None:
    monkeypatch.setattr(gpu_lease, "PATIENCE_S", patience_s)
    lease(GPUS[3:]).hold(1)
    ours = lease(GPUS[:3], shares=2)
    ours.hold(1, shared=True)
    with start(SHARES_WAITER, folder, folder, 4) as waiter:
        assert line_of(waiter) == "waits"
        wait_until(ours.wanted)
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
