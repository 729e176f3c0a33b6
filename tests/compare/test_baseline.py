from __future__ import annotations

from pathlib import Path

from pytest_raycompat.compare.baseline import Baseline
from tests.making import make_record, make_report


def test_what_was_not_reached_has_no_seconds() -> None:
    report = make_report(
        make_record("ran", seconds=70.0),
        make_record("broke", "known-gap", seconds=3.0),
        make_record("needs more GPUs", "unsupported", seconds=0.0),
        make_record("not reached", "untested", seconds=0.0),
    )
    assert Baseline(Path("report.json"), report).seconds == {"ran": 70.0, "broke": 3.0, "needs more GPUs": 0.0}
