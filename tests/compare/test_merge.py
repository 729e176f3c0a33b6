from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from pytest_raycompat.compare.merge import MergeError, Source, merge, reports_of
from pytest_raycompat.records import Verdict
from pytest_raycompat.report.document import MachineRecord, Report, WorkaroundStatus
from tests.making import make_gap, make_record, make_report


def sources(*reports: Report) -> list[Source]:
    return [Source(Path(f"{number}.json"), report) for number, report in enumerate(reports)]


def verdicts(report: Report) -> dict[str, str]:
    return {record.id: record.verdict for record in report.results}


def test_shards_are_one_report() -> None:
    first = make_report(make_record("a"), make_record("b", "untested"), created="2026-11-22T12:00:00+01:00")
    second = make_report(make_record("b", "failed"), created="2026-11-22T11:00:00+01:00", finished=False)
    (merged,) = reports_of(merge(sources(first, second)))
    assert verdicts(merged) == {"a": "passed", "b": "failed"}
    assert (merged.finished, merged.created) == (False, "2026-11-22T11:00:00+01:00")


def test_shards_of_other_machines_are_one_report_that_names_both() -> None:
    other = make_report(make_record("b"), machine=MachineRecord(cpu="Other", cpus=4, memory_gb=8.0))
    (merged,) = reports_of(merge(sources(make_report(make_record("a")), other)))
    assert merged.machine is not None
    assert merged.machine.cpu == "AMD EPYC and Other"


def test_without_a_baseline_nothing_has_changed() -> None:
    (merged,) = reports_of(
        merge(sources(make_report(make_record("a", "failed", change="regressed")), make_report(make_record("b"))))
    )
    assert [(record.verdict, record.change) for record in merged.results] == [("failed", None), ("passed", None)]


def test_environments_stay_apart() -> None:
    merged = merge(sources(make_report(make_record("a")), make_report(make_record("a", "failed"), ray="2.35.0")))
    assert [verdicts(report) for report in reports_of(merged)] == [{"a": "passed"}, {"a": "failed"}]


def test_repeated_runs_give_samples() -> None:
    runs = [
        make_report(make_record("a", flow="generate", outcome="ok", timings={"total": seconds}))
        for seconds in (1.0, 2.0, 3.0)
    ]
    (merged,) = reports_of(merge(sources(*runs)))
    assert merged.results[0].samples == ({"total": 1.0}, {"total": 2.0}, {"total": 3.0})
    again = merge(sources(merged, runs[0]))
    assert reports_of(again)[0].results[0].samples == merged.results[0].samples


@pytest.mark.parametrize(("first", "second"), [("unsupported", "passed"), ("passed", "unsupported")])
def test_a_verdict_wins_over_none(first: str, second: str) -> None:
    reports = [
        make_report(msgspec.convert({"id": "a", "verdict": one}, type(make_record("a")))) for one in (first, second)
    ]
    assert verdicts(reports_of(merge(sources(*reports)))[0]) == {"a": "passed"}


@pytest.mark.parametrize("verdicts_seen", [("passed", "known-gap"), ("known-gap", "passed")])
def test_an_intermittent_gap_that_showed_once_is_no_contradiction(verdicts_seen: tuple[Verdict, Verdict]) -> None:
    runs = [
        make_report(
            make_record("a", verdict, gap="g", timings={"total": float(number)}),
            gaps=(make_gap(shown=int(verdict == "known-gap"), passed=int(verdict == "passed")),),
        )
        for number, verdict in enumerate(verdicts_seen, 1)
    ]
    (merged,) = reports_of(merge(sources(*runs)))
    assert verdicts(merged) == {"a": "known-gap"}
    assert sorted(one["total"] for one in merged.results[0].samples) == [1.0, 2.0]
    assert [(gap.id, gap.shown, gap.passed) for gap in merged.gaps] == [("g", 1, 1)]


@pytest.mark.parametrize(
    ("said", "together"),
    [
        (("works", "not tried"), "works"),
        (("works", "does not work"), "does not work"),
        (("not tried", "not tried"), "not tried"),
        ((None, None), None),
    ],
)
def test_the_gaps_of_shards_are_added_up(
    said: tuple[WorkaroundStatus | None, ...], together: WorkaroundStatus | None
) -> None:
    shards = [
        make_report(make_record(str(number)), gaps=(make_gap(shown=2, changed=1, workaround=status),))
        for number, status in enumerate(said)
    ]
    other = make_report(make_record("z"), gaps=(make_gap("f"),))
    (merged,) = reports_of(merge(sources(*shards, other)))
    assert [gap.id for gap in merged.gaps] == ["f", "g"]
    gap = merged.gaps[1]
    assert (gap.shown, gap.passed, gap.changed, gap.workaround) == (4, 0, 2, together)


def test_runs_with_another_mode_of_gaps_stay_apart() -> None:
    merged = merge(sources(make_report(make_record("a")), make_report(make_record("a", "failed"), gaps_mode="only")))
    assert [report.gaps_mode for report in reports_of(merged)] == ["run", "only"]


def test_contradictions_are_all_named() -> None:
    first = make_report(make_record("a"), make_record("b", "failed"), make_record("c"))
    second = make_report(make_record("a", "failed"), make_record("b", "crashed"), make_record("c"))
    with pytest.raises(MergeError) as caught:
        merge(sources(first, second))
    hint = "leave one of them out, or rerun the test in one run, which keeps every attempt"
    assert str(caught.value) == (
        "reports contradict each other:\n"
        f"  a (Ray 2.60.0, vLLM 0.32.0, cpu): passed in 0.json, failed in 1.json; {hint}\n"
        f"  b (Ray 2.60.0, vLLM 0.32.0, cpu): failed in 0.json, crashed in 1.json; {hint}"
    )
