"""The files behind leases of GPUs: one to lock for each GPU, and one for each process that waits in line.

A lock is one of ``flock``: it ends with the process that has it, however that ends. No file that is locked for a GPU is
ever removed, as somebody else may be about to lock it.
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

from pytest_raycompat.lease import LeaseError, try_lock

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

    def __str__(self) -> str:
        return f"process {self.pid} waits for {self.count} GPU{'s' if self.count > 1 else ''} and came first"


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
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(self._folder / name, flags, 0o600)

    @contextlib.contextmanager
    def deciding(self) -> Iterator[None]:
        """Be the only one who looks at locks and the line: for moments, never while anything is waited for."""
        descriptor = self._open(DECIDING)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def lock_free(self, uuids: Iterable[str]) -> tuple[dict[str, int], dict[str, str]]:
        """Lock those GPUs that nobody holds; return their locks, and who holds each of the others."""
        locked: dict[str, int] = {}
        holders: dict[str, str] = {}
        for uuid in uuids:
            descriptor = self._open(f"{uuid}.lock")
            if try_lock(descriptor):
                locked[uuid] = descriptor
            else:
                holders[uuid] = os.pread(descriptor, 100, 0).decode(errors="replace").strip() or "another process"
                os.close(descriptor)
        return locked, holders

    def sign(self, descriptor: int) -> None:
        """Write into a lock who has it."""
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"a run of process {os.getpid()}".encode(), 0)

    def unlock(self, descriptor: int) -> None:
        """Give a lock back."""
        os.close(descriptor)

    @contextlib.contextmanager
    def queue(self, count: int, gpus: frozenset[str]) -> Iterator[Ticket]:
        """Stand in line for ``count`` of ``gpus``."""
        with self.deciding():
            ticket = Ticket(f"{time.time_ns():020d}-{os.getpid()}{TICKET}", os.getpid(), count, gpus)
            descriptor = self._open(ticket.name)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            text = json.dumps({"pid": ticket.pid, "count": count, "gpus": sorted(gpus)})
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
                found.append(Ticket(path.name, told["pid"], told["count"], frozenset(told["gpus"])))
            finally:
                os.close(descriptor)
        return found
