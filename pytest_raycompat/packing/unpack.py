"""Puts the parts of a pack together, on the host that they were made for. Nothing but Python is needed.

usage: python3 unpack.py FOLDER

FOLDER must not exist yet. Put it on PYTHONPATH afterwards; a second Ray goes before the first.
"""

import hashlib
import importlib
import importlib.metadata
import json
import lzma
import os
import shutil
import sys
import tarfile
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

PARTS = Path(__file__).resolve().parent
CHUNK = 2**20
CORES = min(len(os.sched_getaffinity(0)), 16)  # each takes about 30 MB, and many cores may have little memory

SELDOM_IMPORTED = ("docs", "examples", "test", "tests")
"""Folders that many distributions install, by mistake."""


def main(words: list[str]) -> int:
    """Check the parts, unpack them, and say what the host lacks."""
    if len(words) != 1 or words[0].startswith("-"):
        print(__doc__, file=sys.stderr)
        return 2
    target = Path(words[0])
    manifest = json.loads((PARTS / "pack.json").read_text())
    problems = list(find_problems(target, manifest))
    if problems:
        print("\n".join(problems), file=sys.stderr)
        return 1
    draft = target.with_name(f"{target.name}.{os.getpid()}.partial")
    try:
        unpack(draft, manifest["streams"])
        os.rename(draft, target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    for text in complaints(target, manifest):
        print(text, file=sys.stderr)
    print(f"{len(manifest['packed'])} distributions are in {target}")
    return 0


def find_problems(target: Path, manifest: dict[str, Any]) -> Iterator[str]:
    """Look at the folder, the Python and the parts before anything is written."""
    if target.exists():
        yield f"{target} exists: name a folder that does not"
    here = "{}.{}".format(*sys.version_info)
    if here != manifest["python_version"]:
        yield f"the pack is for Python {manifest['python_version']}, and this is {here}: run another python3"
    if not hasattr(tarfile, "data_filter"):
        version = sys.version.split()[0]
        yield f"this Python {version} cannot unpack without trusting the pack: run 3.10.12, 3.11.4 or newer"
    there = []
    for expected, name in checksums():
        if (PARTS / name).is_file():
            there.append((expected, name))
        else:
            yield f"{name} is missing: copy it to {PARTS}"
    with ThreadPoolExecutor(CORES) as pool:
        found = pool.map(checksum, [PARTS / name for _, name in there])
        for (expected, name), read in zip(there, found, strict=True):
            if read != expected:
                yield f"{name} is damaged: copy it again"


def checksums() -> list[tuple[str, str]]:
    """Read the checksum and name of each part."""
    lines = (PARTS / "SHA256SUMS").read_text().splitlines()
    return [(line.split()[0], line.split()[1]) for line in lines]


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):  # hashlib.file_digest is new in Python 3.11
            digest.update(chunk)
    return digest.hexdigest()


class Joined:
    """The parts as one stream."""

    def __init__(self, paths: list[Path]) -> None:
        self._left = list(paths)
        self._stream: BinaryIO | None = None

    def read(self, size: int = CHUNK) -> bytes:
        """Return up to ``size`` bytes, none at the end of the last part."""
        while True:
            if self._stream is None:
                if not self._left:
                    return b""
                self._stream = self._left.pop(0).open("rb")
            found = self._stream.read(size)
            if found:
                return found
            self._stream.close()
            self._stream = None


class Decompressed:
    """The streams of xz in the parts as one stream, decompressed ahead on all cores: Python's lzma lets them run."""

    def __init__(self, joined: Joined, sizes: list[int], pool: ThreadPoolExecutor) -> None:
        self._joined = joined
        self._sizes = deque(sizes)
        self._pool = pool
        self._under_way: deque[Future[bytes]] = deque()
        self._current = memoryview(b"")

    def read(self, size: int) -> bytes:
        """Return ``size`` bytes, fewer at the end."""
        pieces = []
        while size and (self._current or self._next()):
            piece, self._current = self._current[:size], self._current[size:]
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    def _next(self) -> bool:
        while self._sizes and len(self._under_way) <= CORES:
            self._under_way.append(self._pool.submit(lzma.decompress, self._take(self._sizes.popleft())))
        if not self._under_way:
            return False
        self._current = memoryview(self._under_way.popleft().result())
        return True

    def _take(self, size: int) -> bytes:
        pieces = []
        while size and (piece := self._joined.read(size)):
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)


def unpack(folder: Path, streams: list[int]) -> None:
    """Unpack all parts into ``folder``."""
    joined = Joined([PARTS / name for _, name in checksums()])
    with ThreadPoolExecutor(CORES) as pool:
        stream: Any = Decompressed(joined, streams, pool)
        with tarfile.open(fileobj=stream, mode="r|", bufsize=CHUNK) as archive:
            archive.extractall(folder, filter="data")


def complaints(target: Path, manifest: dict[str, Any]) -> Iterator[str]:
    """Say what this host lacks, has in another version than is needed, or has where Python will not find it."""
    specifier_set = find_specifier_set()
    for name, version in manifest["expected"].items():
        there = installed(name)
        if there is None:
            yield f"this host lacks {name} {version or ''}".rstrip()
            continue
        for specifier, who in manifest["needed"].get(name, {}).items():
            if specifier_set is not None and not specifier_set(specifier).contains(there.version, prereleases=True):
                yield f"this host has {name} {there.version}, and {who} needs {specifier}: pack {name} too"
        yield from hidden(target, name, there)


def installed(name: str) -> importlib.metadata.Distribution | None:
    """Find a distribution of this Python."""
    try:
        return importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def find_specifier_set() -> Any:
    """Return the class of packaging that knows versions, from pip where there is no other; None without either."""
    for module in ("packaging.specifiers", "pip._vendor.packaging.specifiers"):
        try:
            return importlib.import_module(module).SpecifierSet
        except ImportError:
            continue
    return None


def hidden(target: Path, name: str, there: importlib.metadata.Distribution) -> Iterator[str]:
    """Say which package of a distribution, or of the pack, Python does not look into.

    The pack comes first. A folder with an ``__init__.py`` is all that there is of a package, wherever others of its
    name are; folders without one are put together.
    """
    packages: dict[str, list[str]] = {}
    for file in there.files or ():
        if len(file.parts) > 1 and file.suffix in (".py", ".so"):
            packages.setdefault(file.parts[0], []).append(str(file))
    for top, files in sorted(packages.items()):
        if top in SELDOM_IMPORTED or not (target / top).is_dir():
            continue
        whole = f"{top}/__init__.py"
        if (target / whole).is_file():
            lacking = next((file for file in files if not (target / file).exists()), None)
            if lacking is not None:
                yield f"{top} of the pack hides {lacking} of {name}, which this host has: pack {name} too"
        elif whole in files:
            yield f"{name} of this host hides {top} of the pack: pack {name} too"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
