"""What a run says about the known gaps that it met: data in, data and lines out."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence

import msgspec

from pytest_raycompat.gaps import Gap
from pytest_raycompat.judgement import BY_OUTCOME
from pytest_raycompat.records import FlowResult, Verdict
from pytest_raycompat.report.document import GapRecord, TestRecord, WorkaroundRecord, WorkaroundStatus

SHOWN: tuple[Verdict, ...] = ("known-gap", *BY_OUTCOME.values())
"""Verdicts with which a gap showed: where gaps excuse nothing, it is that of the failure."""
PASSED: tuple[Verdict, ...] = ("passed", "gap-closed")
WORST_FIRST: tuple[WorkaroundStatus, ...] = ("does not work", "works", "not tried")


def workarounds_of(flows: Iterable[FlowResult]) -> tuple[WorkaroundRecord, ...]:
    """Tell of each flow that was run with a workaround whether that works."""
    return tuple(
        WorkaroundRecord(
            gap=flow.workaround,
            works=flow.outcome == "ok",
            exception=flow.failure.root if flow.failure is not None else None,
        )
        for flow in flows
        if flow.workaround is not None
    )


def met_gaps(gaps: Iterable[Gap], records: Sequence[TestRecord]) -> tuple[GapRecord, ...]:
    """Count how often each gap showed; gaps that the run did not meet are left out."""
    met = {record.gap for record in records} | {trial.gap for record in records for trial in record.workarounds}
    return tuple(_record_of(gap, records) for gap in gaps if gap.id in met)


def _record_of(gap: Gap, records: Sequence[TestRecord]) -> GapRecord:
    verdicts = [record.verdict for record in records if record.gap == gap.id]
    trials = [trial.works for record in records for trial in record.workarounds if trial.gap == gap.id]
    return GapRecord(
        id=gap.id,
        title=gap.title,
        path=gap.file,
        line=gap.line,
        overrides=gap.overrides,
        intermittent=gap.intermittent,
        shown=sum(verdict in SHOWN for verdict in verdicts),
        passed=sum(verdict in PASSED for verdict in verdicts),
        changed=verdicts.count("gap-changed"),
        workaround=_status(gap, trials),
    )


def _status(gap: Gap, trials: list[bool]) -> WorkaroundStatus | None:
    if trials:
        return "works" if all(trials) else "does not work"
    return "not tried" if gap.workaround is not None and gap.workaround.env else None


def merged_gaps(reports: Iterable[Iterable[GapRecord]]) -> tuple[GapRecord, ...]:
    """Add up what several runs say of each gap; a workaround that failed in one of them does not work."""
    found: dict[str, GapRecord] = {}
    for gaps in reports:
        for gap in gaps:
            held = found.get(gap.id)
            found[gap.id] = gap if held is None else _added(held, gap)
    return tuple(found[identifier] for identifier in sorted(found))


def _added(held: GapRecord, other: GapRecord) -> GapRecord:
    said = (held.workaround, other.workaround)
    return msgspec.structs.replace(
        held,
        shown=held.shown + other.shown,
        passed=held.passed + other.passed,
        changed=held.changed + other.changed,
        workaround=next((one for one in WORST_FIRST if one in said), None),
    )


def said_of(gap: GapRecord) -> str:
    """Write how often a gap showed, and whether its workaround works."""
    total = gap.shown + gap.passed + gap.changed
    said = []
    if total:
        said.append(f"shown in {gap.shown} of {total} test{'' if total == 1 else 's'}")
    if gap.intermittent:
        said.append("intermittent: a pass is allowed too")
    if gap.workaround is not None:
        said.append(f"workaround: {gap.workaround}")
    return "; ".join(said) or "not run"


def is_red(gap: GapRecord) -> bool:
    """Whether a gap is not as it is recorded."""
    return gap.workaround == "does not work" or gap.changed > 0


def lines_of(gaps: Iterable[GapRecord]) -> list[tuple[str, str]]:
    """Write a line for each gap, with its colour."""
    return [(f"gap {gap.id}: {said_of(gap)}", "red" if is_red(gap) else "") for gap in gaps]


def overdue(gaps: Iterable[Gap], today: datetime.date) -> list[str]:
    """Name the gaps whose day of review has come."""
    return [
        f"gap {gap.id} was to be reviewed by {gap.review}: see whether it still holds ({gap.place})"
        for gap in gaps
        if gap.review is not None and gap.review <= today
    ]


def overridden(gaps: Iterable[Gap]) -> list[str]:
    """Name the gaps that stand in for ours."""
    return [f"gap {gap.id} of {gap.file} overrides the built-in one" for gap in gaps if gap.overrides is not None]
