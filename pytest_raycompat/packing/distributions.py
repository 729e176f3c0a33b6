"""Which distributions go into a pack: what is resolved, less what the host has and what is left out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

Installed = Mapping[str, str | None]
"""Normalised names of distributions and their versions. None: only the name is known, and the version is trusted."""

WHEEL = re.compile(r"(?P<path>[^\[\]@]+\.whl)(?P<extras>\[[^\]]*\])?")


class DistributionError(ValueError):
    """A line or a word does not name a distribution; says what would be right."""


@dataclass(frozen=True)
class Pin:
    """One distribution of a resolved environment.

    ``requirement`` is what the resolver wrote of it; ``version`` is None where that is a wheel or another direct
    reference.
    """

    name: str
    requirement: str
    version: str | None

    def __str__(self) -> str:
        return f"{self.name} {self.version}" if self.version else self.requirement

    def is_met_by(self, installed: Installed) -> bool:
        """Tell whether the distribution is there, in this version or, where only its name is known, in any."""
        if self.name not in installed:
            return False
        version = installed[self.name]
        return version is None or (self.version is not None and same_release(version, self.version))


def same_release(one: str, other: str) -> bool:
    """Compare versions without their local part: ``2.11.0+cu130`` is a build of 2.11.0."""
    return Version(one).public == Version(other).public


@dataclass(frozen=True)
class Selection:
    """A resolved environment, divided."""

    packed: tuple[Pin, ...]
    installed: tuple[Pin, ...]
    left_out: tuple[Pin, ...]


def select(pins: Iterable[Pin], installed: Installed, left_out: Mapping[str, str]) -> Selection:
    """Divide ``pins`` into what is packed, what is installed already, and what is left out."""
    packed: list[Pin] = []
    there: list[Pin] = []
    dropped: list[Pin] = []
    for pin in pins:
        kind = dropped if pin.name in left_out else there if pin.is_met_by(installed) else packed
        kind.append(pin)
    return Selection(tuple(packed), tuple(there), tuple(dropped))


def read_installed(path: Path) -> Installed:
    """Read what ``pip list --format=freeze`` printed on the host. A line may be a name alone.

    Raises:
        DistributionError: the file cannot be read, or a line is something else.
    """
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DistributionError(f"--have: {path} cannot be read: {error}") from error
    installed: dict[str, str | None] = {}
    for number, line in enumerate(lines, start=1):
        text = line.partition("#")[0].strip()
        if text:
            pin = parse_pin(text, f"{path}:{number}")
            installed[pin.name] = pin.version
    return installed


def parse_pin(text: str, where: str) -> Pin:
    """Read ``NAME==VERSION``, ``NAME @ URL`` or ``NAME``.

    Raises:
        DistributionError: it is something else; says ``where``.
    """
    try:
        requirement = Requirement(text)
        specifiers = list(requirement.specifier)
        version = str(Version(specifiers[0].version)) if specifiers else None
    except ValueError as error:  # InvalidRequirement and InvalidVersion
        raise DistributionError(f"{where}: {wrong_pin(text)}") from error
    if len(specifiers) > 1 or any(one.operator not in ("==", "===") for one in specifiers):
        raise DistributionError(f"{where}: {wrong_pin(text)}")
    return Pin(canonicalize_name(requirement.name), text, version)


def wrong_pin(text: str) -> str:
    """Say what is expected instead of ``text``."""
    return f"{text!r} is not NAME==VERSION, as 'pip list --format=freeze' prints it, or a NAME"


def read_requirement(word: str) -> str:
    """Check a requirement of the command line; the path of a wheel, maybe with extras, becomes ``NAME[EXTRAS] @ URL``.

    Raises:
        DistributionError: it is neither a requirement nor a wheel that is there.
    """
    wheel = WHEEL.fullmatch(word)
    if wheel:
        path = Path(wheel["path"])
        if not path.is_file():
            raise DistributionError(f"there is no wheel {path}")
        name = path.name.partition("-")[0].replace("_", "-")
        return f"{name}{wheel['extras'] or ''} @ {path.resolve().as_uri()}"
    try:
        Requirement(word)
    except InvalidRequirement as error:
        reason = str(error).splitlines()[0]
        raise DistributionError(
            f"{word!r} is not a requirement: {reason}; write one as for pip, such as 'ray[default]==2.56.1', "
            "or the path of a wheel"
        ) from error
    return word
