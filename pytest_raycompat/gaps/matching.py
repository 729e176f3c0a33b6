"""Whether a gap applies to a run, and whether a failure is the gap: pure functions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from pytest_raycompat.gaps.schema import EXECUTOR_NEEDS, Gap
from pytest_raycompat.records import Environment, ExceptionRecord, Failure
from pytest_raycompat.versions import satisfies

_SHOWN_CHARACTERS = 200

Capability: TypeAlias = Callable[[str], bool]
"""Says whether the environment under test has what ``lacks`` names; raises :class:`CapabilityUnknown`."""


class CapabilityUnknown(Exception):
    """It cannot be told whether the environment under test has something; says what, and why not."""


def applies(
    gap: Gap,
    *,
    flow: str,
    parameters: Mapping[str, Any],
    environment: Environment,
    device: str,
    nodes: int = 0,
    head_gpus: int | None = None,
    capability: Capability | None = None,
) -> bool:
    """Tell whether every condition of ``gap`` holds for a run of ``flow`` in ``environment``.

    A condition on a package that is not installed does not hold, and one on an executor only where vLLM has it.

    Args:
        gap: the gap.
        flow: the name of the flow.
        parameters: the flow's parameters; a gap may name any of them, ``executor`` by a condition of its own.
        environment: the environment under test.
        device: what the flow runs on, ``cpu`` or ``cuda``.
        head_gpus: the GPUs of the head node of its cluster; None without Ray.
        nodes: how many Ray nodes it runs on, 0 for a flow without Ray.
        capability: says whether the environment has what ``lacks`` names. Without it that cannot be told, and a gap for
            which it decides does not apply. It is asked only where everything else holds.

    Raises:
        ValueError: an installed version is not a PEP 440 version.
        CapabilityUnknown: ``capability`` cannot tell.
    """
    when = gap.when
    if flow not in gap.flows:
        return False
    if when.device is not None and when.device != device:
        return False
    if when.executor is not None and when.executor != parameters.get("executor"):
        return False
    if when.head_gpus is not None and when.head_gpus != head_gpus:
        return False
    if any(parameters.get(name) != value for name, value in when.parameters.items()):
        return False
    if when.nodes is not None and nodes < when.nodes:
        return False
    versions = (
        (when.decisive_ray, environment.ray),
        (when.vllm, environment.vllm),
        (EXECUTOR_NEEDS.get(when.executor or ""), environment.vllm),
        (when.torch, environment.torch),
        (when.python, environment.python),
    )
    for specifier, installed in versions:
        if specifier is not None and (installed is None or not satisfies(installed, specifier)):
            return False
    if not when.decisive_lacks:
        return True
    return (
        capability is not None
        and environment.ray is not None
        and not all(capability(name) for name in when.decisive_lacks)
    )


@dataclass(frozen=True)
class Comparison:
    """One key of a gap against what was found."""

    key: str
    recorded: str
    found: str
    agrees: bool


def compare(gap: Gap, failure: Failure) -> tuple[Comparison, ...]:
    """Compare ``failure`` with each key that ``gap`` records about how it shows."""
    compared = [Comparison("outcome", gap.outcome, failure.outcome, gap.outcome == failure.outcome)]
    if gap.phase is not None:
        compared.append(Comparison("phase", gap.phase, failure.phase, gap.phase == failure.phase))
    typed = _of_recorded_type(gap, failure)
    if gap.raises is not None:
        found = gap.raises if typed else ", ".join(one.type for one in failure.chain) or "no exception"
        compared.append(Comparison("raises", gap.raises, found, bool(typed)))
    # with another type, the message is compared all the same: it tells a renamed exception from another failure
    texts = _texts(gap, failure, typed or failure.chain)
    if gap.message is not None:
        expression = re.compile(gap.message)
        matching = [text for text in texts if expression.search(text)]
        found = ", ".join(_shortened(text) for text in matching[:1] or texts) or "no message"
        compared.append(Comparison("message", gap.message, found, bool(matching)))
    return tuple(compared)


def mismatches(gap: Gap, failure: Failure) -> tuple[str, ...]:
    """Say in what ``failure`` differs from what ``gap`` records; nothing where it is the gap."""
    return tuple(
        f"{one.key}: recorded {one.recorded}, found {one.found}" for one in compare(gap, failure) if not one.agrees
    )


def nearest(gaps: Iterable[Gap], failure: Failure) -> tuple[Gap, tuple[str, ...]] | None:
    """Find the gap that an unexplained failure resembles most, and in what it differs.

    That is the gap with the fewest differences of those whose exception or message agrees; where two have as few, one
    whose message agrees comes first, because many failures share a type. None where no exception or message agrees.
    """
    candidates = []
    for gap in gaps:
        agrees = message_agrees(gap, failure)
        if agrees or _of_recorded_type(gap, failure):
            candidates.append((gap, mismatches(gap, failure), agrees))
    if not candidates:
        return None
    gap, differences, _ = min(candidates, key=lambda one: (len(one[1]), not one[2]))
    return gap, differences


def _of_recorded_type(gap: Gap, failure: Failure) -> tuple[ExceptionRecord, ...]:
    return tuple(one for one in failure.chain if one.type == gap.raises)


def _texts(gap: Gap, failure: Failure, exceptions: tuple[ExceptionRecord, ...]) -> tuple[str, ...]:
    """What a gap's message is searched for in: what a crash or a timeout was last seen to say counts as a message."""
    messages = tuple(one.message for one in exceptions)
    return (*messages, failure.detail) if gap.raises is None and failure.detail else messages


def message_agrees(gap: Gap, failure: Failure) -> bool:
    """Tell whether what ``gap`` records as message is in one of the messages of ``failure``."""
    texts = _texts(gap, failure, failure.chain)
    return gap.message is not None and any(re.search(gap.message, text) for text in texts)


def _shortened(text: str) -> str:
    return repr(text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…")
