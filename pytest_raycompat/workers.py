"""How many of pytest-xdist's workers share this machine, and what that leaves each of them."""

from __future__ import annotations

import os
from collections.abc import Mapping

THREADS_VARIABLE = "OMP_NUM_THREADS"
"""Read by OpenMP and OpenBLAS, so by torch and numpy."""


def worker_count(environ: Mapping[str, str]) -> int:
    """Tell how many workers the run has that a process with these variables belongs to; 1 without pytest-xdist."""
    return int(environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))


def thread_limit(workers: int) -> dict[str, str]:
    """Return the variables that leave a process its share of the cores, where each of ``workers`` starts some.

    numpy and torch start a thread for each core otherwise, and these spin while they wait: an import of vLLM took 33 s
    of CPU time on 64 cores, and 13 s with one thread (0.32.0, torch 2.13.0).
    """
    if workers == 1:
        return {}
    return {THREADS_VARIABLE: str(max(1, len(os.sched_getaffinity(0)) // workers))}
