"""CPU time of a flow's processes, from ``/proc``: what Linux has counted, all threads together."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

PROC = Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")


def read_status(pid: int) -> tuple[str, int, float] | None:
    """Return the name of a process, its parent, and the CPU seconds it has used; None where it is gone."""
    try:
        text = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    name, _, rest = text.partition("(")[2].rpartition(")")
    fields = rest.split()
    return name, int(fields[1]), (int(fields[11]) + int(fields[12])) / TICKS


def descendants(root: int) -> set[int]:
    """List a process and all that it has started, as far as these have not been left to others."""
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit() and (status := read_status(int(entry.name))) is not None:
            children.setdefault(status[1], []).append(int(entry.name))
    found, ahead = set(), [root]
    while ahead:
        pid = ahead.pop()
        found.add(pid)
        ahead += children.get(pid, [])
    return found


class CpuTime:
    """Watches this process, those that it has started, and others: workers on Ray are children of Ray.

    Args:
        others: process ids; those of other machines are not found here, and do not count.
    """

    def __init__(self, others: Iterable[int]) -> None:
        self._pids = sorted({*descendants(os.getpid()), *others})
        self.restart()

    def _read(self) -> dict[str, float]:
        statuses = ((pid, read_status(pid)) for pid in self._pids)
        return {f"{status[0]} {pid}": status[2] for pid, status in statuses if status is not None}

    def restart(self) -> None:
        """Count from here."""
        self._began, self._before = time.perf_counter(), self._read()

    def burnt(self) -> dict[str, float]:
        """Return the CPU seconds of each process for each second since then, by its name and id."""
        elapsed = time.perf_counter() - self._began
        return {
            name: round((seconds - self._before[name]) / elapsed, 4)
            for name, seconds in self._read().items()
            if name in self._before
        }
