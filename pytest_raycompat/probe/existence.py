"""Whether a release has a name, by its sources; and in which of several releases it is."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_raycompat.probe.findings import Finding, History
from pytest_raycompat.probe.resolving import Defined, Missing, Unknown, World
from pytest_raycompat.probe.subjects import Subject
from pytest_raycompat.releases import ReleaseError


def exists(subject: Subject, name: str) -> bool | None:
    """Tell whether it has a module, a name in one, or a parameter (``module.function(parameter)``).

    Returns:
        None where the sources do not tell.
    """
    dotted, _, parameter = name.rstrip(")").partition("(")
    if subject.has(dotted):
        return True
    if not subject.has(dotted.rpartition(".")[0]) and not _begins_in_a_module(subject, dotted):
        return False
    thing = World({subject.package: subject}).resolve(dotted)
    if isinstance(thing, Missing):
        return False
    if isinstance(thing, Unknown):
        return True if thing.there else None
    if not parameter:
        return True
    if not isinstance(thing, Defined) or thing.definition.kind != "function":
        return None
    return any(one.name == parameter or one.kind == "**" for one in thing.definition.parameters)


def _begins_in_a_module(subject: Subject, dotted: str) -> bool:
    """Whether a module on the way is a file, and so may define what follows; a package without it does not."""
    parts = dotted.split(".")
    inner = [".".join(parts[:count]) for count in range(len(parts) - 1, 1, -1)]
    return any(subject.has(one) for one in inner)


def history(finding: Finding, subject: Subject, others: Iterable[Subject]) -> History | None:
    """Tell in which other releases a missing name is found, the nearest on each side.

    Args:
        finding: what is missing.
        subject: where it is missing.
        others: other releases of the package, oldest first; those whose version is not newer come before.
    """
    before = after = None
    passed = False
    for other in others:
        if other.version == subject.version:
            passed = True
            continue
        try:
            there = exists(other, finding.missing)
        except ReleaseError:  # what is not in the cache and cannot be fetched
            continue
        if there and not passed:
            before = other.version
        elif there and after is None:
            after = other.version
    return None if before is None and after is None else History(before, after)
