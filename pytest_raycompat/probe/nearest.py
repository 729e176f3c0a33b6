"""The closest releases without obstacles, up and down."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import msgspec
from packaging.version import Version

from pytest_raycompat.probe.findings import FlowResult
from pytest_raycompat.probe.programs import Program
from pytest_raycompat.releases import Release

STEPS = 60
"""How many releases are looked at in each direction."""


class Nearest(msgspec.Struct, frozen=True):
    """For a flow, the closest release without an obstacle in each direction; None where none was found."""

    flow: str
    package: str
    newer: str | None
    older: str | None


def nearest(
    package: str,
    version: str,
    releases: Sequence[Release],
    programs: Sequence[Program],
    probed: Callable[[Release, Sequence[Program]], Sequence[FlowResult]],
) -> list[Nearest]:
    """Look for the closest releases that do without obstacles.

    Args:
        package: ``ray`` or ``vllm``: which of the two is changed.
        version: the one that it is.
        releases: those that it may be, oldest first.
        programs: the flows to find one for.
        probed: probes these flows on a release.
    """
    here = Version(version)
    newer = _first([one for one in releases if one.parsed > here], programs, probed)
    older = _first([one for one in reversed(releases) if one.parsed < here], programs, probed)
    return [Nearest(one.name, package, newer.get(one.name), older.get(one.name)) for one in programs]


def _first(
    releases: Sequence[Release],
    programs: Sequence[Program],
    probed: Callable[[Release, Sequence[Program]], Sequence[FlowResult]],
) -> dict[str, str]:
    """Go through releases in order, until every flow has one without an obstacle."""
    found: dict[str, str] = {}
    for release in releases[:STEPS]:
        left = [one for one in programs if one.name not in found]
        if not left:
            break
        found.update(dict.fromkeys(_without(probed(release, left)), release.version))
    return found


def _without(flows: Sequence[FlowResult]) -> Iterator[str]:
    yield from (flow.flow for flow in flows if flow.status in ("no obstacle found", "guarded"))
