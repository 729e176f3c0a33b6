"""Every problem of gap files, not only the first: what keeps a file from being loaded, and what is merely due."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pytest_raycompat.gaps.loading import BUILTIN_FOLDER, gap_files, load_gap_file
from pytest_raycompat.gaps.reading import decode, line_of, read_text
from pytest_raycompat.gaps.rules import first_rival, problems
from pytest_raycompat.gaps.schema import Gap, GapFileError


@dataclass(frozen=True)
class Finding:
    """One problem of a file."""

    problem: GapFileError
    fatal: bool = True
    """Whether the file cannot be loaded."""


def lint(paths: Iterable[Path], today: datetime.date) -> list[Finding]:
    """Find what is wrong with gap files.

    Args:
        paths: files, and folders with ``*.toml``; each is looked at by itself, and all together and with those that
            this package records, as they would be loaded.
        today: the day that reviews are compared with.

    Raises:
        GapFileError: a path is missing, or a folder holds no gap file.
    """
    findings: list[Finding] = []
    sound: dict[str, Gap] = {}
    for file in gap_files(paths):
        found = lint_file(file, today)
        findings += found
        if any(finding.fatal for finding in found):
            continue
        gap = load_gap_file(file)
        if gap.id in sound:
            problem = f"id: {gap.id!r} is recorded in {sound[gap.id].place} too"
            findings.append(Finding(GapFileError(file, gap.line, problem)))
            continue
        rival = first_rival(gap, [*sound.values(), *_others(file, {*sound, gap.id})])
        if rival is not None:
            problem = f"id: {gap.id!r} claims the same failure as {rival.id!r} ({rival.place})"
            findings.append(Finding(GapFileError(file, gap.line, problem)))
        sound[gap.id] = gap
    return findings


def lint_file(path: Path, today: datetime.date) -> list[Finding]:
    """Find what is wrong with one file by itself."""
    try:
        text = read_text(path)
        keys = decode(path, text)
    except GapFileError as error:
        return [Finding(error)]
    findings = [
        Finding(GapFileError(path, line_of(text, where), f"{'.'.join(map(str, where))}: {problem}"))
        for where, problem in problems(keys, path.stem)
    ]
    if keys.review is not None and keys.review <= today:
        problem = f"review: its day, {keys.review}, has come: see whether the gap still holds, and give it another day"
        findings.append(Finding(GapFileError(path, line_of(text, ("review",)), problem), fatal=False))
    return findings


def _others(file: Path, ids: set[str]) -> list[Gap]:
    """Load our own gaps, unless they are what is being looked at; one that is stood in for does not count."""
    if file.resolve().parent == BUILTIN_FOLDER.resolve():
        return []
    return [load_gap_file(other) for other in sorted(BUILTIN_FOLDER.glob("*.toml")) if other.stem not in ids]
