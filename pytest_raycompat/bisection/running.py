"""Searches a history with a judge, and says each step."""

from __future__ import annotations

import math
from collections.abc import Callable

from pytest_raycompat.bisection.finding import Finding
from pytest_raycompat.bisection.history import History
from pytest_raycompat.bisection.judging import Judge, Judged
from pytest_raycompat.bisection.search import Search
from pytest_raycompat.environments.recipe import Package
from pytest_raycompat.markers import plural
from pytest_raycompat.report.terminal import shortened

MOST_CHARACTERS = 160


class BisectError(ValueError):
    """There is nothing to find between the two releases; says why."""


def bisect(
    package: Package, history: History, bad: str, judge: Judge, tell: Callable[[str], None], *, confirm: int = 2
) -> Finding:
    """Find where the history changes.

    Args:
        package: what is searched.
        history: its versions.
        bad: the end of it that is said to be bad.
        judge: tells good from bad.
        tell: told each step in a line.
        confirm: how many versions are judged besides, to see whether the history is monotonic.

    Raises:
        BisectError: an end cannot be judged, or is not what it was said to be.
    """
    versions = history.versions
    search = Search(len(versions), confirm)
    found: dict[int, Judged] = {}
    while (place := search.next()) is not None:
        judged = judge.judge(versions[place])
        found[place] = judged
        search.add(place, judged.label)
        left = search.left
        todo = f"; {left} left, about {plural(math.ceil(math.log2(left + 1)), 'step')}" if left else ""
        tell(f"{versions[place]}: {judged.judgement} ({shortened(judged.why, MOST_CHARACTERS)}){todo}")
        if place in (0, len(versions) - 1):
            check_end(versions[place], judged, "bad" if versions[place] == bad else "good")
    return Finding(package, versions, found)


def check_end(version: str, judged: Judged, expected: str) -> None:
    """Refuse to search where an end is not what it was said to be."""
    if judged.judgement == "skip":
        raise BisectError(f"--{expected}: {version} cannot be judged: {judged.why}; name another release")
    if judged.judgement != expected:
        raise BisectError(
            f"--{expected}: {version} is {judged.judgement}: {judged.why}; nothing is known to change up to it"
        )
