"""Gap files in, gaps out; whatever is wrong with a file is an error that names the file and the line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from pytest_raycompat.gaps.reading import decode, line_of, read_text
from pytest_raycompat.gaps.schema import Gap, GapFileError

BUILTIN_FOLDER = Path(__file__).parent / "data"
"""The gaps that this package records."""
PACKAGE_ROOT = BUILTIN_FOLDER.parents[2]
"""The folder from which our own files are named, as in an import: ``pytest_raycompat/gaps/data/…``."""


def builtin_gaps() -> tuple[Gap, ...]:
    """Load the gaps that this package records.

    Their keys and types are checked; the rules beyond them are not: `raycompat gaps lint` and our tests have done that,
    and every run would pay for it.

    Raises:
        GapFileError: a file of the package is damaged.
    """
    return tuple(read_gap(file, PACKAGE_ROOT) for file in _files_of(BUILTIN_FOLDER))


def known_gaps(overlay: Iterable[Path] = (), root: Path | None = None) -> tuple[Gap, ...]:
    """Load the gaps that this package records, and those of ``overlay`` over them.

    A gap of ``overlay`` with the id of one of ours stands in for it; its ``overrides`` names the file that it replaces.
    Files of ``overlay`` that are below ``root`` are named from there.

    Raises:
        GapFileError: as for :func:`load_gaps`.
    """
    gaps = {gap.id: gap for gap in builtin_gaps()}
    files = {gap.path.resolve() for gap in gaps.values()}
    own = load_gaps(overlay, root)
    for gap in own:
        if gap.path.resolve() in files:
            continue
        if gap.id in gaps:
            gap = msgspec.structs.replace(gap, overrides=gaps[gap.id].file)
        gaps[gap.id] = gap
    if own:
        raise_for_rivals(gaps)
    return tuple(gaps.values())


def load_gaps(paths: Iterable[Path], root: Path | None = None) -> tuple[Gap, ...]:
    """Load gap files, and the ``*.toml`` of folders in the order of their names; a file that comes twice counts once.

    Raises:
        GapFileError: a path is missing, a folder holds no gap file, a file is wrong, two files have one id, or two
            claim the same failure.
    """
    gaps: dict[str, Gap] = {}
    for file in gap_files(paths):
        gap = load_gap_file(file, root)
        if gap.id in gaps:
            other = gaps[gap.id]
            raise GapFileError(file, gap.line, f"id: {gap.id!r} is recorded in {other.place} too")
        gaps[gap.id] = gap
    raise_for_rivals(gaps)
    return tuple(gaps.values())


def load_gap_file(path: Path, root: Path | None = None) -> Gap:
    """Load one gap, whose file is named from ``root`` where it is below.

    Raises:
        GapFileError: the file cannot be read, is not TOML, or does not hold a gap.
    """
    from pytest_raycompat.gaps.rules import problems

    gap = read_gap(path, root)
    first = next(problems(gap, path.stem), None)
    if first is not None:
        where, problem = first
        raise GapFileError(path, line_of(read_text(path), where), f"{'.'.join(map(str, where))}: {problem}")
    return gap


def read_gap(path: Path, root: Path | None = None) -> Gap:
    """Read one gap, without the rules on what it says.

    Raises:
        GapFileError: the file cannot be read, is not TOML, or a key is missing, unknown or of another type.
    """
    text = read_text(path)
    keys = decode(path, text)
    values = {field: getattr(keys, field) for field in keys.__struct_fields__}
    line = 1 if text.startswith("id = ") else line_of(text, ("id",))  # it mostly is first, and looking takes a while
    return Gap(**values, path=path, line=line, root=root)


def gap_files(paths: Iterable[Path]) -> list[Path]:
    """List the gap files that ``paths`` name: each once, those of a folder in the order of their names.

    Raises:
        GapFileError: a path is missing, or a folder holds no gap file.
    """
    files: dict[Path, Path] = {}
    for path in paths:
        for file in _files_of(path):
            files.setdefault(file.resolve(), file)
    return list(files.values())


def raise_for_rivals(gaps: Mapping[str, Gap]) -> None:
    """Check that no two gaps claim the same failure.

    Raises:
        GapFileError: two do; names both.
    """
    from pytest_raycompat.gaps.rules import first_rival

    met: list[Gap] = []
    for gap in gaps.values():
        rival = first_rival(gap, met)
        if rival is not None:
            raise GapFileError(
                gap.path,
                gap.line,
                f"id: {gap.id!r} claims the same failure as {rival.id!r} ({rival.place}): "
                "give one of them another message, or conditions that exclude each other",
            )
        met.append(gap)


def _files_of(path: Path) -> list[Path]:
    if not path.exists():
        raise GapFileError(path, None, "there is no such file or folder")
    if not path.is_dir():
        return [path]
    files = sorted(path.glob("*.toml"))
    if not files:
        raise GapFileError(path, None, "the folder has no *.toml in it")
    return files
