"""The markers as objects: each checks its arguments when collected, and prints its own reason when it is not met."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from pytest_raycompat.gpus import Use


@dataclass(frozen=True)
class Facts:
    """What there is, for markers to compare with."""

    ray: str | None
    vllm: str | None
    gpus: int
    nodes: int
    where: str
    """What was looked at, for the reason: ``local cluster of 1 node with 2 GPUs``."""
    gpu_use: tuple[Use, ...] | None = None
    """Of each GPU, without that of our own flows; None where that is not known."""


class Requirement(Protocol):
    """A need that a marker states."""

    def unmet(self, facts: Facts) -> str | None:
        """Say what is needed and what was found; None where the need is met."""


class MarkError(ValueError):
    """A marker has arguments that are not right; says what is wrong and what would be right."""


@dataclass(frozen=True)
class Version:
    """``ray_version`` and ``vllm_version``."""

    package: str
    name: str
    specifier: str

    def unmet(self, facts: Facts) -> str | None:
        """Compare with the installed version."""
        from pytest_raycompat.versions import satisfies

        found: str | None = getattr(facts, self.package)
        if found is not None and satisfies(found, self.specifier):
            return None
        return f"needs {self.name} {self.specifier}, found {found or 'none'}"


@dataclass(frozen=True)
class Gpus:
    """``gpus``."""

    count: int
    min_memory_gb: float | None
    alone: bool = False

    def unmet(self, facts: Facts) -> str | None:
        """Compare with the GPUs of the cluster, or of the machine where there is no cluster."""
        if self.min_memory_gb is None:
            return None if facts.gpus >= self.count else f"needs {plural(self.count, 'GPU')}, found {facts.gpus}"
        need = f"needs {plural(self.count, 'GPU')} with {self.min_memory_gb:g} GiB free"
        if facts.gpu_use is None:
            return f"{need}, found {facts.gpus} without memory of their own"
        enough = sum(use.free_gb >= self.min_memory_gb for use in facts.gpu_use)
        if enough >= self.count:
            return None
        busy = [str(use) for use in facts.gpu_use if use.free_gb < self.min_memory_gb <= use.gpu.memory_gb]
        return "; ".join([f"{need}, found {enough}", *busy])


@dataclass(frozen=True)
class Asked:
    """What a test asks of each GPU of its flows: ``memory_gb`` free, in GiB, and nobody else on it."""

    memory_gb: float = 0.0
    alone: bool = False


NOTHING_ASKED = Asked()


@dataclass(frozen=True)
class Nodes:
    """``nodes``."""

    count: int

    def unmet(self, facts: Facts) -> str | None:
        """Compare with the nodes of the cluster."""
        return None if facts.nodes >= self.count else f"needs {plural(self.count, 'Ray node')}, found {facts.nodes}"


def plural(count: int, noun: str) -> str:
    """Write a count with its noun: ``1 node``, ``2 nodes``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _version(package: str, name: str) -> Callable[[str, Mapping[str, Any]], Requirement]:
    def build(mark: str, values: Mapping[str, Any]) -> Requirement:
        from pytest_raycompat.versions import parse_specifier

        if not isinstance(values["spec"], str):
            raise MarkError(f"@pytest.mark.{mark}({values['spec']!r}): write the specifier as text, such as '>=2.44.1'")
        try:
            parse_specifier(values["spec"])
        except ValueError as error:
            raise MarkError(f"@pytest.mark.{mark}({values['spec']!r}): {error}") from None
        return Version(package, name, values["spec"])

    return build


def _count(mark: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise MarkError(f"@pytest.mark.{mark}({value!r}): write a whole number from 1, such as {mark}(2)")
    return value


def _gpus(mark: str, values: Mapping[str, Any]) -> Requirement:
    memory = values["min_memory_gb"]
    if memory is not None and (isinstance(memory, bool) or not isinstance(memory, int | float) or memory <= 0):
        raise MarkError(f"@pytest.mark.{mark}(min_memory_gb={memory!r}): write GiB as a number above 0, such as 40")
    if not isinstance(values["alone"], bool):
        raise MarkError(f"@pytest.mark.{mark}(alone={values['alone']!r}): write True or False")
    return Gpus(_count(mark, values["n"]), memory, values["alone"])


def _nodes(mark: str, values: Mapping[str, Any]) -> Requirement:
    return Nodes(_count(mark, values["n"]))


# name: the parameters with their defaults (... for a required one), and what builds the requirement
_MARKS: Mapping[str, tuple[Mapping[str, Any], Callable[[str, Mapping[str, Any]], Requirement]]] = {
    "ray_version": ({"spec": ...}, _version("ray", "Ray")),
    "vllm_version": ({"spec": ...}, _version("vllm", "vLLM")),
    "gpus": ({"n": ..., "min_memory_gb": None, "alone": False}, _gpus),
    "nodes": ({"n": ...}, _nodes),
}


def bind(mark: pytest.Mark, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Give a marker's arguments their names.

    Raises:
        MarkError: too many, too few, or of an unknown name.
    """
    names = list(parameters)
    written = f"@pytest.mark.{mark.name}"
    signature = (
        f"{mark.name}({', '.join(name if parameters[name] is ... else f'{name}={parameters[name]}' for name in names)})"
    )
    if len(mark.args) > len(names):
        raise MarkError(f"{written}: {len(mark.args)} arguments given, write {signature}")
    values = dict(zip(names, mark.args, strict=False))
    for name, value in mark.kwargs.items():
        if name not in parameters:
            raise MarkError(f"{written}: unknown argument {name!r}, write {signature}")
        if name in values:
            raise MarkError(f"{written}: argument {name!r} given twice, write {signature}")
        values[name] = value
    for name, default in parameters.items():
        if name not in values and default is ...:
            raise MarkError(f"{written}: argument {name!r} is missing, write {signature}")
        values.setdefault(name, default)
    return values


def requirement_from(mark: pytest.Mark) -> Requirement | None:
    """Return the need that ``mark`` states; None for a marker that is not one of ours.

    Raises:
        MarkError: its arguments are not right.
    """
    if mark.name not in _MARKS:
        return None
    parameters, build = _MARKS[mark.name]
    return build(mark.name, bind(mark, parameters))


def gap_id_from(mark: pytest.Mark) -> str:
    """Return the id of a ``known_gap`` marker.

    Raises:
        MarkError: its argument is not an id.
    """
    value = bind(mark, {"id": ...})["id"]
    if not isinstance(value, str):
        raise MarkError(f"@pytest.mark.known_gap({value!r}): write the id of a gap as text")
    return value


def gpus_needed(requirements: Sequence[Requirement]) -> int:
    """Return how many GPUs a test says that it needs; 0 where it does not say."""
    return max((need.count for need in requirements if isinstance(need, Gpus)), default=0)


def asked_of_gpus(requirements: Sequence[Requirement]) -> Asked:
    """Return what a test asks of each GPU; nothing where it does not say."""
    needs = [need for need in requirements if isinstance(need, Gpus)]
    return Asked(max((need.min_memory_gb or 0.0 for need in needs), default=0.0), any(need.alone for need in needs))


def unmet_needs(requirements: list[Requirement], facts: Facts) -> str | None:
    """Say in one sentence every need that is not met; None where all are."""
    reasons = [reason for requirement in requirements if (reason := requirement.unmet(facts))]
    return f"{'; '.join(reasons)} ({facts.where})" if reasons else None
