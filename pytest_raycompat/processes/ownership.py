"""Which processes and shared-memory segments are ours.

A process is ours when its session was started by us, or when it carries the mark that we put into the environment of
everything we start. Names never count: a ``raylet`` of somebody else looks just like ours.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import psutil

MARK_VARIABLE = "PYTEST_RAYCOMPAT_OWNER"
"""Environment variable with the owner's token; children inherit it, wherever they move."""

SHARED_MEMORY = Path("/dev/shm")
MAKER = re.compile(r"sem\.(?:hdr|obj)(\d+)-\d+")
"""Name of a semaphore of one of Ray's channels: the id of the process that made it, and the time in ns (2.60.0)."""


def processes_of(sessions: Iterable[int], mark: str | None = None) -> list[psutil.Process]:
    """Find the live processes of ``sessions`` (ids of session leaders), and those that carry ``mark``."""
    wanted = set(sessions)
    return [process for process in psutil.process_iter() if is_ours(process, wanted, mark)]


def is_ours(process: psutil.Process, sessions: set[int], mark: str | None) -> bool:
    """Tell whether a process is alive and belongs to one of ``sessions`` or carries ``mark``."""
    try:  # what costs least first: a host may have thousands of processes
        found = os.getsid(process.pid) in sessions or (mark is not None and mark_of(process) == mark)
        return found and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, OSError):  # it ended meanwhile
        return False


def mark_of(process: psutil.Process) -> str | None:
    """Read which run started a process; None where none of the user's did, as far as can be seen."""
    try:
        return process.environ().get(MARK_VARIABLE)
    except psutil.Error:  # it ended meanwhile, or it is another user's
        return None


def end_processes(
    leaders: Iterable[int], find: Callable[[], list[psutil.Process]], *, grace_s: float, limit_s: float
) -> list[psutil.Process]:
    """Ask the session ``leaders`` to end, and kill what ``find`` still returns after ``grace_s`` seconds.

    Only leaders are asked: ``ray start --block`` ends its own children in order within 2 s, but waits 30 s for a GCS
    that was told to go at the same time (Ray 2.60.0, seen).

    Returns:
        What is still alive after ``limit_s`` seconds; empty unless the kernel keeps a process from dying.
    """
    for leader in leaders:
        send(leader, signal.SIGTERM)
    began = time.monotonic()
    while (left := find()) and time.monotonic() - began < limit_s:
        if time.monotonic() - began >= grace_s:
            for process in left:
                send(process.pid, signal.SIGKILL)
        time.sleep(0.1)
    return left


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process that may have ended by now."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def shared_memory_of(processes: Iterable[psutil.Process]) -> set[Path]:
    """Find the named shared-memory segments that ``processes`` have mapped.

    They are known by their inode: glibc makes a named semaphore under another name, which is what its maker's maps show
    for ever, as deleted (``sem_open``; Ray's channels use such semaphores).
    """
    names = {entry.inode(): Path(entry.path) for entry in os.scandir(SHARED_MEMORY)}
    found: set[Path] = set()
    for process in processes if names else ():
        try:
            maps = Path(f"/proc/{process.pid}/maps").read_text(errors="replace")
        except OSError:  # it ended meanwhile, or it is another user's
            continue
        for line in maps.splitlines():
            if f" {SHARED_MEMORY}/" in line:
                inode = int(line.split(maxsplit=5)[4])  # address, permissions, offset, device, inode, path
                if inode in names:
                    found.add(names[inode])
    return found


def segments_named_after(lives: Mapping[int, tuple[float, float]]) -> set[Path]:
    """Find the segments whose names say that a process made them that is known.

    Args:
        lives: from when to when each process, by its id, is known to have lived (seconds since the epoch). Another
            may have had the same id before or after.
    """
    found: set[Path] = set()
    for entry in os.scandir(SHARED_MEMORY):
        named = MAKER.fullmatch(entry.name)
        if named is not None and int(named[1]) in lives:
            began, ended = lives[int(named[1])]
            with contextlib.suppress(FileNotFoundError):
                if began <= entry.stat().st_mtime <= ended:
                    found.add(Path(entry.path))
    return found


def remove_unused_segments(segments: Iterable[Path], processes: Iterable[psutil.Process]) -> set[Path]:
    """Remove those ``segments`` that none of ``processes`` has mapped, and return the ones that are gone."""
    segments = set(segments)
    gone = {segment for segment in segments if not segment.exists()}
    if segments == gone:
        return gone
    for segment in segments - gone - shared_memory_of(processes):
        segment.unlink(missing_ok=True)
        gone.add(segment)
    return gone
