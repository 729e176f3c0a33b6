"""From what a flow did, and what is recorded about it, to a verdict: pure functions."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import msgspec

from pytest_raycompat.flows.reporting import describe_chain
from pytest_raycompat.gaps import Gap, applies, compare, message_agrees, mismatches, nearest
from pytest_raycompat.gaps.matching import Capability, CapabilityUnknown
from pytest_raycompat.gaps.schema import CALL
from pytest_raycompat.gaps.wording import describe_pair, side_by_side, what_to_write
from pytest_raycompat.records import Environment, ExceptionRecord, Failure, FlowResult, Verdict

BY_OUTCOME: dict[str, Verdict] = {"error": "failed", "crash": "crashed", "timeout": "timed-out"}


MOST_LINES = 5
MOST_DIFFERENCES = 1
"""A failure that differs from a gap in more than this does not look like it: many share a type."""


@dataclass(frozen=True)
class Judgement:
    """A verdict and, unless it is ``passed``, why."""

    verdict: Verdict
    reason: str = ""
    gap: str | None = None
    """The gap that it is about; with ``passed``, one that applies and did not show."""


class Run(Protocol):
    """What there is to know of a run for telling which gaps apply to it; a :class:`FlowResult` is one."""

    @property
    def flow(self) -> str:
        """The name of the flow."""

    @property
    def parameters(self) -> dict[str, Any]:
        """What it runs with."""

    @property
    def device(self) -> Literal["cpu", "cuda"]:
        """What it runs on."""

    @property
    def nodes(self) -> int:
        """How many Ray nodes it runs on; 0 without Ray."""

    @property
    def node_gpus(self) -> tuple[int, ...]:
        """The GPUs of each of them, the head first."""


@dataclass(frozen=True)
class PlannedRun:
    """A run that is yet to come."""

    flow: str
    parameters: dict[str, Any]
    device: Literal["cpu", "cuda"]
    nodes: int
    node_gpus: tuple[int, ...] = ()


def applicable(
    gaps: Iterable[Gap],
    run: Run,
    environment: Environment,
    marked: Collection[str] = (),
    capability: Capability | None = None,
) -> list[Gap]:
    """List the gaps that are recorded for a run: by their flows, or because the test is marked with their id.

    A control is without Ray, so a gap is about it only if it names its executor. A gap of which it cannot be told
    whether it applies does not: it excuses nothing.
    """
    return _look_up(gaps, run, environment, marked, capability)[0]


def _look_up(
    gaps: Iterable[Gap], run: Run, environment: Environment, marked: Collection[str], capability: Capability | None
) -> tuple[list[Gap], list[str]]:
    """Find the gaps that apply, and say of which it cannot be told."""
    found, unknown = [], []
    for gap in gaps:
        if not (run.nodes or gap.when.executor is not None or gap.id in marked):
            continue
        try:
            holds = applies(
                gap,
                flow=gap.flows[0] if gap.id in marked else run.flow,
                parameters=run.parameters,
                environment=environment,
                device=run.device,
                nodes=run.nodes,
                head_gpus=run.node_gpus[0] if run.node_gpus else None,
                capability=capability,
            )
        except CapabilityUnknown as error:
            unknown.append(f"cannot tell whether {gap.id} applies ({gap.place}): {error}")
        else:
            found += [gap] if holds else []
    return found, unknown


def judge_flow(
    result: FlowResult,
    gaps: Iterable[Gap],
    environment: Environment,
    marked: Collection[str] = (),
    *,
    capability: Capability | None = None,
    excuse: bool = True,
) -> Judgement:
    """Judge one run of a flow. ``result.control``, where there is one, is the same work without Ray.

    With ``excuse`` false, gaps are named and change nothing: a failure is a failure and a pass is a pass.
    """
    gaps = [gap for gap in gaps if gap.id != result.workaround]  # what it works around is not expected of it
    recorded, unknown = _look_up(gaps, result, environment, marked, capability)
    if not excuse:
        return unexcused(recorded, result.failure)
    if result.failure is None:
        return pass_unless_unknown(recorded, unknown, environment)
    if is_expected(recorded, result.failure):
        return judge_recorded(recorded, result.failure, describe_pair(environment))
    if result.control is not None and result.control.failure is not None:
        judgement = Judgement(
            "control-failed",
            "it fails without Ray too, so the gap is not Ray's: " + describe_failure(result.control.failure),
        )
    else:
        judgement = unexplained(result.flow, result.failure, gaps)
    return replace(judgement, reason="\n".join([judgement.reason, *map(ruled_out, recorded), *unknown]))


def judge_finding(
    error: BaseException,
    flows: Iterable[FlowResult],
    gaps: Collection[Gap],
    environment: Environment,
    marked: Collection[str] = (),
    *,
    capability: Capability | None = None,
    excuse: bool = True,
) -> Judgement:
    """Judge a test that found wrong what its flows gave, all of which had ended well."""
    failure = failure_of_test(error)
    recorded = [gap for flow in flows for gap in applicable(gaps, flow, environment, marked, capability)]
    found = [gap for gap in recorded if gap.phase == CALL and not mismatches(gap, failure)]
    if found and excuse:
        return judge_recorded(found, failure, describe_pair(environment))
    named = f"\n{this_is(found[0])}" if found else ""
    return Judgement("failed", one_line(error) + named, found[0].id if found else None)


def judge_marked(
    error: BaseException | None,
    marked: Collection[str],
    gaps: Iterable[Gap],
    environment: Environment,
    device: Literal["cpu", "cuda"],
    parameters: dict[str, Any],
    *,
    nodes: int = 0,
    capability: Capability | None = None,
    excuse: bool = True,
) -> Judgement:
    """Judge a test of the user's own, which ran no flow, by the gaps that it is marked with."""
    recorded, unknown = marked_applicable(
        marked, gaps, environment, device, parameters, nodes=nodes, capability=capability
    )
    if error is None:
        return pass_unless_unknown(recorded, unknown, environment) if excuse else unexcused(recorded, None)
    failure = failure_of_test(error)
    # a test has no phases of its own, so none is compared
    recorded = [msgspec.structs.replace(gap, phase=None) for gap in recorded]
    if recorded and not excuse:
        return unexcused(recorded, failure)
    if is_expected(recorded, failure):
        return judge_recorded(recorded, failure, describe_pair(environment))
    lines = [f"{failure.chain[-1].type}: {failure.chain[-1].message}", *map(ruled_out, recorded), *unknown]
    return Judgement("failed", "\n".join(lines))


