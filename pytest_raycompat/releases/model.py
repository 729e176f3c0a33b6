"""What an index says of a package: frozen data."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import msgspec
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import InvalidVersion, Version

if TYPE_CHECKING:
    from pytest_raycompat.releases.target import Target


class ReleaseError(ValueError):
    """A release, or the index, cannot be used; says why, and what would be right."""


class File(msgspec.Struct, frozen=True):
    """One file of a release, as the index lists it."""

    name: str
    url: str
    sha256: str | None = None
    size: int | None = None
    """In bytes."""
    requires_python: str | None = None
    uploaded: datetime.datetime | None = None
    """With its time zone. An index without JSON does not say it."""
    yanked: str | None = None
    """The reason, which may be empty; None where the file is not yanked."""

    @property
    def is_wheel(self) -> bool:
        """Whether it is a wheel, and not a source distribution."""
        return self.name.endswith(".whl")


class Release(msgspec.Struct, frozen=True):
    """One version of a package and its files."""

    package: str
    version: str
    files: tuple[File, ...]

    @property
    def parsed(self) -> Version:
        """The version, to sort and compare by."""
        return Version(self.version)

    @property
    def uploaded(self) -> datetime.datetime | None:
        """When its first file came; None where the index does not say."""
        return min((file.uploaded for file in self.files if file.uploaded is not None), default=None)

    @property
    def yanked(self) -> str | None:
        """Why all of it was withdrawn, which may be the empty text; None where a file is left."""
        reasons = [file.yanked for file in self.files if file.yanked is not None]
        return reasons[0] if reasons and len(reasons) == len(self.files) else None

    @property
    def requires_python(self) -> str | None:
        """The Pythons that it says it is for; None where it names none."""
        return next((file.requires_python for file in self.files if file.requires_python is not None), None)

    @property
    def sdist(self) -> File | None:
        """Its source distribution, where there is one."""
        return next((file for file in self.files if not file.is_wheel), None)

    def wheel(self, target: Target) -> File | None:
        """Choose the wheel that an installer would take there; None where none fits."""
        return target.choose(self.files)


def group(package: str, files: Iterable[File]) -> tuple[Release, ...]:
    """Sort the files of a package into releases, oldest version first; what is neither wheel nor source is left out."""
    found: dict[Version, dict[str, File]] = {}
    for version, file in _versions(package, files):
        found.setdefault(version, {}).setdefault(file.name, file)  # the first index that has a file wins
    return tuple(Release(package, str(version), tuple(found[version].values())) for version in sorted(found))


def _versions(package: str, files: Iterable[File]) -> Iterator[tuple[Version, File]]:
    for file in files:
        try:
            if file.is_wheel:
                name, version = parse_wheel_filename(file.name)[:2]
            else:
                name, version = parse_sdist_filename(file.name)
        except (InvalidWheelFilename, InvalidSdistFilename, InvalidVersion):
            continue  # installers of long ago, such as .exe and .egg
        if name == canonicalize_name(package):
            yield version, file
