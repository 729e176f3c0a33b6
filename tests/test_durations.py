from __future__ import annotations

from pathlib import Path

import pytest

from pytest_raycompat.durations import keep_durations, kept_in, read_durations, seconds_of
from pytest_raycompat.records import Verdict
from pytest_raycompat.report.document import TestRecord
from tests.making import make_record


def durations(**seconds: float) -> list[TestRecord]:
    return [make_record(name, "passed", seconds=took) for name, took in seconds.items()]


def test_what_lacks_something_takes_no_time_and_what_was_not_reached_may_take_long() -> None:
    verdicts: tuple[Verdict, ...] = ("passed", "failed", "known-gap", "unsupported", "untested")
    records = [make_record(verdict, verdict, seconds=2.0) for verdict in verdicts]
    assert seconds_of(records) == {"passed": 2.0, "failed": 2.0, "known-gap": 2.0, "unsupported": 0.0}


def test_what_is_kept_of_tests_that_did_not_run_again_stays(tmp_path: Path) -> None:
    path = kept_in(tmp_path, "cuda")
    keep_durations(path, durations(a=1.0, b=2.0))
    keep_durations(path, durations(b=3.0))
    assert read_durations(path) == {"a": 1.0, "b": 3.0}
    assert read_durations(kept_in(tmp_path, "cpu")) == {}


def test_a_test_that_lacks_something_with_one_pair_may_run_with_another(tmp_path: Path) -> None:
    path = kept_in(tmp_path, "cuda")
    keep_durations(path, [make_record("a", "unsupported", seconds=0.1)])
    assert read_durations(path) == {"a": 0.0}
    keep_durations(path, durations(a=4.0))
    keep_durations(path, [make_record("a", "unsupported", seconds=0.1)])
    assert read_durations(path) == {"a": 4.0}


def test_a_run_without_tests_keeps_nothing(tmp_path: Path) -> None:
    keep_durations(kept_in(tmp_path, "cpu"), [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", "[1]", '{"a": "long"}', "\x00"])
def test_what_cannot_be_read_is_as_if_it_were_not_there(content: str, tmp_path: Path) -> None:
    path = kept_in(tmp_path, "cpu")
    path.write_text(content)
    assert read_durations(path) == {}
    keep_durations(path, durations(a=1.0))
    assert read_durations(path) == {"a": 1.0}
