"""What is said of measurements, throughput and timings, and what is noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from pytest_raycompat.compare.comparison import Comparison, compare
from pytest_raycompat.compare.measuring import MeasurementChange, measurement_changes, measurements_of, pool, spread_of
from pytest_raycompat.compare.merge import Source, merge, reports_of
from pytest_raycompat.compare.rendering import headline, markdown, text
from pytest_raycompat.records import Measurement
from pytest_raycompat.report.document import AttemptRecord, TestRecord
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
    assert (spread_of((*STEADY, 1000.0)) or 0) < 2
    assert measurement_changes(make_report(measured(*STEADY, 1000.0)), make_report(measured(*scaled(0.9))))


@pytest.mark.parametrize(
    "other",
    [
        measured(*scaled(0.5), unit="tokens/min"),
        measured(*scaled(0.5), outcome="error"),
        measured(*scaled(0.5), parameters={"executor": "mp"}),
        measured(*scaled(0.5), measurements={}),
    ],
    ids=["another unit", "it failed", "other parameters", "no longer measured"],
)
def test_what_cannot_be_compared(other: TestRecord) -> None:
    assert not measurement_changes(make_report(measured(*STEADY)), make_report(other))


def test_of_few_samples_the_spread_is_that_of_all() -> None:
    assert spread_of((10.0, 12.0, 16.0)) == 3.0
    assert spread_of((10.0, 12.0)) == 1.0
    assert spread_of((10.0,)) is None


def test_too_few_samples_on_one_side_never_fail_the_comparison() -> None:
    (change,) = measurement_changes(make_report(measured(*STEADY)), make_report(measured(50.0, 51.0)))
    assert (change.noise, change.for_the_worse, change.worse) == ("known on one side", True, False)


def test_samples_of_several_runs_are_put_together() -> None:
    one, two = (Measurement(unit="s", samples=samples, better="lower") for samples in ((1.0,), (2.0,)))
    both = pool(pool(None, one), two)
    assert both.samples == (1.0, 2.0)
    assert pool(one, one).samples == (1.0,)
    assert pool(both, two) == pool(two, both) == both
    sources = [Source(Path(path), make_report(measured(*samples))) for path, samples in (("a", (1, 2)), ("b", (3,)))]
    (merged,) = reports_of(merge(sources))
    assert merged.results[0].measurements["single"].samples == (1.0, 2.0, 3.0)
    (again,) = reports_of(merge([Source(Path("merged"), merged), sources[1]]))
    assert again.results[0].measurements == merged.results[0].measurements


def test_what_attempts_measured_counts_where_their_flow_ended_ok() -> None:
    earlier = (
        AttemptRecord(verdict="failed", outcome="ok", measurements=measured(2.0).measurements),
        AttemptRecord(verdict="failed", outcome="error", measurements=measured(3.0).measurements),
    )
    (found,) = measurements_of([measured(1.0, attempts=earlier)]).values()
    assert found.samples == (1.0, 2.0)


def test_what_is_worse_fails_the_comparison() -> None:
    worse = compare([make_report(measured(*STEADY))], [make_report(measured(*scaled(0.9)))])
    assert worse.worse
    said = "performance ray-v2, single: 100 ± 0.5 → 90 ± 0.45 tokens/s (-10 %; 5 and 5 samples)"
    assert f"  ! slower         {said}" in text(worse).splitlines()
    assert f"- **slower** `{said}`" in markdown(worse).splitlines()
    better = compare([make_report(measured(*STEADY))], [make_report(measured(*scaled(1.1)))])
    assert not better.worse
    assert "    faster         performance ray-v2, single" in text(better)


def timed(*totals: float) -> TestRecord:
    samples = tuple({"start": total - 1, "total": total} for total in totals)
    return make_record(
        "a.py::test_a", flow="generate", outcome="ok", timings=samples[0], samples=samples if len(samples) > 1 else ()
    )


def totals_of(old: TestRecord, new: TestRecord) -> tuple[list[MeasurementChange], Comparison]:
    comparison = compare([make_report(old)], [make_report(new)])
    return [one for one in comparison.environments[0].measurements if one.name in ("total", "single")], comparison


def test_one_run_each_may_be_noise() -> None:
    (change, _) = compare([make_report(timed(10))], [make_report(timed(20))]).environments[0].measurements
    assert str(change) == "generate, start: 9 → 19 s (+111 %; may be noise: 1 and 1 samples, 3 each would tell)"
    assert not change.worse
    assert not compare([make_report(timed(10))], [make_report(timed(14))]).environments[0].measurements


@pytest.mark.parametrize(
    ("old", "new", "said", "worse"),
    [
        ((10, 10.2, 10.4), (13, 13.1, 13.5), True, True),
        ((10, 10.2, 10.4), (11.5, 11.6, 11.8), True, False),
        ((10, 10.2, 10.4), (7, 7.1, 7.2), True, False),
        ((10, 10.2, 16.0), (13, 13.1, 13.5), False, False),
        ((10, 10.2, 10.4), (10.5, 10.6, 10.7), False, False),
    ],
    ids=["slower by a third", "slower by a little", "faster", "as noisy as that", "too little"],
)
def test_where_the_noise_is_known(old: tuple[float, ...], new: tuple[float, ...], said: bool, worse: bool) -> None:
    comparison = compare([make_report(timed(*old))], [make_report(timed(*new))])
    totals = [change for change in comparison.environments[0].measurements if change.name == "total"]
    assert bool(totals) is said
    assert comparison.worse is worse


def test_tests_that_share_a_flow_are_one_run_of_it() -> None:
    one = timed(10)
    three = [msgspec.structs.replace(one, id=str(number)) for number in range(3)]
    changes = compare([make_report(*three)], [make_report(*three[:1], timed(20))]).environments[0].measurements
    assert all(change.old_samples == 1 for change in changes)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ((10, 10.2, 10.4), (11.5,), True),
        ((10, 10.2, 10.4), (10.7,), False),
        ((10, 10.2, 14.0), (17.0,), False),
        ((14.0,), (10, 10.2, 10.4), True),
        ((10, 10.2, 10.4), (9.0, 8.8), True),
    ],
    ids=["slower", "a little beyond", "as noisy as that", "many runs now", "faster"],
)
def test_where_the_noise_of_one_side_is_known_a_change_is_said_and_never_worse(
    old: tuple[float, ...], new: tuple[float, ...], said: bool
) -> None:
    changes, comparison = totals_of(timed(*old), timed(*new))
    assert bool(changes) is said
    assert not comparison.worse
    for change in changes:
        assert "beyond the noise of one side" in str(change)


def test_ranges_that_only_just_do_not_overlap_are_noise() -> None:
    assert totals_of(timed(10, 12, 14), timed(14.1, 14.3, 14.4))[0] == []


@pytest.mark.parametrize(
    ("old", "new", "said", "worse"),
    [
        ((100, 101, 103), (70, 71, 72), True, True),
        ((100, 101, 103), (88, 89, 90), True, True),
        ((100, 101, 103), (130, 131, 133), True, False),
        ((100, 101, 103), (60,), True, False),
        ((60,), (100, 101, 103), True, False),
        ((100, 101, 103), (95,), False, False),
        ((100,), (60,), True, False),
        ((100,), (80,), False, False),
        ((100, 60, 140), (75, 80, 85), False, False),
    ],
    ids=[
        "a third less",
        "a tenth less",
        "more",
        "one run now",
        "one run before",
        "one run within the noise",
        "one run each",
        "little, and one run each",
        "noise",
    ],
)
def test_throughput(old: tuple[float, ...], new: tuple[float, ...], said: bool, worse: bool) -> None:
    changes, comparison = totals_of(measured(*old), measured(*new))
    assert bool(changes) is said
    assert comparison.worse is worse
    for change in changes:
        assert change.for_the_worse is (new[0] < old[0])


@pytest.mark.parametrize(
    ("unit", "better", "how"),
    [("tokens/s", "higher", "slower"), ("ms", "higher", "slower"), ("CPU s per s", "higher", "worse")],
)
def test_how_it_is_written(unit: str, better: str, how: str) -> None:
    _, comparison = totals_of(
        measured(100, 101, 103, unit=unit, better=better), measured(70, 71, 72, unit=unit, better=better)
    )
    said = f"performance ray-v2, single: 101 ± 1.5 → 71 ± 1 {unit} (-30 %; 3 and 3 samples)"
    assert headline(comparison) == "1 measurement worse"
    assert text(comparison).splitlines()[-1] == f"  ! {how:<13}  {said}"
    assert f"- **{how}** `{said}`" in markdown(comparison).splitlines()


def test_times_of_phases_and_measurements_are_told_apart_though_their_names_are_the_same() -> None:
    old, new = (measured(100, 101, 103, timings={"single": seconds}) for seconds in (1.0, 30.0))
    (change,) = measurement_changes(make_report(old), make_report(new))
    assert (change.phase, change.unit, change.noise) == (True, "s", "not known")


def test_attempts_that_ended_ok_are_runs_too() -> None:
    def attempts(*totals: float, **fields: Any) -> TestRecord:
        return msgspec.structs.replace(
            timed(totals[0]),
            attempts=tuple(
                AttemptRecord(verdict="failed", outcome="ok", timings={"total": total}) for total in totals[1:]
            ),
            **fields,
        )

    (change,), comparison = totals_of(attempts(10, 10.2, 10.4), attempts(20, 20.2, 20.4))
    assert (change.old_samples, change.new_samples, change.worse) == (3, 3, True)
    assert comparison.worse
    assert totals_of(attempts(10, 10.2, 10.4), attempts(20, 20.2, 20.4, outcome="error"))[0][0].noise == (
        "known on one side"
    )
