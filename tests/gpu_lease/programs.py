"""Programs that hold GPUs or wait for them, as other processes of a user do, and what tests ask of them."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from pytest_raycompat.gpus import Gpu

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


def statuses(processes: Sequence[subprocess.Popen[str]]) -> list[int]:
    """Wait for processes and return their exit statuses; none is left over."""
    try:
        return [process.wait(120) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def names(gpus: Sequence[Gpu]) -> list[str]:
    return [gpu.id for gpu in gpus]
