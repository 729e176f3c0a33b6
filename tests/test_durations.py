from __future__ import annotations

from pathlib import Path

import pytest

from pytest_raycompat.durations import keep_durations, kept_in, read_durations, seconds_of
from pytest_raycompat.records import Verdict
from tests.making import make_record

RAN: tuple[Verdict, ...] = ("passed", "failed", "known-gap")
DID_NOT: tuple[Verdict, ...] = ("unsupported", "untested")


def test_what_did_not_run_may_take_long() -> None:
    records = [make_record(verdict, verdict, seconds=2.0) for verdict in RAN + DID_NOT]
    assert seconds_of(records) == dict.fromkeys(RAN, 2.0)


def test_what_is_kept_of_tests_that_did_not_run_again_stays(tmp_path: Path) -> None:
    path = kept_in(tmp_path, "cuda")
    keep_durations(path, {"a": 1.0, "b": 2.0})
    keep_durations(path, {"b": 3.0})
    assert read_durations(path) == {"a": 1.0, "b": 3.0}
    assert read_durations(kept_in(tmp_path, "cpu")) == {}


def test_a_run_without_tests_keeps_nothing(tmp_path: Path) -> None:
    keep_durations(kept_in(tmp_path, "cpu"), {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", "[1]", '{"a": "long"}', "\x00"])
def test_what_cannot_be_read_is_as_if_it_were_not_there(content: str, tmp_path: Path) -> None:
    path = kept_in(tmp_path, "cpu")
    path.write_text(content)
    assert read_durations(path) == {}
    keep_durations(path, {"a": 1.0})
    assert read_durations(path) == {"a": 1.0}
