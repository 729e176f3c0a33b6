"""A release's files on an index: by ranges where its server has them, else all at once."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pytest_raycompat.releases.archive import Archive, Sdist, ZipFile
from pytest_raycompat.releases.model import File, ReleaseError
from pytest_raycompat.releases.ranged import RemoteWheel
from pytest_raycompat.releases.transport import Transport, readable

_MIB = 2**20


class NoRanges(Exception):
    """The server sends whole files only."""


class _Ranges:
    def __init__(self, transport: Transport, url: str) -> None:
        self._transport = transport
        self._url = url

    def last(self, count: int) -> tuple[bytes, int]:
        part = self._transport.part(self._url, f"-{count}")
        if part is None:
            raise NoRanges
        return part.content, part.size

    def between(self, start: int, end: int) -> bytes:
        part = self._transport.part(self._url, f"{start}-{end - 1}")
        if part is None:
            raise NoRanges
        return part.content


class RemoteArchive:
    """The files of a wheel, or of a source distribution where there is no wheel, or no ranges and it is smaller."""

    def __init__(
        self, transport: Transport, wheel: File | None, sdist: File | None, warn: Callable[[str], None]
    ) -> None:
        self._transport = transport
        self._wheel = wheel
        self._sdist = sdist
        self._warn = warn
        self._temporary: tempfile.TemporaryDirectory[str] | None = None

    def names(self) -> tuple[str, ...]:
        """List all files."""
        return self._archive.names()

    def read(self, names: Iterable[str]) -> Mapping[str, bytes]:
        """Read some of them."""
        return self._archive.read(names)

    def close(self) -> None:
        """Remove what was fetched whole."""
        if self._temporary is not None:
            self._temporary.cleanup()

    @cached_property
    def _archive(self) -> Archive:
        if self._wheel is not None:
            local = local_path(self._wheel.url)
            if local is not None:
                return ZipFile(local)
            ranged = RemoteWheel(_Ranges(self._transport, self._wheel.url), self._wheel.name)
            try:
                ranged.names()
                return ranged
            except NoRanges:
                pass
        return self._whole()

    def _whole(self) -> Archive:
        choices = [file for file in (self._wheel, self._sdist) if file is not None]
        file = min(choices, key=lambda one: one.size or 0 if one.size is not None else 1 << 40)
        size = f", {file.size / _MIB:.0f} MiB" if file.size is not None else ""
        if self._wheel is not None:
            self._warn(f"{urlsplit(readable(file.url)).netloc} sends whole files only: fetching {file.name}{size}")
        path = self._fetched(file)
        return ZipFile(path) if file.is_wheel else Sdist(path.read_bytes(), file.name)

    def _fetched(self, file: File) -> Path:
        local = local_path(file.url)
        if local is not None:
            return local
        self._temporary = tempfile.TemporaryDirectory(prefix="raycompat-release-")
        path = Path(self._temporary.name) / file.name
        self._transport.whole(file.url, path)
        if file.sha256 and file.is_wheel:
            with path.open("rb") as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
            if found != file.sha256 and len(file.sha256) == len(found):
                raise ReleaseError(f"{file.name}: what came is not what the index lists (its SHA-256 is {found})")
        return path


def local_path(url: str) -> Path | None:
    """Return the path of a ``file:`` address; None for another one."""
    parts = urlsplit(url)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None
