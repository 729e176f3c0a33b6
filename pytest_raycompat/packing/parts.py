"""Parts: a folder of installed distributions, compressed and cut into files that can be copied one by one."""

from __future__ import annotations

import hashlib
import lzma
import shutil
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from pytest_raycompat.packing import unpack
from pytest_raycompat.packing.distributions import Installed, parse_pin

MANIFEST = "pack.json"
CHECKSUMS = "SHA256SUMS"
PROGRAM = "unpack.py"
PRESET = 1
"""Of xz: 6 takes five times as long, and saves a tenth."""


class PackError(ValueError):
    """A folder is not a pack; says why."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a pack holds, and what it counts on."""

    python_version: str
    platform: str
    requirements: tuple[str, ...]
    packed: tuple[str, ...]
    """Requirements that pin each distribution that is packed."""
    expected: Mapping[str, str | None]
    """Distributions that the host is to have, and the version that was resolved."""
    left_out: Mapping[str, str]
    """Distributions that were resolved and left out, and why."""

    def installed(self) -> Installed:
        """Return what is packed as what a further pack may count on."""
        pins = [parse_pin(text, MANIFEST) for text in self.packed]
        return {pin.name: pin.version for pin in pins}


class Splitter:
    """Writes a stream to files of at most ``limit`` bytes: part.000, part.001 and so on."""

    def __init__(self, folder: Path, limit: int) -> None:
        self.paths: list[Path] = []
        self._folder = folder
        self._limit = limit
        self._stream: BinaryIO | None = None
        self._room = 0

    def write(self, data: bytes) -> int:
        """Write ``data``, to further files where it does not fit."""
        rest = memoryview(data)
        while rest:
            if self._stream is None or not self._room:
                self._next()
            assert self._stream is not None
            piece, rest = rest[: self._room], rest[self._room :]
            self._stream.write(piece)
            self._room -= len(piece)
        return len(data)

    def _next(self) -> None:
        self.close()
        self.paths.append(self._folder / f"part.{len(self.paths):03d}")
        self._stream = self.paths[-1].open("wb")
        self._room = self._limit

    def close(self) -> None:
        """Close the last file."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None


def trim(site: Path, paths: Iterable[str]) -> None:
    """Remove ``paths`` from an installed environment, and what Python compiled while it was made."""
    for path in [*(site / path for path in paths), *site.rglob("__pycache__")]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def write_parts(site: Path, folder: Path, limit: int) -> list[Path]:
    """Compress ``site`` into parts of at most ``limit`` bytes, in an order and with times that do not vary."""
    splitter = Splitter(folder, limit)
    stream: Any = splitter
    with lzma.open(stream, "wb", preset=PRESET) as packed, tarfile.open(fileobj=packed, mode="w|") as archive:
        for path in sorted(site.rglob("*")):
            archive.add(path, arcname=str(path.relative_to(site)), recursive=False, filter=anonymous)
    splitter.close()
    return splitter.paths


def anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Take off whose file it is, and when it was made."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mtime = 315532800  # 1980-01-01, as in wheels
    return member


def write_pack(site: Path, folder: Path, limit: int, manifest: Manifest) -> list[Path]:
    """Write parts, their checksums, the manifest and the program that unpacks them; return the parts."""
    parts = write_parts(site, folder, limit)
    lines = []
    for part in parts:
        with part.open("rb") as stream:
            lines.append(f"{hashlib.file_digest(stream, 'sha256').hexdigest()}  {part.name}\n")
    (folder / CHECKSUMS).write_text("".join(lines))
    (folder / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
    shutil.copyfile(unpack.__file__, folder / PROGRAM)
    return parts


def read_manifest(folder: Path) -> Manifest:
    """Read what a pack holds.

    Raises:
        PackError: there is no pack in the folder, or none of this version.
    """
    path = folder / MANIFEST
    try:
        return msgspec.json.decode(path.read_bytes(), type=Manifest)
    except (OSError, msgspec.DecodeError, msgspec.ValidationError) as error:
        raise PackError(f"--overlay: {folder} is not a folder that 'raycompat pack' wrote: {error}") from error
