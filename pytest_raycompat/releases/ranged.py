"""A wheel on an index, read by ranges: its directory first, then only the files that are asked for."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple, Protocol

from pytest_raycompat.releases.model import ReleaseError

TAIL_BYTES = 1 << 20
"""Read first: the directory of Ray 2.60.0 has 0.9 MB, that of vLLM 0.32.0 0.7 MB."""
GAP_BYTES = 1 << 17
"""Files that lie closer together than this are read at once."""
REQUEST_BYTES = 1 << 22
REQUESTS_AT_ONCE = 4

_END = struct.Struct("<4s4H2LH")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")


class Entry(NamedTuple):
    """Where a file lies in the wheel."""

    start: int
    end: int
    """Where the next file begins."""
    method: int
    checksum: int
    compressed: int


class Ranges(Protocol):
    """Reads parts of one file on a server."""

    def last(self, count: int) -> tuple[bytes, int]:
        """Return the last ``count`` bytes, and the size of the whole."""

    def between(self, start: int, end: int) -> bytes:
        """Return the bytes from ``start`` up to ``end``."""


class RemoteWheel:
    """A wheel whose server answers ranges."""

    def __init__(self, ranges: Ranges, name: str) -> None:
        self._ranges = ranges
        self._name = name

    def names(self) -> tuple[str, ...]:
        """List all files."""
        return tuple(self._entries)

    def read(self, names: Iterable[str]) -> Mapping[str, bytes]:
        """Read some of them."""
        wanted = sorted(((name, self._entries[name]) for name in names), key=lambda one: one[1].start)
        groups: list[list[tuple[str, Entry]]] = []
        for one in wanted:
            near = groups and one[1].start - groups[-1][-1][1].end <= GAP_BYTES
            if near and one[1].end - groups[-1][0][1].start <= REQUEST_BYTES:
                groups[-1].append(one)
            else:
                groups.append([one])
        found: dict[str, bytes] = {}
        with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
            for part in pool.map(self._read_together, groups):
                found |= part
        return found

    def _read_together(self, group: list[tuple[str, Entry]]) -> dict[str, bytes]:
        start, end = group[0][1].start, group[-1][1].end
        content = self._ranges.between(start, end)
        if len(content) != end - start:
            raise ReleaseError(f"{self._name}: the server sent {len(content)} bytes of {end - start}")
        return {
            name: self._unpacked(name, entry, content[entry.start - start : entry.end - start]) for name, entry in group
        }

    def _unpacked(self, name: str, entry: Entry, content: bytes) -> bytes:
        try:
            *_, name_length, extra_length = _LOCAL.unpack_from(content)
            offset = _LOCAL.size + name_length + extra_length
            packed = content[offset : offset + entry.compressed]
            if entry.method == 0:
                plain = packed
            elif entry.method == 8:
                plain = zlib.decompress(packed, -zlib.MAX_WBITS)
            else:
                raise ReleaseError(f"{self._name}: {name} is packed in a way (method {entry.method}) that is not known")
        except (struct.error, zlib.error) as error:
            raise ReleaseError(f"{self._name}: damaged at {name}: {error}") from error
        if zlib.crc32(plain) != entry.checksum:
            raise ReleaseError(f"{self._name}: damaged at {name}: its checksum is wrong")
        return plain

    @cached_property
    def _entries(self) -> dict[str, Entry]:
        tail, size = self._ranges.last(TAIL_BYTES)
        start, length = self._directory_place(tail, size)
        if start >= size - len(tail):
            directory = tail[start - (size - len(tail)) :][:length]
        else:
            directory = self._ranges.between(start, start + length)
        try:
            return _parsed(directory, start)
        except (struct.error, UnicodeDecodeError) as error:
            raise ReleaseError(f"{self._name}: its directory is damaged: {error}") from error

    def _directory_place(self, tail: bytes, size: int) -> tuple[int, int]:
        place = tail.rfind(b"PK\x05\x06")
        if place < 0 or len(tail) < place + _END.size:
            raise ReleaseError(f"{self._name}: not a wheel: it does not end as a zip archive does")
        _, _, _, _, _, length, start, _ = _END.unpack_from(tail, place)
        place_64 = tail.rfind(b"PK\x06\x06", 0, place)
        if 0xFFFFFFFF in (start, length) and place_64 >= 0:
            *_, length, start = _END_64.unpack_from(tail, place_64)
        if start + length > size:
            raise ReleaseError(f"{self._name}: its directory lies beyond its end")
        return start, length


def _parsed(directory: bytes, directory_start: int) -> dict[str, Entry]:
    """Read the directory of a zip archive; see section 4.3.12 of its specification (APPNOTE.TXT)."""
    raw = []
    place = 0
    while directory[place : place + 4] == b"PK\x01\x02":
        _, _, _, _, method, _, _, checksum, compressed, plain, *lengths, _, _, _, start = _ENTRY.unpack_from(
            directory, place
        )
        name_length, extra_length, comment_length = lengths
        place += _ENTRY.size
        name = directory[place : place + name_length].decode()
        extra = directory[place + name_length : place + name_length + extra_length]
        compressed, start = _with_64_bits(extra, plain, compressed, start)
        place += name_length + extra_length + comment_length
        raw.append((start, name, method, checksum, compressed))
    raw.sort()
    ends = [after[0] for _, after in pairwise(raw)] + [directory_start]
    return {
        name: Entry(start, end, method, checksum, compressed)
        for (start, name, method, checksum, compressed), end in zip(raw, ends, strict=True)
    }


def _with_64_bits(extra: bytes, plain: int, compressed: int, start: int) -> tuple[int, int]:
    """Take the numbers that do not fit into 32 bits from where they stand instead."""
    place = 0
    while place + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, place)
        if kind == 1:
            numbers = iter(struct.unpack_from(f"<{length // 8}Q", extra, place + 4))
            if plain == 0xFFFFFFFF:
                next(numbers)
            compressed = next(numbers) if compressed == 0xFFFFFFFF else compressed
            start = next(numbers) if start == 0xFFFFFFFF else start
        place += 4 + length
    return compressed, start
