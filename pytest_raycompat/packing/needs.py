"""What packed distributions need of the host's: versions that nobody may have known when the pack was made."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from pytest_raycompat.packing.resolver import Host


def read_needs(site: Path, names: AbstractSet[str], host: Host) -> dict[str, dict[str, str]]:
    """Read from the distributions in the folder ``site`` which versions of others they ask for.

    Args:
        site: where they are installed.
        names: normalised names of the others.
        host: where all will be used.

    Returns:
        For each name the specifiers, and a distribution that asks for it. What belongs to an extra is not read.
    """
    found: dict[str, dict[str, str]] = {}
    for distribution in sorted(importlib.metadata.distributions(path=[str(site)]), key=lambda one: one.name):
        for requirement in requirements_of(distribution, environment_of(host)):
            name = canonicalize_name(requirement.name)
            if name in names and requirement.specifier:
                who = f"{distribution.name} {distribution.version}"
                found.setdefault(name, {}).setdefault(str(requirement.specifier), who)
    return found


def environment_of(host: Host) -> dict[str, str]:
    """Return the values that markers have on a host."""
    here = {name: str(value) for name, value in default_environment().items()}
    linux = {"os_name": "posix", "sys_platform": "linux", "platform_system": "Linux"}
    machine = host.platform.partition("-")[0]
    python = {"python_version": host.python_version, "python_full_version": f"{host.python_version}.0"}
    return {**here, **linux, **python, "platform_machine": machine, "extra": ""}


def requirements_of(
    distribution: importlib.metadata.Distribution, environment: Mapping[str, str]
) -> Iterator[Requirement]:
    """List what a distribution requires there; a line that is no requirement is nothing that could be checked."""
    for line in distribution.requires or ():
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        if requirement.marker is None or requirement.marker.evaluate(dict(environment)):
            yield requirement
