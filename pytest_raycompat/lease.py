"""One flow at a time on a machine's cores and GPUs, whichever of the user's pytest processes runs it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

LIMIT_S = 3600.0
"""How long a flow waits for those of other processes, in seconds."""
LOOK_EVERY_S = 0.2

Waiting = Callable[[str, float, float], None]
"""Called while waiting with who has the lease, and the seconds that have gone and are left."""


class LeaseError(Exception):
    """The machine did not become free in time; says who has it."""


def lease_path() -> Path:
    """Return the file that is locked while a flow of this user runs; the lock ends with its process."""
    return Path(tempfile.gettempdir()) / f"raycompat-{os.getuid()}.lock"


@contextlib.contextmanager
def hold_machine(path: Path, waiting: Waiting, *, limit_s: float = LIMIT_S) -> Iterator[None]:
    """Have the machine to oneself: whoever waits gets it before the one who has just had it.

    Args:
        path: of the file that is locked.
        waiting: told what is waited for.
        limit_s: how long it is waited for, in seconds.

    Raises:
        LeaseError: it did not become free.
    """
    began = time.monotonic()
    with locking(path) as machine:
        with locking(path.with_name(f"{path.name}.next")) as next_in_line:
            for wanted in (next_in_line, machine):
                while not try_lock(wanted):
                    waited = time.monotonic() - began
                    holder = os.pread(machine, 100, 0).decode(errors="replace").strip() or "another process"
                    if waited > limit_s:
                        raise LeaseError(f"{holder} has had this machine for {limit_s:.0f} s (lock: {path})")
                    waiting(holder, waited, limit_s - waited)
                    time.sleep(LOOK_EVERY_S)
        os.ftruncate(machine, 0)
        os.pwrite(machine, f"a flow of process {os.getpid()}".encode(), 0)
        yield


def open_lock(path: Path) -> int:
    """Open a file that is to be locked, and make it where it is not there; closing it gives the lock back."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


@contextlib.contextmanager
def locking(path: Path) -> Iterator[int]:
    """Open a file that is to be locked, for a block."""
    descriptor = open_lock(path)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def try_lock(descriptor: int, *, shared: bool = False) -> bool:
    """Lock an open file, unless another process has; one that is ``shared`` others may share."""
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
