"""From what a flow did, and what is recorded about it, to a verdict: pure functions."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

import msgspec

from pytest_raycompat.flows.reporting import describe_chain
from pytest_raycompat.gaps import Gap, compare, message_agrees, mismatches, nearest
from pytest_raycompat.gaps.matching import Capability
from pytest_raycompat.gaps.schema import CALL
from pytest_raycompat.gaps.wording import describe_pair, side_by_side, what_to_write
from pytest_raycompat.recorded import applicable, look_up, marked_applicable
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
    recorded, unknown = look_up(gaps, result, environment, marked, capability)
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
