"""What a flow does to the memory of its GPUs, measured: before, at its peak, and whether it is back afterwards."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import psutil

from pytest_raycompat.gpus import Gpu, Holder, Use, read_use
from pytest_raycompat.processes.ownership import MARK_VARIABLE

RETURN_LIMIT_S = 30.0
"""How long the memory of a flow's GPUs may take to be back where it was, after its processes have ended."""
TOLERANCE_GB = 0.25
"""How much more may be used than before, in GiB: what is left of a process takes more, its CUDA context alone."""
LOOK_EVERY_S = 0.2
NOTE_EVERY_S = 1.0
"""How often the memory is looked at while a flow runs."""


class GpuMemory:
    """The memory of the GPUs of one flow.

    Args:
        gpus: those on which it runs.
        mark: what every process of this run carries in its environment.
        shared: whether other flows are on them: then only what processes of this run have counts, as far as the driver
            names processes.
    """

    def __init__(self, gpus: Sequence[Gpu], mark: str, *, shared: bool = False) -> None:
        self._gpus = tuple(gpus)
        self._mark = mark
        self._shared = shared
        self._before = self._read(holders=True)
        self._peak = {uuid: use.used_gb for uuid, use in self._before.items()}
        self._looked_at = time.monotonic()

    def share(self) -> None:
        """Go on with others on the GPUs."""
        self._shared = True

    def _read(self, *, holders: bool) -> dict[str, Use]:
        return {use.gpu.uuid: use for use in read_use(self._gpus, holders=holders)}

    def look(self) -> None:
        """Note what is used now, about once a second: the most that was seen counts."""
        if time.monotonic() - self._looked_at >= NOTE_EVERY_S:
            self._note(self._read(holders=False))
            self._looked_at = time.monotonic()

    def _note(self, uses: dict[str, Use]) -> None:
        for uuid, use in uses.items():
            self._peak[uuid] = max(self._peak.get(uuid, 0.0), use.used_gb)

    def after(self, limit_s: float = RETURN_LIMIT_S) -> dict[str, Any]:
        """Wait until the memory is back where it was; what other people's processes took meanwhile does not count.

        That it stays is the subject of https://github.com/vllm-project/vllm/issues/20860.

        Returns:
            ``gpu_memory``, and ``gpu_memory_returned_after_s`` or ``gpu_memory_not_returned``, which says who has it;
            where others are on the GPUs ``gpu_memory_shared`` too, as the figures are of all together.
        """
        began = time.monotonic()
        shared = {"gpu_memory_shared": True} if self._shared else {}
        while True:
            now = self._read(holders=False)
            self._note(now)
            missing = self._missing(now)
            waited = time.monotonic() - began
            if not missing:
                return {"gpu_memory": self._measured(now), "gpu_memory_returned_after_s": round(waited, 3), **shared}
            if waited >= limit_s:
                said = f"after {waited:.0f} s: {'; '.join(missing)}"
                return {"gpu_memory": self._measured(now), "gpu_memory_not_returned": said, **shared}
            time.sleep(LOOK_EVERY_S)

    def _missing(self, now: dict[str, Use]) -> list[str]:
        """Say of each GPU that has more in use than before who has it; its processes are listed for these alone."""
        more = [use.gpu for use in now.values() if use.used_gb - self._used_before(use) > TOLERANCE_GB]
        return [said for use in read_use(more, holders=True) if (said := self._missing_of(use)) is not None]

    def _used_before(self, now: Use) -> float:
        before = self._before.get(now.gpu.uuid)
        return now.used_gb if before is None else before.used_gb

    def _missing_of(self, now: Use) -> str | None:
        held_now = now.holders or ()
        were = {holder.pid for holder in self._before[now.gpu.uuid].holders or ()}
        new = [holder for holder in held_now if holder.pid not in were]
        others = [holder for holder in new if self._is_of_others(holder)]
        if self._shared and not any(holder.name for holder in new if holder not in others):
            return None
        excess = now.used_gb - self._used_before(now) - sum(holder.memory_gb or 0.0 for holder in others)
        if excess <= TOLERANCE_GB:
            return None
        suspects = [holder for holder in new if holder not in others] or held_now
        held = ", ".join(map(str, suspects)) or "no process that the driver names"
        return f"GPU {now.gpu.id} has {excess:.1f} GiB more in use than before, held by {held}"

    def _is_of_others(self, holder: Holder) -> bool:
        """Whether a process can be seen, and is none of this run's; one of another container may be anybody's."""
        if not holder.name:
            return False
        try:
            return psutil.Process(holder.pid).environ().get(MARK_VARIABLE) != self._mark
        except psutil.AccessDenied:  # another user's
            return True
        except psutil.Error:
            return False

    def _measured(self, now: dict[str, Use]) -> list[dict[str, Any]]:
        return [
            {
                "gpu": gpu.id,
                "before_gb": round(self._before[gpu.uuid].used_gb, 2),
                "peak_gb": round(self._peak[gpu.uuid], 2),
                "after_gb": round(now[gpu.uuid].used_gb, 2),
            }
            for gpu in self._gpus
            if gpu.uuid in self._before and gpu.uuid in now
        ]
