"""Which version to judge next, and where the history changes: pure, by the places of versions in their order."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

SKIP: Final = "skip"
"""The label of a version that cannot be judged, as with ``git bisect skip``. Every other label is what was found; where
those of two versions differ, the history has changed between them."""


@dataclass(frozen=True)
class Change:
    """A place where the history changes.

    ``older`` and ``newer`` are the nearest versions that were judged, ``unjudged`` those between that could not be.
    """

    older: int
    newer: int
    unjudged: tuple[int, ...] = ()


class Search:
    """A search over ``count`` versions, oldest first, of which the first and the last are to differ.

    Each change that shows is narrowed down until nothing that can be judged lies within it. Then ``confirm`` further
    versions are judged, each in the middle of the longest stretch that nobody has looked into: where one of them is not
    as its neighbours are, the history is not monotonic, and the search goes on from there.
    """

    def __init__(self, count: int, confirm: int = 0) -> None:
        self.count = count
        self.judged: dict[int, str] = {}
        self._confirm = confirm

    def add(self, place: int, label: str) -> None:
        """Take note of what was found of a version."""
        self.judged[place] = label

    def next(self) -> int | None:
        """Return which version to judge now; None where the search is over."""
        for end in (0, self.count - 1):
            if end not in self.judged:
                return end
        if self.hopeless:
            return None
        for change in changes(self.judged, complete=False):
            place = nearest_to_middle(change.older, change.newer, self.judged)
            if place is not None:
                return place
        return self._to_confirm()

    @property
    def hopeless(self) -> bool:
        """Whether the first and the last version do not differ, or one of them cannot be judged."""
        first, last = self.judged.get(0), self.judged.get(self.count - 1)
        return None not in (first, last) and (first == last or SKIP in (first, last))

    @property
    def left(self) -> int:
        """How many versions may still hold the change."""
        found = changes(self.judged, complete=False)
        return sum(change.newer - change.older - 1 - len(change.unjudged) for change in found)

    def _to_confirm(self) -> int | None:
        if self._confirm < 1:
            return None
        known = places(self.judged)
        stretches = [
            (sum(place not in self.judged for place in range(older + 1, newer)), older, newer)
            for older, newer in itertools.pairwise(known)
            if self.judged[older] == self.judged[newer]
        ]
        untouched, older, newer = max(stretches, default=(0, 0, 0), key=lambda one: one[0])
        if not untouched:
            return None
        self._confirm -= 1
        return nearest_to_middle(older, newer, self.judged)


def places(judged: Mapping[int, str]) -> list[int]:
    """List what could be judged, oldest first."""
    return sorted(place for place, label in judged.items() if label != SKIP)


def changes(judged: Mapping[int, str], *, complete: bool = True) -> list[Change]:
    """List where the history changes, oldest first.

    Args:
        judged: what is known so far.
        complete: whether the search is over, so that everything within a change counts as unjudged.
    """
    known = places(judged)
    return [
        Change(
            older,
            newer,
            tuple(place for place in range(older + 1, newer) if complete or place in judged),
        )
        for older, newer in itertools.pairwise(known)
        if judged[older] != judged[newer]
    ]


def nearest_to_middle(older: int, newer: int, judged: Mapping[int, str]) -> int | None:
    """Return what lies nearest to the middle between two places and was not judged; None where all of it was."""
    middle = (older + newer) / 2
    candidates = [place for place in range(older + 1, newer) if place not in judged]
    return min(candidates, key=lambda place: (abs(place - middle), place), default=None)


def stretches(judged: Mapping[int, str]) -> list[tuple[str, int, int]]:
    """List the stretches of one label, oldest first, by their first and last places that were judged."""
    found: list[tuple[str, int, int]] = []
    for place in places(judged):
        if found and found[-1][0] == judged[place]:
            found[-1] = (judged[place], found[-1][1], place)
        else:
            found.append((judged[place], place, place))
    return found
