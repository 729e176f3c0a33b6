"""Parts: a folder of installed distributions, compressed and cut into files that can be copied one by one."""

from __future__ import annotations

import hashlib
import lzma
import shutil
import tarfile
from collections import deque
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from pytest_raycompat.files import UNREADABLE
from pytest_raycompat.packing import unpack
from pytest_raycompat.packing.distributions import Installed, parse_pin

MANIFEST = "pack.json"
CHECKSUMS = "SHA256SUMS"
PROGRAM = "unpack.py"
PRESET = 1
"""Of xz: 6 takes five times as long, and saves a tenth."""
STREAM_BYTES = 16 * 2**20
"""What goes into one stream of xz: each is packed and unpacked by a core of its own."""


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
    needed: Mapping[str, Mapping[str, str]] = {}
    """Which versions of those distributions are needed, as specifiers, each with a packed distribution that says so."""
    streams: tuple[int, ...] = ()
    """The bytes of each stream of xz, one after another in the parts."""

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


class Compressor:
    """Compresses what is written to it on all cores, as streams of xz, one after another: together one file of xz.

    Args:
        output: gets them.
    """

    def __init__(self, output: Splitter) -> None:
        self.sizes: list[int] = []
        self._output = output
        self._pool = ThreadPoolExecutor(unpack.CORES)  # Python's lzma lets other threads run meanwhile
        self._under_way: deque[Future[bytes]] = deque()
        self._buffered = bytearray()

    def write(self, data: bytes) -> int:
        """Take ``data``."""
        self._buffered += data
        while len(self._buffered) >= STREAM_BYTES:
            self._begin(bytes(self._buffered[:STREAM_BYTES]))
            del self._buffered[:STREAM_BYTES]
        return len(data)

    def _begin(self, chunk: bytes) -> None:
        if len(self._under_way) > unpack.CORES:
            self._take()
        self._under_way.append(self._pool.submit(lzma.compress, chunk, preset=PRESET))

    def _take(self) -> None:
        stream = self._under_way.popleft().result()
        self.sizes.append(len(stream))
        self._output.write(stream)

    def close(self) -> None:
        """Write what is left."""
        if self._buffered:
            self._begin(bytes(self._buffered))
            self._buffered.clear()
        while self._under_way:
            self._take()
        self._pool.shutdown()


def trim(site: Path, paths: Iterable[str]) -> None:
    """Remove ``paths`` from an installed environment, and what Python compiled while it was made."""
    for path in [*(site / path for path in paths), *site.rglob("__pycache__")]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def write_parts(site: Path, folder: Path, limit: int) -> tuple[list[Path], tuple[int, ...]]:
    """Compress ``site`` into parts of at most ``limit`` bytes, in an order and with times that do not vary.

    Returns:
        The parts, and the bytes of each stream of xz in them.
    """
    splitter = Splitter(folder, limit)
    compressor = Compressor(splitter)
    stream: Any = compressor
    with tarfile.open(fileobj=stream, mode="w|", bufsize=2**20) as archive:
        for path in sorted(site.rglob("*")):
            archive.add(path, arcname=str(path.relative_to(site)), recursive=False, filter=anonymous)
    compressor.close()
    splitter.close()
    return splitter.paths, tuple(compressor.sizes)


def anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Take off whose file it is, and when it was made."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mtime = 315532800  # 1980-01-01, as in wheels
    return member


def write_pack(site: Path, folder: Path, limit: int, manifest: Manifest) -> list[Path]:
    """Write parts, their checksums, the manifest and the program that unpacks them; return the parts."""
    parts, streams = write_parts(site, folder, limit)
    manifest = msgspec.structs.replace(manifest, streams=streams)
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
    except (OSError, *UNREADABLE) as error:
        raise PackError(f"--overlay: {folder} is not a folder that 'raycompat pack' wrote: {error}") from error
