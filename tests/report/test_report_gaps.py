from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pytest_raycompat.gaps import Gap, Workaround
from pytest_raycompat.judgement import Judgement
from pytest_raycompat.records import ExceptionRecord, Failure, FlowResult, Verdict
from pytest_raycompat.report.collector import record_of
from pytest_raycompat.report.document import TestRecord as Record
from pytest_raycompat.report.document import WorkaroundRecord
from pytest_raycompat.report.gaps import lines_of, met_gaps, overdue, overridden, workarounds_of
from tests.gaps import making

CAUSE = ExceptionRecord(type="ValueError", message="still not")


def make_gap(id: str = "a-gap", **keys: Any) -> Gap:
    defaults: dict[str, Any] = {"title": "A gap", "phase": None, "message": None, "line": 3}
    return making.make_gap(id, **(defaults | keys))


def make_record(verdict: Verdict, gap: str | None = "a-gap", *trials: bool) -> Record:
    workarounds = tuple(WorkaroundRecord(gap="a-gap", works=works) for works in trials)
    return Record(id="t", verdict=verdict, gap=gap, workarounds=workarounds)


def test_how_often_a_gap_showed_is_counted() -> None:
    verdicts: tuple[Verdict, ...] = (
        *("known-gap", "known-gap", "failed", "crashed", "timed-out"),
        *("passed", "gap-closed"),
        "gap-changed",
        *("untested", "unsupported", "infra"),
    )
    (gap,) = met_gaps([make_gap()], [make_record(verdict) for verdict in verdicts])
    assert (gap.shown, gap.passed, gap.changed) == (5, 2, 1)
    assert (gap.id, gap.title, gap.path, gap.line, gap.overrides) == ("a-gap", "A gap", "gaps/a-gap.toml", 3, None)


def test_a_gap_that_the_run_did_not_meet_is_left_out() -> None:
    assert met_gaps([make_gap()], [make_record("passed", None), make_record("known-gap", "another")]) == ()


WITH_ENV = Workaround(text="Switch it on.", env={"SWITCH": "1"})


@pytest.mark.parametrize(
    ("workaround", "trials", "status"),
    [
        (None, (), None),
        (Workaround(text="Wait."), (), None),
        (WITH_ENV, (), "not tried"),
        (WITH_ENV, (True,), "works"),
        (WITH_ENV, (True, True), "works"),
        (WITH_ENV, (True, False), "does not work"),
    ],
)
def test_whether_a_workaround_works(
    workaround: Workaround | None, trials: tuple[bool, ...], status: str | None
) -> None:
    (gap,) = met_gaps([make_gap(workaround=workaround)], [make_record("known-gap", "a-gap", *trials)])
    assert gap.workaround == status


def test_a_gap_of_which_only_the_workaround_was_tried_was_met() -> None:
    (gap,) = met_gaps([make_gap(workaround=WITH_ENV)], [make_record("passed", None, True)])
    assert lines_of([gap]) == [("gap a-gap: workaround: works", "")]


def flow(workaround: str | None, failure: Failure | None = None) -> FlowResult:
    outcome = failure.outcome if failure else "ok"
    return FlowResult(
        flow="generate",
        parameters={},
        outcome=outcome,
        phase="over",
        device="cpu",
        nodes=1,
        failure=failure,
        workaround=workaround,
    )


def test_a_flow_with_a_workaround_says_whether_it_works() -> None:
    failure = Failure(outcome="error", phase="start", chain=(CAUSE, ExceptionRecord(type="KeyError", message="x")))
    flows = [flow(None), flow("a-gap"), flow("b-gap", failure), flow("c-gap", Failure(outcome="crash", phase="start"))]
    expected = (
        WorkaroundRecord(gap="a-gap", works=True),
        WorkaroundRecord(gap="b-gap", works=False, exception=CAUSE),
        WorkaroundRecord(gap="c-gap", works=False),
    )
    assert workarounds_of(flows) == expected
    record = record_of("t", Judgement("passed"), 1.0, flows)
    assert record.workarounds == expected
    assert msgspec.convert(msgspec.to_builtins(record), Record) == record


def test_a_test_is_about_the_flow_that_failed() -> None:
    failure = Failure(outcome="error", phase="start", chain=(CAUSE,))
    works, fails, control = flow(None), flow(None, failure), msgspec.structs.replace(flow(None), nodes=0)
    record = record_of("t", Judgement("failed"), 1.0, [works, control, fails])
    assert (record.outcome, record.exception) == ("error", CAUSE)
    assert record.control is not None
    assert record_of("t", Judgement("passed"), 1.0, [control, works]).outcome == "ok"


@pytest.mark.parametrize(
    ("gap", "verdicts", "line", "colour"),
    [
        (make_gap(), ["known-gap"], "gap a-gap: shown in 1 of 1 test", ""),
        (
            make_gap(intermittent=True),
            ["known-gap", "passed", "passed"],
            "gap a-gap: shown in 1 of 3 tests; intermittent: a pass is allowed too",
            "",
        ),
        (
            make_gap(workaround=WITH_ENV),
            ["known-gap", "gap-changed"],
            "gap a-gap: shown in 1 of 2 tests; workaround: not tried",
            "red",
        ),
    ],
)
def test_a_line_for_each_gap(gap: Gap, verdicts: list[Verdict], line: str, colour: str) -> None:
    assert lines_of(met_gaps([gap], [make_record(verdict) for verdict in verdicts])) == [(line, colour)]


def test_a_workaround_that_does_not_work_is_red() -> None:
    gaps = met_gaps([make_gap(workaround=WITH_ENV)], [make_record("known-gap", "a-gap", False)])
    assert lines_of(gaps) == [("gap a-gap: shown in 1 of 1 test; workaround: does not work", "red")]


def test_a_gap_that_is_left_out_is_no_line_without_an_end() -> None:
    """With ``--raycompat-gaps-mode=skip`` a gap is met and neither shown nor passed."""
    assert lines_of(met_gaps([make_gap()], [make_record("untested")])) == [("gap a-gap: not run", "")]


def test_what_is_due_and_what_stands_in_for_ours() -> None:
    day = datetime.date(2027, 6, 1)
    gaps = [make_gap(review=day), make_gap("b-gap", overrides=Path("ours/b-gap.toml")), make_gap("c-gap")]
    assert overdue(gaps, datetime.date(2027, 5, 31)) == []
    assert overdue(gaps, day) == [
        "gap a-gap was to be reviewed by 2027-06-01: see whether it still holds (gaps/a-gap.toml:3)"
    ]
    assert overridden(gaps) == ["gap b-gap of gaps/b-gap.toml overrides the built-in one"]
