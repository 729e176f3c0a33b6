"""GPUs of this machine, each held by one of the user's pytest processes at a time, or shared by so many as are let.

Why nothing waits for ever: a process takes all the GPUs that it needs at once or none, gives back what it holds before
it waits, and waits in a line, so that many small needs cannot keep a large one from its turn.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pytest_raycompat.gpus import Gpu, Use, read_use
from pytest_raycompat.head_start import HeadStart
from pytest_raycompat.lease import LIMIT_S, LOOK_EVERY_S, LeaseError, Waiting
from pytest_raycompat.lease_files import LeaseFiles, Lock, Ticket
from pytest_raycompat.markers import plural

MEMORY_LIMIT_S = 120.0
"""How long a flow waits, in seconds, where only memory is lacking: processes that are none of ours have it."""

PATIENCE_S = 300.0
"""How long who needs shares of many GPUs lets those pass who need fewer, in seconds."""

Enough = Callable[[Use], bool]
"""Whether what a GPU has free is enough."""


@dataclass(frozen=True)
class Lack:
    """Why GPUs could not be had; ``others`` tells whether processes of ours have them, or came first."""

    text: str
    others: bool


class GpuLeases:
    """The GPUs that this process holds, of those that it may use.

    Args:
        gpus: those that it may use, as the caller's mask names and orders them.
        folder: where the locks are; one for all of a user's processes.
        waiting: told what is waited for.
        greedy: whether to take more than are needed while no other process holds or needs any.
        shares: how many processes may have a GPU at the same time, where what they run lets others onto it.
        head_start: of those that need GPUs alone, where there are several workers.
    """

    def __init__(
        self,
        gpus: Sequence[Gpu],
        folder: Path,
        waiting: Waiting,
        *,
        greedy: bool = True,
        shares: int = 1,
        head_start: HeadStart | None = None,
    ) -> None:
        self.gpus = tuple(gpus)
        self.shares = shares
        self._names = frozenset(gpu.uuid for gpu in gpus)
        self._files = LeaseFiles(folder)
        self._waiting = waiting
        self._greedy = greedy
        self._head_start = head_start
        self._locks: dict[str, Lock] = {}

    @property
    def held(self) -> tuple[Gpu, ...]:
        """The GPUs that this process holds, in the order of the mask."""
        return tuple(gpu for gpu in self.gpus if gpu.uuid in self._locks)

    def has_alone(self, gpus: Iterable[Gpu]) -> bool:
        """Tell whether this process holds all of these GPUs, and no other can have a share of them."""
        return {gpu.uuid for gpu in gpus} <= {uuid for uuid, lock in self._locks.items() if lock.whole}

    def wanted(self) -> bool:
        """Tell whether another process waits for GPUs of which this one holds some."""
        if not self._locks:
            return False
        shares = not any(lock.whole for lock in self._locks.values())
        with self._files.deciding():
            return any(
                not (ticket.kept if shares and ticket.alone else ticket.gpus).isdisjoint(self._locks)
                for ticket in self._files.line()
            )

    def release(self) -> None:
        """Give back what is held."""
        for lock in self._locks.values():
            self._files.unlock(lock)
        self._locks.clear()

    def share(self) -> None:
        """Let others onto the GPUs that this process has alone: it keeps a share of each."""
        with self._files.deciding():  # so nobody takes one between its two locks
            whole = [uuid for uuid, lock in self._locks.items() if lock.whole]
            for uuid in whole:
                self._files.unlock(self._locks.pop(uuid))
            locked, _ = self._files.lock_free(whole, self.shares)
            for lock in locked.values():
                self._files.sign(lock)
            self._locks |= locked
        if whole and self._head_start is not None:
            self._head_start.let_go()

    def hold(
        self,
        count: int,
        *,
        most: int = 0,
        shared: bool = False,
        enough: Enough = lambda use: True,
        give_up: Callable[[], str | None] = lambda: None,
        limit_s: float = LIMIT_S,
        memory_limit_s: float = MEMORY_LIMIT_S,
    ) -> tuple[Gpu, ...]:
        """Hold at least ``count`` GPUs, and return all that are held as they are needed.

        Args:
            count: how many are needed.
            most: how many to take where nobody else holds or needs any, if that is more.
            shared: whether a share of each will do, where they have more than one.
            enough: whether the memory that a GPU has free will do; asked of those that are not held yet.
            give_up: called before GPUs are given back to wait for more; ends what uses them, or says why it cannot.
            limit_s: how long to wait for other processes of ours, in seconds.
            memory_limit_s: how long to wait where only memory is lacking, in seconds.

        Raises:
            LeaseError: they could not be had; says who has them.
        """
        if count > len(self.gpus):
            raise LeaseError(f"{plural(count, 'GPU')} are needed, and {len(self.gpus)} may be used")
        if not shared:
            alone = tuple(gpu for gpu in self.held if self._locks[gpu.uuid].whole)
            if len(alone) >= count:
                return alone
            sharing = len(self._locks) - len(alone)
            if sharing:
                self._give_back(f"{plural(count, 'GPU')} needed alone, {sharing} shared here", give_up)
        if len(self._locks) >= count:
            return self.held
        if shared and self.shares > 1 and self._head_start is not None:
            self._head_start.wait()
        take = partial(self._take, count, most, self.shares if shared else 1, enough)
        lack = take()
        if lack is not None and self._locks:
            needed = f"{plural(count, 'GPU')} are needed, {len(self._locks)} are held here"
            self._give_back(needed, give_up, lack)
        if lack is not None:
            with self._files.queue(count, self._names, alone=not shared or self.shares == 1) as ticket:
                self._wait(lambda: take(ticket), count, limit_s, memory_limit_s)
        if not shared and self._head_start is not None:
            self._head_start.begun()
        return self.held

    def _give_back(self, needed: str, give_up: Callable[[], str | None], lack: Lack | None = None) -> None:
        refusal = give_up()
        if refusal is not None:
            why = f"{needed} and cannot be given back to wait for more: {refusal}"
            raise LeaseError("; ".join([why, *([lack.text] if lack is not None else [])]))
        self.release()

    def wait_for_memory(self, gpus: Sequence[Gpu], enough: Enough, limit_s: float = MEMORY_LIMIT_S) -> None:
        """Wait until GPUs that are held already have enough memory free.

        Raises:
            LeaseError: they do not in time; says which processes have it.
        """
        began = time.monotonic()
        while unfit := [use.gpu for use in read_use(gpus) if not enough(use)]:
            waited, text = time.monotonic() - began, "; ".join(map(str, read_use(unfit, holders=True)))
            if waited >= limit_s:
                raise LeaseError(f"memory of {plural(len(unfit), 'GPU')} is not free after {waited:.0f} s: {text}")
            self._waiting(text, waited, limit_s - waited)
            time.sleep(LOOK_EVERY_S)

    def _wait(self, take: Callable[[], Lack | None], count: int, limit_s: float, memory_limit_s: float) -> None:
        began = others_until = time.monotonic()
        while (lack := take()) is not None:
            now = time.monotonic()
            if lack.others:
                others_until = now
            left = limit_s - (now - began)
            if not lack.others:
                left = min(left, memory_limit_s - (now - others_until))
            if left <= 0:
                raise LeaseError(f"{plural(count, 'GPU')} could not be had within {now - began:.0f} s: {lack.text}")
            self._waiting(lack.text, now - began, left)
            time.sleep(LOOK_EVERY_S)

    def _take(self, count: int, most: int, shares: int, enough: Enough, ticket: Ticket | None = None) -> Lack | None:
        """Take what is needed, all of it or nothing; say what is lacking where it is not there."""
        uses = {use.gpu.uuid: use for use in read_use(self.gpus)}  # takes a moment, so before others are kept waiting
        with self._files.deciding():
            rivals = [one for one in self._files.line() if one != ticket and not one.gpus.isdisjoint(self._names)]
            ahead = [one for one in rivals if ticket is None or one.name < ticket.name]
            comes_first, kept = yielding(ahead) if shares > 1 else (bool(ahead), frozenset())
            locked, holders = self._files.lock_free(
                (gpu.uuid for gpu in self.gpus if gpu.uuid not in self._locks and gpu.uuid not in kept), shares
            )
            try:
                fit = [uuid for uuid in locked if uuid in uses and enough(uses[uuid])]
                # of shares the first ones; of those alike, the first of the mask
                fit.sort(key=lambda uuid: (locked[uuid].share or 0, -round(uses[uuid].free_gb)))
                company = any(self._files.has_company(uuid, lock) for uuid, lock in locked.items())
                needed = count - len(self._locks)
                unfit = [gpu for gpu in self.gpus if gpu.uuid in locked and gpu.uuid not in fit]
                if not comes_first and len(fit) >= needed:
                    alone = self._greedy and not rivals and not holders and not company
                    for uuid in fit[: max(needed, most - len(self._locks)) if alone else needed]:
                        self._files.sign(locked[uuid])
                        self._locks[uuid] = locked.pop(uuid)
                    return None
            finally:
                for lock in locked.values():
                    self._files.unlock(lock)
        return Lack(self._lacking(ahead, holders, unfit), others=bool(ahead or holders or company))

    def _lacking(self, ahead: Sequence[Ticket], holders: Mapping[str, str], unfit: Sequence[Gpu]) -> str:
        names = {gpu.uuid: gpu.id for gpu in self.gpus}
        uses = read_use(unfit, holders=True)
        said = [str(ticket) for ticket in ahead]
        said += [f"GPU {names[uuid]} is held by {holder}" for uuid, holder in holders.items()]
        said += map(str, uses)
        said += ["the driver lists a GPU no more"] if len(uses) < len(unfit) else []
        return "; ".join(said)


def yielding(ahead: Iterable[Ticket]) -> tuple[bool, frozenset[str]]:
    """Tell how those who came before one that shares keep it from its turn.

    Who waits for whole GPUs keeps no more than it needs, and the others go on with the rest. Who shares too lets those
    pass who can, for a while.

    Returns:
        Whether one of them comes first whatever is free, and the UUIDs of the GPUs that are kept for others.
    """
    kept: set[str] = set()
    comes_first = False
    for ticket in ahead:
        if ticket.alone:
            kept |= ticket.kept
        else:
            comes_first |= ticket.waited_s > PATIENCE_S
    return comes_first, frozenset(kept)
