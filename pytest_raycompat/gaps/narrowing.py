"""What to write where a gap is recorded for a pair on which it passed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from packaging.version import Version

from pytest_raycompat.gaps.reading import line_of, read_text
from pytest_raycompat.gaps.schema import Gap, GapFileError
from pytest_raycompat.records import Environment
from pytest_raycompat.versions import can_hold, parse_specifier, satisfies


@dataclass(frozen=True)
class Narrowing:
    """A condition to change, so that the gap leaves out a version."""

    package: Literal["ray", "vllm"]
    before: str | None
    after: str


def narrow(gap: Gap, environment: Environment) -> Narrowing | None:
    """Say which condition of ``gap`` to change so that it leaves ``environment`` out, and no pair that was shown.

    None where that cannot be said: the pair is one on which the gap was shown, or nothing would be left of it.
    """
    versions = {"ray": environment.ray, "vllm": environment.vllm}
    for package in _packages(gap, environment):
        version = versions[package]
        if version is None:
            continue
        shown: list[str] = [getattr(pair, package) for pair in gap.verified]
        before: str | None = getattr(gap.when, package)
        after = narrowed(before, version, shown)
        if after is not None:
            return Narrowing(package, before, after)
    return None


def narrowed(specifier: str | None, version: str, shown: Iterable[str] = ()) -> str | None:
    """Narrow ``specifier`` so that it leaves ``version`` out and keeps every version that is ``shown``.

    What is over is mostly over from some version on, so it is given an end (``<2.43`` that passed on 2.41.0 becomes
    ``<2.41.0``); else a new beginning; else the one version goes. A fork's version (``2.35.0+corp.3``) says nothing
    about the release that it is made from, so it alone goes.

    Returns:
        The narrowed specifier; None where none is left.

    Raises:
        ValueError: ``specifier`` is not a specifier, or ``version`` not a version.
    """
    clauses = [str(clause) for clause in parse_specifier(specifier)] if specifier else []
    clauses.sort(key=lambda clause: ((specifier or "").find(clause), clause))
    parsed = Version(version)
    candidates = [
        ",".join([*(clause for clause in clauses if not re.match(r"<", clause)), f"<{parsed.public}"]),
        ",".join([*(clause for clause in clauses if not re.match(r">", clause)), f">{parsed.public}"]),
        ",".join([*clauses, f"!={parsed.public}"]),
    ]
    if parsed.local is not None:
        candidates = [",".join([*clauses, f"!={parsed}"])]
    kept = list(shown)
    for candidate in candidates:
        if not satisfies(version, candidate) and can_hold(candidate) and all(satisfies(one, candidate) for one in kept):
            return candidate
    return None


def line_of_condition(gap: Gap, package: str) -> int:
    """Return the line of a condition in a gap's file, or that of the table or the gap where it is not given."""
    try:
        return line_of(read_text(gap.path), ("when", package))
    except GapFileError:  # it was there when it was loaded
        return gap.line


def _packages(gap: Gap, environment: Environment) -> list[Literal["ray", "vllm"]]:
    """Which of the pair to blame: the one that is new where the other was shown before, else the one that fixes it."""
    vllm_is_new = any(pair.ray == environment.ray and pair.vllm != environment.vllm for pair in gap.verified)
    ray_is_new = any(pair.vllm == environment.vllm and pair.ray != environment.ray for pair in gap.verified)
    if any((pair.ray, pair.vllm) == (environment.ray, environment.vllm) for pair in gap.verified):
        return []
    if gap.when.decisive_lacks:  # whatever Ray is called, it lacks what the gap is about, so vLLM no longer needs it
        return ["vllm"]
    if ray_is_new != vllm_is_new:
        return ["ray", "vllm"] if ray_is_new else ["vllm", "ray"]
    if gap.fix == "vllm" or gap.when.ray is None:
        return ["vllm", "ray"]
    return ["ray", "vllm"]
