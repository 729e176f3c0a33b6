from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_raycompat.compare.comparison import compare
from pytest_raycompat.compare.measuring import measurement_changes, pool, spread_of
from pytest_raycompat.compare.merge import Source, merge, reports_of
from pytest_raycompat.compare.rendering import markdown, text
from pytest_raycompat.records import Measurement
from pytest_raycompat.report.document import TestRecord
from tests.making import make_record, make_report

STEADY = (100.0, 101.0, 99.0, 100.5, 99.5)


def measured(*samples: float, better: str = "higher", unit: str = "tokens/s", **more: Any) -> TestRecord:
    rate = Measurement(unit=unit, samples=samples, better=better)  # type: ignore[arg-type]
    usual = {"flow": "performance", "outcome": "ok", "parameters": {"executor": "ray-v2"}}
    return make_record("a.py::test_a", **{**usual, "measurements": {"single": rate}, **more})


def scaled(factor: float, *samples: float) -> tuple[float, ...]:
    return tuple(factor * sample for sample in samples or STEADY)


def test_a_change_beyond_the_spread() -> None:
    (change,) = measurement_changes(make_report(measured(*STEADY)), make_report(measured(*scaled(0.9))))
    assert change.worse
    assert str(change) == ("performance ray-v2, single: 100 ± 0.5 → 90 ± 0.45 tokens/s (-10 %; 5 and 5 samples)")


@pytest.mark.parametrize(
    ("better", "factor", "worse"), [("higher", 1.1, False), ("lower", 1.1, True), ("lower", 0.9, False)]
)
def test_what_is_better(better: str, factor: float, worse: bool) -> None:
    old = make_report(measured(*STEADY, better=better))
    (change,) = measurement_changes(old, make_report(measured(*scaled(factor), better=better)))
    assert change.worse is worse


@pytest.mark.parametrize("factor", [0.98, 1.0, 1.02])
def test_a_change_within_the_spread_is_none(factor: float) -> None:
    assert not measurement_changes(make_report(measured(*STEADY)), make_report(measured(*scaled(factor))))


def test_the_wider_the_samples_spread_the_more_it_takes() -> None:
    noisy = (60.0, 140.0, 100.0, 80.0, 120.0)
    assert not measurement_changes(make_report(measured(*noisy)), make_report(measured(*scaled(0.5, *noisy))))
    assert measurement_changes(make_report(measured(*STEADY)), make_report(measured(*scaled(0.5))))


def test_a_sample_far_out_does_not_hide_a_change() -> None:
    assert spread_of((*STEADY, 1000.0)) < 2
    assert measurement_changes(make_report(measured(*STEADY, 1000.0)), make_report(measured(*scaled(0.9))))


@pytest.mark.parametrize(
    "other",
    [
        measured(50.0, 51.0),
        measured(*scaled(0.5), unit="tokens/min"),
        measured(*scaled(0.5), outcome="error"),
        measured(*scaled(0.5), parameters={"executor": "mp"}),
        measured(*scaled(0.5), measurements={}),
    ],
    ids=["too few samples", "another unit", "it failed", "other parameters", "no longer measured"],
)
def test_what_cannot_be_compared(other: TestRecord) -> None:
    assert not measurement_changes(make_report(measured(*STEADY)), make_report(other))


def test_samples_of_several_runs_are_put_together() -> None:
    one, two = (Measurement(unit="s", samples=samples, better="lower") for samples in ((1.0,), (2.0,)))
    assert pool(pool(None, one), two).samples == (1.0, 2.0)
    assert pool(one, one).samples == (1.0,)
    sources = [Source(Path(path), make_report(measured(*samples))) for path, samples in (("a", (1, 2)), ("b", (3,)))]
    (merged,) = reports_of(merge(sources))
    assert merged.results[0].measurements["single"].samples == (1.0, 2.0, 3.0)


def test_what_is_worse_fails_the_comparison() -> None:
    worse = compare([make_report(measured(*STEADY))], [make_report(measured(*scaled(0.9)))])
    assert worse.worse
    said = "performance ray-v2, single: 100 ± 0.5 → 90 ± 0.45 tokens/s (-10 %; 5 and 5 samples)"
    assert f"  ! worse          {said}" in text(worse).splitlines()
    assert "0 worse, 1 slower" not in text(worse)
    assert f"- **worse** `{said}`" in markdown(worse).splitlines()
    better = compare([make_report(measured(*STEADY))], [make_report(measured(*scaled(1.1)))])
    assert not better.worse
    assert "    better         performance ray-v2, single" in text(better)
