"""What becomes of the verdicts of a run, in whatever order they come."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from pytest_raycompat.records import Verdict
from pytest_raycompat.report.collector import Collector
from pytest_raycompat.report.document import read_report
from pytest_raycompat.session import Session
from pytest_raycompat.settings import Settings
from tests.making import make_record


class Silent:
    """Shows nothing."""

    def show(self, title: str, phase: str, seconds: float, left: float) -> None: ...

    def clear(self) -> None: ...


@pytest.fixture
def collector(tmp_path: Path) -> Collector:
    settings = Settings.read(root=tmp_path, reports=(tmp_path / "r.json", tmp_path / "r.md"))
    collector = Collector(Session(settings, (), Silent()), tmp_path)
    collector.expect(["a", "b", "c"])
    return collector


def data(id: str, verdict: Verdict = "passed", **fields: Any) -> dict[str, Any]:
    built: dict[str, Any] = msgspec.to_builtins(make_record(id, verdict, **fields))
    return built


def verdicts(collector: Collector) -> dict[str, str]:
    return {record.id: record.verdict for record in collector.records}


def test_results_are_in_the_order_of_collection(collector: Collector) -> None:
    collector.add(data("c"))
    collector.add(data("a", "failed"))
    assert list(verdicts(collector).items()) == [("a", "failed"), ("b", "untested"), ("c", "passed")]
    assert collector.progress == (2, 3, 1)


def test_attempts_are_kept_in_order(collector: Collector) -> None:
    collector.add(data("a", "failed", reason="first"), again=True)
    assert collector.records[0].verdict == "failed"
    collector.add(data("a", "infra", reason="second"), again=True)
    collector.add(data("a"))
    record = collector.records[0]
    assert [(attempt.verdict, attempt.reason) for attempt in record.attempts] == [
        ("failed", "first"),
        ("infra", "second"),
    ]
    assert record.flaky


@pytest.mark.parametrize(
    ("before", "after"), [(None, "infra"), ("passed", "infra"), ("failed", "failed")], ids=["running", "passed", "red"]
)
def test_a_worker_that_is_lost(collector: Collector, before: Verdict | None, after: Verdict) -> None:
    if before is not None:
        collector.add(data("a", before))
    collector.lose("a", "worker 'gw0' crashed")
    collector.lose("not ours", "worker 'gw0' crashed")
    assert verdicts(collector) == {"a": after, "b": "untested", "c": "untested"}


def test_before_the_end_only_json_is_written(collector: Collector, tmp_path: Path) -> None:
    assert not read_report(tmp_path / "r.json").finished
    assert not (tmp_path / "r.md").exists()
    collector.write(finished=False, last=True)
    assert "did not finish" in (tmp_path / "r.md").read_text()
