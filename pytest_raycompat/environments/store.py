"""Environments on this machine: made once, the newest kept, the rest deleted; what we did not make is left alone."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from pytest_raycompat.environments.building import BuildError, Order, build, installed
from pytest_raycompat.files import UNREADABLE, write_file

MARKER = "raycompat-environment.json"
"""What tells an environment of ours: only a folder with this file is ever deleted."""
GIB = 2**30

Build = Callable[[Order, Path, Path], None]


class Marker(msgspec.Struct, frozen=True, kw_only=True):
    """What an environment says of itself."""

    name: str
    ready: bool
    """False from before it is built until it is: what was interrupted is built anew."""
    used: float
    """When it was last used, in seconds since the epoch."""
    build_s: float = 0.0
    installed: str = ""
    """Its distributions, as ``pip freeze`` lists them."""


def default_folder() -> Path:
    """Return where environments are kept, for ``raycompat matrix`` and ``bisect`` alike."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(cache) / "pytest-raycompat" / "environments"


class EnvironmentStore:
    """The environments in a folder.

    Args:
        folder: where they are.
        keep: how many of them stay, those in use among them.
        tell: told in words what is deleted.
        make: builds one; :func:`~pytest_raycompat.environments.building.build`.
        free_bytes: says how much room there is at a path.
    """

    def __init__(
        self,
        folder: Path,
        *,
        keep: int,
        tell: Callable[[str], None] = lambda text: None,
        make: Build = build,
        free_bytes: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
    ) -> None:
        self.folder = folder
        self.keep = keep
        self._tell = tell
        self._make = make
        self._free_bytes = free_bytes

    @contextlib.contextmanager
    def use(self, order: Order, log: Path) -> Iterator[tuple[Path, Marker]]:
        """Have an environment, built if it is not there; it is not deleted meanwhile, by no other process either.

        Yields:
            Its interpreter, and what it says of itself.

        Raises:
            BuildError: it cannot be built.
            ResolverError: there is no uv.
        """
        name = order.folder_name
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._locked(name):
            marker = self._read(name)
            if marker is None or not marker.ready:
                marker = self._build(order, log)
            self._write(name, msgspec.structs.replace(marker, used=time.time()))
            try:
                yield self.folder / name / "bin" / "python", marker
            finally:
                if (self.folder / name).is_dir():
                    self._write(name, msgspec.structs.replace(marker, used=time.time()))

    def prune(self, keep: int | None = None, room_bytes: float = 0.0) -> None:
        """Delete the oldest environments until ``keep`` are left and, if that can be, ``room_bytes`` are free."""
        ours = sorted(self._ours(), key=lambda one: one[1].used)
        while ours and ((keep is not None and len(ours) > keep) or self._free_bytes(self.folder) < room_bytes):
            name, _ = ours.pop(0)
            self._delete(name)
        for left in self.folder.glob(".deleting-*"):  # by a process that was killed
            if (left / MARKER).is_file():
                _remove(left)

    def _build(self, order: Order, log: Path) -> Marker:
        name = order.folder_name
        if self._read(name) is not None:
            self._remove(name)
        elif (self.folder / name).exists():
            raise BuildError(
                "unbuildable", f"{self.folder / name} is there and was not made by raycompat: move it away"
            )
        self.prune(room_bytes=order.room_gib * GIB)
        began = time.monotonic()
        try:
            self._try(order, log)
        except BuildError as error:
            if error.kind != "disk-full" or not self._ours():
                raise
            self.prune(0)
            self._try(order, log)
        marker = Marker(
            name=order.name,
            ready=True,
            used=time.time(),
            build_s=time.monotonic() - began,
            installed=installed(self.folder / name, self.folder),
        )
        self._write(name, marker)
        self.prune(self.keep)  # only now: one that cannot be built is no reason to delete one that was
        return marker

    def _try(self, order: Order, log: Path) -> None:
        name = order.folder_name
        try:
            self._write(name, Marker(name=order.name, ready=False, used=time.time()))
            self._make(order, self.folder / name, log)
        except OSError as error:
            self._remove(name)
            raise BuildError("disk-full", f"{self.folder}: {error.strerror}") from error
        except BaseException:
            self._remove(name)
            raise

    def _ours(self) -> list[tuple[str, Marker]]:
        found = []
        for path in self.folder.glob(f"*/{MARKER}"):
            marker = self._read(path.parent.name)
            if marker is not None and not path.parent.name.startswith("."):
                found.append((path.parent.name, marker))
        return found

    def _read(self, name: str) -> Marker | None:
        try:
            return msgspec.json.decode((self.folder / name / MARKER).read_bytes(), type=Marker)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, *UNREADABLE):  # ours, and truncated
            return Marker(name=name, ready=False, used=0.0)

    def _write(self, name: str, marker: Marker) -> None:
        write_file(self.folder / name / MARKER, msgspec.json.encode(marker))

    def _delete(self, name: str) -> None:
        """Delete an environment, unless a process is using it."""
        with contextlib.suppress(BlockingIOError), self._locked(name, wait=False):
            self._tell(f"deleting the environment {name}: the newest {self.keep} are kept, where there is room")
            self._remove(name)

    def _remove(self, name: str) -> None:
        """Remove a folder so that no half of it is ever taken for an environment; its lock is held."""
        leaving = self.folder / f".deleting-{name}-{os.getpid()}"
        with contextlib.suppress(FileNotFoundError):
            os.rename(self.folder / name, leaving)
            _remove(leaving)

    @contextlib.contextmanager
    def _locked(self, name: str, *, wait: bool = True) -> Iterator[None]:
        locks = self.folder / ".locks"
        locks.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(locks / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            yield
        finally:
            os.close(descriptor)


def _remove(folder: Path) -> None:
    """Delete a folder, the file that says that it is ours last."""
    for path in folder.iterdir():
        if path.name == MARKER:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    (folder / MARKER).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()
