"""When the releases of a pair came, and so as of which day the rest of its environment is resolved."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from packaging.version import Version

from pytest_raycompat.environments import recipe
from pytest_raycompat.environments.candidates import Candidate

if TYPE_CHECKING:
    from pytest_raycompat.releases import Release


class Releases(Protocol):
    """What is asked of a package index; :class:`pytest_raycompat.releases.index.Index` is one."""

    def releases(self, package: str) -> tuple[Release, ...]:
        """List the releases of a package, oldest version first.

        Raises:
            ReleaseError: they cannot be had.
        """
        ...

    def release(self, package: str, version: str) -> Release:
        """Find one release.

        Raises:
            ReleaseError: there is none such, or it cannot be looked up.
        """
        ...


@dataclass(frozen=True)
class Dated:
    """What the index says of a pair."""

    exclude_newer: str | None = None
    """The day as of which the other distributions are taken; None for today."""
    missing: str = ""
    """Why the index has no such pair; empty where it has."""
    notes: tuple[str, ...] = ()
    """What a reader should know of it."""


class Calendar:
    """Looks up when releases came.

    Args:
        index: the package index; None where it cannot be asked, and then everything is taken as of today.
        device: ``cpu`` or ``cuda``.
        today: the day after which there is nothing to leave out.
    """

    def __init__(self, index: Releases | None, device: str, today: datetime.date | None = None) -> None:
        self._index = index
        self._device = device
        self._today = today or datetime.datetime.now(datetime.UTC).date()

    def look_up(self, *candidates: Candidate) -> Dated:
        """Date a pair: some days after the later of its two releases."""
        days: list[datetime.date] = []
        notes: list[str] = []
        for candidate in candidates:
            if self._index is None or candidate.version is None:
                continue
            found = self._find(self._index, candidate)
            if isinstance(found, str):
                if candidate.released and found:
                    return Dated(missing=found)
                continue
            if found.uploaded is not None:
                days.append(found.uploaded.date())
            if candidate.released and found.yanked is not None:
                notes.append(f"{candidate} was yanked{f': {found.yanked}' if found.yanked else ''}")
        return Dated(self._limit(days), notes=tuple(notes))

    def _find(self, index: Releases, candidate: Candidate) -> Release | str:
        """Find a release, or that which a file of one's own was made from; a text says why the index has none."""
        from pytest_raycompat.releases.model import ReleaseError
        from pytest_raycompat.releases.transport import Unreachable

        assert candidate.version is not None
        version = candidate.version if candidate.released else Version(candidate.version).public
        try:
            return index.release(recipe.distribution(candidate.package, self._device), version)
        except Unreachable:
            return ""
        except ReleaseError as error:
            return str(error)

    def _limit(self, days: list[datetime.date]) -> str | None:
        if not days:
            return None
        limit = max(days) + datetime.timedelta(days=int(recipe.facts()["dating"]["days"]))
        return limit.isoformat() if limit < self._today else None