def failure_of_test(error: BaseException) -> Failure:
    """Describe what a test raised itself as the failure of a flow is described."""
    chain = tuple(msgspec.convert(describe_chain(error), list[ExceptionRecord]))
    return Failure(outcome="error", phase=CALL, chain=chain)


def one_line(error: BaseException) -> str:
    """Name an error and the first line of its message."""
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no message'}"


def marked_applicable(
    marked: Collection[str],
    gaps: Iterable[Gap],
    environment: Environment,
    device: Literal["cpu", "cuda"],
    parameters: dict[str, Any],
    *,
    nodes: int = 0,
    capability: Capability | None = None,
) -> tuple[list[Gap], list[str]]:
    """Find the gaps that a test is marked with and that apply, and say of which it cannot be told."""
    found, unknown = [], []
    for gap in gaps:
        if gap.id in marked:  # the mark says what the test does not: its executor
            run = PlannedRun(gap.flows[0], {"executor": gap.when.executor, **parameters}, device, nodes)
            one, untold = _look_up([gap], run, environment, [gap.id], capability)
            found += one
            unknown += untold
    return found, unknown


def is_expected(recorded: Iterable[Gap], failure: Failure) -> bool:
    """Whether a gap has to do with a failure: one that always shows, or one that comes and goes and was seen."""
    return any(not gap.intermittent or not mismatches(gap, failure) for gap in recorded)


def ruled_out(gap: Gap) -> str:
    """Say that a failure is not that of a gap which comes and goes."""
    return f"{gap.id} shows now and then here, and is not it ({gap.place})"


