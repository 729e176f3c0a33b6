"""The releases between two, in their order, without those that there is no use in trying."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_raycompat.environments.dating import Releases
from pytest_raycompat.releases.model import Release, ReleaseError
from pytest_raycompat.releases.target import Target


@dataclass(frozen=True)
class History:
    """The versions to search, oldest first, and those between that are left out, with the reason."""

    versions: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...] = ()


def read_history(index: Releases, package: str, ends: tuple[str, str], target: Target) -> History:
    """Read the releases between two, with them.

    Args:
        index: the package index.
        package: a distribution.
        ends: the two, in any order.
        target: the Python and machine that they are for.

    Raises:
        ReleaseError: one of the two does not exist or has no wheel for this Python, or they are the same.
    """
    first, last = sorted((index.release(package, end) for end in ends), key=lambda release: release.parsed)
    if first.parsed == last.parsed:
        raise ReleaseError(f"--good and --bad are both {first.version}: name two releases")
    for end in (first, last):
        if end.wheel(target) is None:
            raise ReleaseError(f"{package} {end.version} has no wheel for {target}: name another release")
    kept, left_out = [], []
    for release in index.releases(package):
        if not first.parsed <= release.parsed <= last.parsed:
            continue
        reason = None if release.parsed in (first.parsed, last.parsed) else why_not(release, target)
        if reason is None:
            kept.append(release.version)
        else:
            left_out.append((release.version, reason))
    return History(tuple(kept), tuple(left_out))


def why_not(release: Release, target: Target) -> str | None:
    """Say why a release is not tried; None where it is."""
    if release.parsed.is_prerelease:
        return "not a final release"
    if release.yanked is not None:
        return "yanked"
    if release.wheel(target) is None:
        return f"no wheel for {target}"
    return None


def newest(releases: Sequence[Release], package: str, target: Target) -> str:
    """Name the newest release that there is a use in trying.

    Raises:
        ReleaseError: there is none.
    """
    for release in reversed(releases):
        if why_not(release, target) is None:
            return release.version
    raise ReleaseError(f"no release of {package} has a wheel for {target}")
