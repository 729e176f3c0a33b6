"""What the environment of a pair needs; the facts are in ``data/pairs.toml``.

Needs no more than packaging: tox loads it too, in an environment that has nothing else of ours.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pytest_raycompat.versions import satisfies

Package = Literal["ray", "vllm"]
DATA = Path(__file__).parent / "data"


@dataclass(frozen=True)
class Needs:
    """What an environment needs beside its pair."""

    require: tuple[str, ...] = ()
    """Further requirements, as for pip."""
    override: tuple[str, ...] = ()
    """Requirements that stand in for what the pair asks for, as uv's ``--override`` takes them."""


@functools.cache
def facts() -> Mapping[str, Any]:
    """Read ``pairs.toml``."""
    return tomllib.loads((DATA / "pairs.toml").read_text("utf-8"))


def distribution(package: Package, device: str) -> str:
    """Name the distribution of a package: vLLM's CPU build has one of its own."""
    return str(facts()[package]["distributions"][device])


def distributions(package: Package) -> tuple[str, ...]:
    """Name all distributions of a package."""
    return tuple(dict.fromkeys(facts()[package]["distributions"].values()))


def extras(package: Package) -> str:
    """Write the extras with which a package is installed: ``[data,default,serve]``."""
    named = facts()[package]["extras"]
    return f"[{','.join(named)}]" if named else ""


def requirement(package: Package, version: str, device: str) -> str:
    """Write the requirement of a release."""
    return f"{distribution(package, device)}{extras(package)}=={version}"


def needs(device: str, ray: str | None, vllm: str | None) -> Needs:
    """Say what an environment needs beside its pair.

    Args:
        device: ``cpu`` or ``cuda``.
        ray: the version of Ray; None where it has none, or where it is not known.
        vllm: the same of vLLM.
    """
    rules = [rule for rule in facts()["rules"] if _holds(rule, device, ray, vllm)]
    lines = [line for rule in rules if "overrides" in rule for line in read_requirements(DATA / rule["overrides"])]
    return Needs(
        require=tuple(one for rule in rules for one in rule.get("require", ())),
        override=tuple(dict.fromkeys(lines)),
    )


def room_gib(device: str, vllm: bool) -> float:
    """Say how much disk an environment may take, in GiB."""
    return float(facts()["room_gib"][device if vllm else "ray"])


def read_requirements(path: Path) -> list[str]:
    """Read a file of requirements without its comments."""
    lines = (line.strip() for line in path.read_text("utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _holds(rule: Mapping[str, Any], device: str, ray: str | None, vllm: str | None) -> bool:
    if rule.get("device", device) != device:
        return False
    conditions = ((rule.get("ray"), ray), (rule.get("vllm"), vllm))
    return all(
        specifier is None or (version is not None and satisfies(version, specifier))
        for specifier, version in conditions
    )
