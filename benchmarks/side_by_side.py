"""What two flows cost at the same time, against one after the other, on a host with GPUs for both.

    python benchmarks/side_by_side.py [RUNS] [TENSOR_PARALLEL_SIZE]

Each flow runs as a user runs it, ``raycompat run generate``, with a cluster of its own on the GPUs that it leases, one
by default; the pair is one ratio, at most 0.65.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from pytest_raycompat.gpus import installed_gpus

RUNS = int(sys.argv[1]) if len(sys.argv) > 1 else 2
SIZE = int(sys.argv[2]) if len(sys.argv) > 2 else 1
COMMAND = [sys.executable, "-m", "pytest_raycompat.cli", "run", "generate", f"--ray-cluster=local:1x{SIZE}"]
COMMAND += ["--", f"--tensor-parallel-size={SIZE}"]
LIMIT = 0.65


def begin() -> subprocess.Popen[str]:
    """Start a flow."""
    return subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def end(flow: subprocess.Popen[str]) -> None:
    """Wait for a flow.

    Raises:
        SystemExit: it failed; with what it printed.
    """
    text, _ = flow.communicate(timeout=900)
    if flow.returncode != 0:
        raise SystemExit(f"a flow ended with {flow.returncode}:\n{text}")


def one_after_the_other() -> float:
    """Time two flows in turn, in seconds."""
    began = time.perf_counter()
    for _ in range(2):
        end(begin())
    return time.perf_counter() - began


def at_once() -> float:
    """Time two flows at the same time, in seconds."""
    began = time.perf_counter()
    flows = [begin(), begin()]
    for flow in flows:
        end(flow)
    return time.perf_counter() - began


def main() -> int:
    """Run the benchmark, and return 1 where the limit is passed."""
    if len(installed_gpus()) < 2 * SIZE:
        raise SystemExit(f"{2 * SIZE} GPUs are needed")
    end(begin())  # not counted: the page cache is filled
    pairs = [(at_once(), one_after_the_other()) for _ in range(RUNS)]
    ratio = statistics.median(ours / theirs for ours, theirs in pairs)
    ours, theirs = (statistics.median(times) for times in zip(*pairs, strict=True))
    what = f"TP={SIZE}: at once {ours:.1f} s, in turn {theirs:.1f} s"
    print(f"{what}, median ratio {ratio:.3f} over {RUNS} pairs, at most {LIMIT}")
    return 1 if ratio > LIMIT else 0


if __name__ == "__main__":
    sys.exit(main())
