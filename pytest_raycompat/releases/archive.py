"""What is in a wheel, read in part: over the network by ranges, or from a file or folder on this machine."""

from __future__ import annotations

import hashlib
import io
import os
import re
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

from pytest_raycompat.releases.model import ReleaseError

_KINDS = frozenset({".py", ".pyi", ".so", ".pyx", ".pxd"})


class Archive(Protocol):
    """Files by the path that they have below ``site-packages``, with slashes."""

    def names(self) -> tuple[str, ...]:
        """List all files.

        Raises:
            ReleaseError: it cannot be read.
        """

    def read(self, names: Iterable[str]) -> Mapping[str, bytes]:
        """Read some of them.

        Raises:
            ReleaseError: it cannot be read.
        """


class ZipFile:
    """A wheel on this machine."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def names(self) -> tuple[str, ...]:
        """List all files."""
        with self._open() as archive:
            return tuple(archive.namelist())

    def read(self, names: Iterable[str]) -> Mapping[str, bytes]:
        """Read some of them."""
        with self._open() as archive:
            try:
                return {name: archive.read(name) for name in names}
            except (zipfile.BadZipFile, OSError, EOFError) as error:
                raise ReleaseError(f"{self._path}: damaged: {error}") from error

    def _open(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(self._path)
        except (zipfile.BadZipFile, OSError) as error:
            raise ReleaseError(f"{self._path}: not a wheel that can be read: {error}") from error


class Folder:
    """An unpacked wheel, a checkout's folder with the package in it, or ``site-packages``."""

    def __init__(self, root: Path, package: str) -> None:
        """Set up.

        Args:
            root: what paths are relative to.
            package: the folder below it that is looked into; its metadata is looked at too.
        """
        self._root = root
        self._package = package

    def names(self) -> tuple[str, ...]:
        """List all files."""
        return tuple(name for name, _ in self._walked())

    def read(self, names: Iterable[str]) -> Mapping[str, bytes]:
        """Read some of them."""
        try:
            return {name: (self._root / name).read_bytes() for name in names}
        except OSError as error:
            raise ReleaseError(f"{error.filename}: {error.strerror}") from error

    def fingerprint(self) -> str:
        """Return a text that changes when a Python file is changed, added or removed."""
        digest = hashlib.blake2b(digest_size=16)
        for name, status in self._walked():
            if name.endswith((".py", "METADATA")):
                digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
        return digest.hexdigest()

    def _walked(self) -> list[tuple[str, os.stat_result]]:
        metadata = [
            path / "METADATA"
            for path in self._root.glob(f"{self._package}*.dist-info")
            if re.match(rf"{self._package}(_cpu)?-\d", path.name)
        ]
        files = [path for path in (self._root / self._package).rglob("*") if path.suffix in _KINDS]
        found = []
        for path in (*files, *metadata):
            try:
                found.append((str(path.relative_to(self._root)), path.stat()))
            except OSError:
                continue  # removed in between, or a link to nowhere
        return sorted(found, key=lambda one: one[0])


class Sdist:
    """A source distribution in memory."""

    def __init__(self, content: bytes, name: str) -> None:
        self._name = name
        try:
            with tarfile.open(fileobj=io.BytesIO(content)) as archive:
                self._files = {
                    path: stream.read()
                    for member in archive
                    if member.isfile()
                    and (path := _below_the_top(member.name)) is not None
                    and (stream := archive.extractfile(member)) is not None
                }
        except (tarfile.TarError, OSError, EOFError) as error:
            raise ReleaseError(f"{name}: damaged: {error}") from error

    def names(self) -> tuple[str, ...]:
        """List the files that may matter."""
        return tuple(self._files)

    def read(self, names: Iterable[str]) -> Mapping[str, bytes]:
        """Read some of them."""
        return {name: self._files[name] for name in names}


def _below_the_top(path: str) -> str | None:
    """Return the path without the folder ``NAME-VERSION``; None for what is neither Python nor metadata."""
    below = path.partition("/")[2].removeprefix("src/")
    if below == "PKG-INFO":
        return "sdist.dist-info/METADATA"
    return below if below.endswith((".py", ".pyi")) else None
