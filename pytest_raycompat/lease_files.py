"""The files behind leases of GPUs: some to lock for each GPU, and one for each process that waits in line.

A lock is one of ``flock``: it ends with the process that has it, however that ends. No file that is locked for a GPU is
ever removed, as somebody else may be about to lock it. Who has a GPU alone has the lock on its file alone; those who
share it share that, and each has a file of a share alone. All who share a GPU divide it into as many: others would add
up to more than it has.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pytest_raycompat.lease import LeaseError, locking, open_lock, try_lock

MOST_NAMED = 3
"""Of those who share a GPU; more make a message that nobody reads."""
DECIDING = "deciding.lock"
TICKET = ".waiting"


def lease_folder() -> Path:
    """Return the folder of this user's locks."""
    return Path(tempfile.gettempdir()) / f"raycompat-{os.getuid()}-gpus"


@dataclass(frozen=True)
class Ticket:
    """A place in the line; ``name`` sorts by when it was taken."""

    name: str
    pid: int
    count: int
    gpus: frozenset[str]
    """UUIDs of the GPUs that its process may use."""
    alone: bool = True
    """Whether nobody may share them."""

    @property
    def kept(self) -> frozenset[str]:
        """As many of them as it needs, the same ones for everybody who asks."""
        return frozenset(sorted(self.gpus)[-self.count :])

    @property
    def waited_s(self) -> float:
        """How long it has waited, in seconds."""
        return time.time() - int(self.name.partition("-")[0]) / 1e9

    def __str__(self) -> str:
        return f"process {self.pid} waits for {self.count} GPU{'s' if self.count > 1 else ''} and came first"


@dataclass(frozen=True)
class Lock:
    """What a process has locked of a GPU.

    ``descriptors`` are of the GPU's file, and of that of a share where it has only one; ``share`` is its number then,
    ``file`` the name of its file.
    """

    descriptors: tuple[int, ...]
    share: int | None = None
    file: str = ""

    @property
    def whole(self) -> bool:
        """Whether it has the GPU alone."""
        return self.share is None


class LeaseFiles:
    """The locks of one user.

    Args:
        folder: where they are; made where it is missing.

    Raises:
        LeaseError: there is something else, or it is somebody else's.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise LeaseError(f"{folder} is not a folder of this user's: remove it, or set TMPDIR")

    def _open(self, name: str) -> int:
        return open_lock(self._folder / name)

    @contextlib.contextmanager
    def deciding(self) -> Iterator[None]:
        """Be the only one who looks at locks and the line: for moments, never while anything is waited for."""
        with locking(self._folder / DECIDING) as descriptor:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield

    def lock_free(self, uuids: Iterable[str], shares: int = 1) -> tuple[dict[str, Lock], dict[str, str]]:
        """Lock what can be had of GPUs; return the locks, and who holds each of the others.

        Args:
            uuids: of the GPUs.
            shares: into how many shares each is divided; one share of it is locked then.
        """
        locked: dict[str, Lock] = {}
        holders: dict[str, str] = {}
        for uuid in uuids:
            lock = self._lock(uuid) if shares == 1 else self._lock_share(uuid, shares)
            if lock is None:
                holders[uuid] = self._holder(uuid)
            else:
                locked[uuid] = lock
        return locked, holders

    def _lock(self, uuid: str) -> Lock | None:
        descriptor = self._open(f"{uuid}.lock")
        if try_lock(descriptor):
            return Lock((descriptor,))
        os.close(descriptor)
        return None

    def _lock_share(self, uuid: str, shares: int) -> Lock | None:
        whole = self._open(f"{uuid}.lock")
        divided = f"-of-{shares}.lock"
        if try_lock(whole, shared=True) and all(name.endswith(divided) for name in self._shares_taken(uuid)):
            for number in range(shares):
                name = f"{uuid}.share-{number}{divided}"
                descriptor = self._open(name)
                if try_lock(descriptor):
                    return Lock((whole, descriptor), number, name)
                os.close(descriptor)
        os.close(whole)
        return None

    def has_company(self, uuid: str, lock: Lock) -> bool:
        """Tell whether others share a GPU of which ``lock`` has a share; call it only while :meth:`deciding`."""
        return not lock.whole and any(name != lock.file for name in self._shares_taken(uuid))

    def _shares_taken(self, uuid: str) -> Iterator[str]:
        """Name the files of the shares of a GPU that somebody has."""
        names = sorted(path.name for path in self._folder.glob(f"{uuid}.share-*.lock"))
        return (name for name in names if self._is_locked(name))

    def _holder(self, uuid: str) -> str:
        """Say who has a GPU: those who share it, or else the one who has it alone."""
        sharing = list(map(self._signed, self._shares_taken(uuid)))
        more = f" and {len(sharing) - MOST_NAMED} more" if len(sharing) > MOST_NAMED else ""
        return ", ".join(sharing[:MOST_NAMED]) + more or self._signed(f"{uuid}.lock")

    def _is_locked(self, name: str) -> bool:
        descriptor = self._open(name)
        try:
            return not try_lock(descriptor)
        finally:
            os.close(descriptor)

    def _signed(self, name: str) -> str:
        descriptor = self._open(name)
        try:
            return os.pread(descriptor, 100, 0).decode(errors="replace").strip() or "another process"
        finally:
            os.close(descriptor)

    def sign(self, lock: Lock) -> None:
        """Write into a lock who has it."""
        os.ftruncate(lock.descriptors[-1], 0)
        os.pwrite(lock.descriptors[-1], f"a run of process {os.getpid()}".encode(), 0)

    def unlock(self, lock: Lock) -> None:
        """Give a lock back; the share first, so that nobody finds the GPU free and a share taken."""
        for descriptor in reversed(lock.descriptors):
            os.close(descriptor)

    @contextlib.contextmanager
    def queue(self, count: int, gpus: frozenset[str], *, alone: bool = True) -> Iterator[Ticket]:
        """Stand in line for ``count`` of ``gpus``."""
        with self.deciding():
            ticket = Ticket(f"{time.time_ns():020d}-{os.getpid()}{TICKET}", os.getpid(), count, gpus, alone)
            descriptor = self._open(ticket.name)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            text = json.dumps({"pid": ticket.pid, "count": count, "gpus": sorted(gpus), "alone": alone})
            os.pwrite(descriptor, text.encode(), 0)
        try:
            yield ticket
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._folder / ticket.name)
            os.close(descriptor)

    def line(self) -> list[Ticket]:
        """List who waits, the first first; call it only while :meth:`deciding`."""
        found = []
        for path in sorted(self._folder.glob(f"*{TICKET}")):
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except FileNotFoundError:  # its process has just left the line
                continue
            try:
                if try_lock(descriptor):  # its process has ended
                    path.unlink(missing_ok=True)
                    continue
                told = json.loads(os.pread(descriptor, 1 << 20, 0))
                gpus, alone = frozenset(told["gpus"]), told["alone"]
                found.append(Ticket(path.name, told["pid"], told["count"], gpus, alone))
            finally:
                os.close(descriptor)
        return found
