from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec
import pytest

from pytest_raycompat.bisection.finding import describe
from pytest_raycompat.bisection.history import History
from pytest_raycompat.bisection.judging import Judged, Judgement, Reading, SourceJudge, judged
from pytest_raycompat.bisection.reading import reading_of
from pytest_raycompat.bisection.running import BisectError, bisect
from pytest_raycompat.matrix.cells import Cell
from pytest_raycompat.probe.findings import Finding, FlowResult, Place
from pytest_raycompat.records import Verdict
from pytest_raycompat.releases.model import ReleaseError
from tests.making import make_record, make_report

VERSIONS = tuple(f"2.{minor}.0" for minor in range(35, 51))


class FakeJudge:
    """Judges by a table."""

    def __init__(self, table: dict[str, Judgement], default: Judgement = "good") -> None:
        self.table = table
        self.default = default
        self.asked: list[str] = []

    def judge(self, version: str) -> Judged:
        self.asked.append(version)
        return Judged(self.table.get(version, self.default), "as the table says")


def test_each_step_is_told() -> None:
    table: dict[str, Judgement] = dict.fromkeys(VERSIONS[:4], "bad")
    judge, lines = FakeJudge(table), list[str]()
    finding = bisect("ray", History(VERSIONS), "2.35.0", judge, lines.append, confirm=0)
    assert lines == [
        "2.35.0: bad (as the table says)",
        "2.50.0: good (as the table says); 14 left, about 4 steps",
        "2.42.0: good (as the table says); 6 left, about 3 steps",
        "2.38.0: bad (as the table says); 3 left, about 2 steps",
        "2.40.0: good (as the table says); 1 left, about 1 step",
        "2.39.0: good (as the table says)",
    ]
    assert describe(finding)[0] == "Ray 2.38.0 is bad, Ray 2.39.0 is good"


def test_an_end_that_is_not_as_it_was_said_to_be() -> None:
    with pytest.raises(BisectError) as raised:
        bisect("ray", History(VERSIONS), "2.35.0", FakeJudge({}), lambda line: None)
    assert str(raised.value) == ("--bad: 2.35.0 is good: as the table says; nothing is known to change up to it")


def test_an_end_that_cannot_be_judged() -> None:
    judge = FakeJudge({"2.35.0": "bad", "2.50.0": "skip"})
    with pytest.raises(BisectError) as raised:
        bisect("ray", History(VERSIONS), "2.35.0", judge, lambda line: None)
    assert str(raised.value) == "--good: 2.50.0 cannot be judged: as the table says; name another release"
    assert judge.asked == ["2.35.0", "2.50.0"]


def test_a_history_that_changes_back_is_found_by_what_is_judged_besides() -> None:
    table: dict[str, Judgement] = {**dict.fromkeys(VERSIONS[:4], "bad"), "2.46.0": "bad"}
    finding = bisect("ray", History(VERSIONS), "2.35.0", FakeJudge(table), lambda line: None, confirm=1)
    assert describe(finding)[0] == (
        "the history is not monotonic: bad on 2.35.0 to 2.38.0; good on 2.39.0 to 2.45.0; bad on 2.46.0; "
        "good on 2.47.0 to 2.50.0"
    )


class FakeReader:
    """Says of each Ray what a table says."""

    def read(self, ray: str, vllm: str) -> Reading:
        assert vllm == "0.32.0"
        table = {
            "2.35.0": Reading("breaks", "a version", "ValueError", ("cgraph-version-guard",)),
            "2.43.0": Reading("guarded", "no module", "ImportError", ("data-llm-missing",)),
            "2.44.0": Reading("no obstacle found"),
            "2.45.0": Reading("unknown", "it does not say"),
            "2.47.0": Reading("absent"),
        }
        if ray not in table:
            raise ReleaseError(f"ray {ray} has no Python files")
        return table[ray]


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("2.35.0", Judged("bad", "breaks: a version", "cgraph-version-guard", ("cgraph-version-guard",))),
        ("2.43.0", Judged("good", "guarded: no module")),
        ("2.44.0", Judged("good", "no obstacle found")),
        ("2.45.0", Judged("skip", "unknown: it does not say")),
        ("2.47.0", Judged("skip", "absent")),
        ("2.46.0", Judged("skip", "ray 2.46.0 has no Python files")),
    ],
)
def test_what_the_sources_say(version: str, expected: Judged) -> None:
    assert SourceJudge("ray", "0.32.0", FakeReader()).judge(version) == expected


STATUSES_AND_GAPS: tuple[tuple[Literal["guarded", "breaks"], str], ...] = (
    ("guarded", "g"),
    ("breaks", "h"),
    ("breaks", "h"),
)


def test_of_what_was_read_the_worst_counts() -> None:
    findings = tuple(
        Finding(
            status=status,
            missing="ray.x",
            subject="Ray 2.35.0",
            package="ray",
            exception="ImportError",
            message=f"{status} it",
            used=Place("vllm/a.py", 3),
            gap=gap,
        )
        for status, gap in STATUSES_AND_GAPS
    )
    flow = FlowResult("generate ray-v1", "breaks", findings)
    assert reading_of(flow) == Reading("breaks", "breaks it (vllm/a.py:3)", "ImportError", ("h",))
    assert reading_of(FlowResult("jobs", "no obstacle found", ())) == Reading("no obstacle found")


CELL = Cell(name="c", ray="2.35.0", vllm="none", device="cpu", state="measured")


@pytest.mark.parametrize(
    ("verdicts", "judgement"),
    [
        (("passed", "passed"), "good"),
        (("passed", "gap-closed"), "good"),
        (("passed", "unsupported"), "good"),
        (("passed", "known-gap"), "bad"),
        (("infra", "failed"), "bad"),
        (("gap-changed",), "bad"),
        (("passed", "infra"), "skip"),
        (("control-failed",), "bad"),
        (("unsupported", "untested"), "skip"),
        ((), "skip"),
    ],
)
def test_what_a_run_says(verdicts: tuple[Verdict, ...], judgement: Judgement, tmp_path: Path) -> None:
    records = [make_record(f"t{number}", verdict, gap="g", reason="so") for number, verdict in enumerate(verdicts)]
    found = judged(CELL, make_report(*records), tmp_path)
    assert found.judgement == judgement
    assert found.gaps == (("g",) if judgement == "bad" else ())


def test_what_was_not_built_cannot_be_judged(tmp_path: Path) -> None:
    cell = msgspec.structs.replace(CELL, state="unresolvable", reason="no\nsolution")
    assert judged(cell, None, tmp_path) == Judged("skip", "unresolvable: no solution")
