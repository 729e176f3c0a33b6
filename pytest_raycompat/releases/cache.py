"""A folder of small files that may be thrown away: bounded, written whole or not at all, checked when read."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from pytest_raycompat.files import write_file

LIMIT_BYTES = 1 << 30
"""How much the cache may hold; the facts of a release are about 1 MB (Ray 2.60.0)."""
_DIGEST_BYTES = 16
_PRUNED_TO = 0.8


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Return where this package keeps what it can fetch or make again: ``$XDG_CACHE_HOME/pytest-raycompat``."""
    root = environment.get("XDG_CACHE_HOME")
    base = Path(root) if root and os.path.isabs(root) else Path(environment.get("HOME") or "/tmp") / ".cache"
    return base / "pytest-raycompat"


class Cache:
    """Keeps bytes by key below a folder. What is damaged is told to ``warn``, removed, and made anew by its user."""

    def __init__(self, folder: Path, *, limit_bytes: int = LIMIT_BYTES, warn: Callable[[str], None] = print) -> None:
        self.folder = folder
        self._limit_bytes = limit_bytes
        self._warn = warn
        self._total: int | None = None
        self._usable = True

    def get(self, kind: str, key: str) -> bytes | None:
        """Return what was kept; None where there is nothing, or nothing whole."""
        path = self._path(kind, key)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        digest, payload = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        if digest != _digest(payload):
            self._warn(f"{path} is damaged (an interrupted copy, or a full disk?): it is made anew")
            path.unlink(missing_ok=True)
            return None
        try:
            os.utime(path)  # what was used last is kept longest
        except OSError:
            pass
        return payload

    def put(self, kind: str, key: str, payload: bytes) -> None:
        """Keep something. Where nothing can be written, this says so once and goes on without."""
        if not self._usable:
            return
        path = self._path(kind, key)
        try:
            write_file(path, _digest(payload) + payload)
            self._grown(len(payload))
        except OSError as error:
            self._usable = False
            self._warn(f"{self.folder} cannot be written ({error.strerror}): nothing is kept for the next time")

    def has(self, kind: str, key: str) -> bool:
        """Tell whether something is kept, whole or not."""
        return self._path(kind, key).is_file()

    def _path(self, kind: str, key: str) -> Path:
        return self.folder / kind / hashlib.blake2b(key.encode(), digest_size=16).hexdigest()

    def _grown(self, added: int) -> None:
        if self._total is None:
            self._total = sum(size for _, size, _ in self._files())
        else:
            self._total += added
        if self._total > self._limit_bytes:
            self._prune()

    def _files(self) -> list[tuple[float, int, Path]]:
        found = []
        for path in self.folder.glob("*/*"):
            try:
                status = path.stat()
            except OSError:  # another process prunes as well
                continue
            found.append((status.st_mtime, status.st_size, path))
        return sorted(found)

    def _prune(self) -> None:
        files = self._files()
        total = sum(size for _, size, _ in files)
        for _, size, path in files:
            if total <= self._limit_bytes * _PRUNED_TO:
                break
            path.unlink(missing_ok=True)
            total -= size
        self._total = total


def _digest(payload: bytes) -> bytes:
    return hashlib.blake2b(payload, digest_size=_DIGEST_BYTES).digest()