def judge_recorded(recorded: list[Gap], failure: Failure, pair: str) -> Judgement:
    """Judge a failure where gaps are recorded: one of them must be what was seen."""
    for gap in recorded:
        if not mismatches(gap, failure):
            workaround = f"\nworkaround: {gap.workaround.text.strip()}" if gap.workaround is not None else ""
            return Judgement("known-gap", f"{gap.id}: {gap.title}{workaround}", gap.id)
    gap = min(recorded, key=lambda one: len(mismatches(one, failure)))
    lines = [
        f"{gap.id} is recorded for {pair}, but this is not it ({gap.place}):",
        *side_by_side(compare(gap, failure)),
        *(f"{other.id} applies too, and is not it either ({other.place})" for other in recorded if other is not gap),
        describe_failure(failure),
    ]
    return Judgement("gap-changed", "\n".join(lines), gap.id)


def judge_pass(recorded: list[Gap], environment: Environment) -> Judgement:
    """Judge a pass: a gap that is recorded for it is closed, unless it may pass now and then."""
    lasting = [gap for gap in recorded if not gap.intermittent]
    if not lasting:
        return Judgement("passed", gap=recorded[0].id if recorded else None)
    pair = describe_pair(environment)
    return Judgement(
        "gap-closed",
        "\n".join(
            f"{gap.id} is recorded for {pair} in {gap.place}, but it passed:\n{what_to_write(gap, environment)}"
            for gap in lasting
        ),
        lasting[0].id,
    )


def pass_unless_unknown(recorded: list[Gap], unknown: list[str], environment: Environment) -> Judgement:
    """Judge a pass where it may be that a gap is recorded for it: what cannot be told is told, and is not green."""
    judgement = judge_pass(recorded, environment)
    return Judgement("infra", "\n".join(unknown)) if unknown and judgement.verdict == "passed" else judgement


def unexcused(recorded: list[Gap], failure: Failure | None) -> Judgement:
    """Judge a run where gaps excuse nothing; a failure names the gap that it is."""
    if failure is None:
        return Judgement("passed", gap=recorded[0].id if recorded else None)
    gap = next((one for one in recorded if not mismatches(one, failure)), None)
    named = f"\n{this_is(gap)}" if gap is not None else ""
    return Judgement(BY_OUTCOME[failure.outcome], describe_failure(failure) + named, gap.id if gap else None)


def this_is(gap: Gap) -> str:
    """Name the gap that a failure is where that excuses nothing."""
    return f"this is {gap.id}: {gap.title} ({gap.place})"


def unexplained(flow: str, failure: Failure, gaps: Iterable[Gap]) -> Judgement:
    """Judge a failure that no recorded gap is about; name the one it looks like.

    A type alone says little, as many failures share it: then flow and phase must be those of the gap.
    """
    reason = describe_failure(failure)
    alike = [gap for gap in gaps if message_agrees(gap, failure) or (flow in gap.flows and gap.phase == failure.phase)]
    near = nearest(alike, failure)
    if near is not None and len(near[1]) <= MOST_DIFFERENCES:
        gap, differences = near
        why = "; ".join(differences) or "its conditions (`when`) leave this pair out"
        reason += f"\nlooks like {gap.id}, but: {why}"
    return Judgement(BY_OUTCOME[failure.outcome], reason)


def describe_failure(failure: Failure) -> str:
    """Say how and where it failed, with the root cause first and what it led to after it."""
    where = f"{failure.outcome} in phase {failure.phase!r}"
    told = [describe_exception(record) for record in failure.chain]
    if failure.detail or not told:
        told.insert(0, failure.detail or "no exception was seen")
    return f"{where}: " + "\nthen ".join(told)


def describe_exception(record: ExceptionRecord) -> str:
    """Name an exception, its message, and the process that raised it, if that is not the flow's own."""
    where = f" (in {record.process})" if record.process not in ("", "driver") else ""
    lines = record.message.splitlines() or [""]
    rest = [f"  {line.strip()}" for line in lines[1:]]
    if len(rest) > MOST_LINES:  # a remote traceback, mostly: its cause is told by itself
        rest = [f"  … ({len(rest)} more lines)"]
    return "\n".join([f"{record.type}: {lines[0]}{where}", *rest])
