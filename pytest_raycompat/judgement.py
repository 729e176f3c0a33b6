"""From what a flow did, and what is recorded about it, to a verdict: pure functions."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from pytest_raycompat.flows.reporting import describe_chain
from pytest_raycompat.gaps import Gap, applies, mismatches, nearest
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


def applicable(
    gaps: Iterable[Gap], result: FlowResult, environment: Environment, marked: Collection[str] = ()
) -> list[Gap]:
    """List the gaps that are recorded for what ran: by their flows, or because the test is marked with their id.

    A control is without Ray, so a gap is about it only if it names its executor.
    """
    return [
        gap
        for gap in gaps
        if (result.nodes or gap.when.executor is not None or gap.id in marked)
        and applies(
            gap,
            flow=gap.flows[0] if gap.id in marked else result.flow,
            parameters=result.parameters,
            environment=environment,
            device=result.device,
            head_gpus=result.node_gpus[0] if result.node_gpus else None,
        )
    ]


def judge_flow(
    result: FlowResult, gaps: Iterable[Gap], environment: Environment, marked: Collection[str] = ()
) -> Judgement:
    """Judge one run of a flow. ``result.control``, where there is one, is the same work without Ray."""
    gaps = list(gaps)
    recorded = applicable(gaps, result, environment, marked)
    pair = describe_pair(environment)
    if result.failure is None:
        return closed(recorded, pair) if recorded else Judgement("passed")
    if recorded:
        return judge_recorded(recorded, result.failure, pair)
    if result.control is not None and result.control.failure is not None:
        return Judgement(
            "control-failed",
            "it fails without Ray too, so the gap is not Ray's: " + describe_failure(result.control.failure),
        )
    return unexplained(result.failure, gaps)


def judge_marked(
    error: BaseException | None,
    marked: Collection[str],
    gaps: Iterable[Gap],
    environment: Environment,
    device: str,
    parameters: dict[str, Any],
) -> Judgement:
    """Judge a test of the user's own, which ran no flow, by the gaps that it is marked with."""
    recorded = [
        gap
        for gap in gaps
        if gap.id in marked
        and applies(
            gap,
            flow=gap.flows[0],
            parameters={"executor": gap.when.executor, **parameters},  # the mark says what the test does not
            environment=environment,
            device=device,
        )
    ]
    if error is None:
        return closed(recorded, describe_pair(environment)) if recorded else Judgement("passed")
    chain = tuple(msgspec.convert(describe_chain(error), list[ExceptionRecord]))
    if not recorded:
        return Judgement("failed", f"{chain[-1].type}: {chain[-1].message}")
    phase = recorded[0].phase or "call"  # a test has no phases of its own
    return judge_recorded(recorded, Failure(outcome="error", phase=phase, chain=chain), describe_pair(environment))


def describe_pair(environment: Environment) -> str:
    """Name what was tested together."""
    return f"Ray {environment.ray} with vLLM {environment.vllm}"


def judge_recorded(recorded: list[Gap], failure: Failure, pair: str) -> Judgement:
    """Judge a failure where gaps are recorded: one of them must be what was seen."""
    differences = {gap.id: mismatches(gap, failure) for gap in recorded}
    for gap in recorded:
        if not differences[gap.id]:
            workaround = f"\nworkaround: {gap.workaround.text}" if gap.workaround is not None else ""
            return Judgement("known-gap", f"{gap.id}: {gap.title}{workaround}", gap.id)
    gap = min(recorded, key=lambda one: len(differences[one.id]))
    return Judgement(
        "gap-changed",
        f"{gap.id} is recorded for {pair}, but this is not it ({gap.path}:{gap.line}):\n"
        + "\n".join(f"  {difference}" for difference in differences[gap.id])
        + f"\n{describe_failure(failure)}",
        gap.id,
    )


def closed(recorded: list[Gap], pair: str) -> Judgement:
    """Judge a pass where a gap is recorded."""
    gap = recorded[0]
    return Judgement(
        "gap-closed",
        f"{gap.id} is recorded for {pair}, but it passed: "
        f"narrow `when` in {gap.path}:{gap.line} so that it leaves this pair out, or remove the file",
        gap.id,
    )


def unexplained(failure: Failure, gaps: Iterable[Gap]) -> Judgement:
    """Judge a failure that no recorded gap is about; name the one it looks like."""
    reason = describe_failure(failure)
    near = nearest(tuple(gaps), failure)
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
