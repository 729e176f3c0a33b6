"""What is said of timings and throughput, and what is noise."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pytest_raycompat.compare import rendering
from pytest_raycompat.compare.comparison import Comparison, compare
from pytest_raycompat.compare.timing import TimingChange
from pytest_raycompat.report.document import AttemptRecord
from pytest_raycompat.report.document import TestRecord as Record
from tests.making import make_record, make_report


def timed(*totals: float) -> Record:
    samples = tuple({"start": total - 1, "total": total} for total in totals)
    return make_record(
        "a.py::test_a", flow="generate", outcome="ok", timings=samples[0], samples=samples if len(samples) > 1 else ()
    )


def rated(*rates: float) -> Record:
    samples = tuple({"tokens": rate} for rate in rates)
    return make_record("a", flow="generate", outcome="ok", rates=samples[0], rate_samples=samples[1:] and samples)


def totals_of(old: Record, new: Record) -> tuple[list[TimingChange], Comparison]:
    comparison = compare([make_report(old)], [make_report(new)])
    return [one for one in comparison.environments[0].timings if one.phase in ("total", "tokens")], comparison


def test_one_run_each_may_be_noise() -> None:
    (change, _) = compare([make_report(timed(10))], [make_report(timed(20))]).environments[0].timings
    assert str(change) == "generate, start: 9.0 s → 19.0 s (+111 %; may be noise: 1 and 1 runs, 3 each would tell)"
    assert not change.worse
    assert not compare([make_report(timed(10))], [make_report(timed(14))]).environments[0].timings


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
    totals = [change for change in comparison.environments[0].timings if change.phase == "total"]
    assert bool(totals) is said
    assert comparison.worse is worse


def test_tests_that_share_a_flow_are_one_run_of_it() -> None:
    one = timed(10)
    three = [msgspec.structs.replace(one, id=str(number)) for number in range(3)]
    changes = compare([make_report(*three)], [make_report(*three[:1], timed(20))]).environments[0].timings
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
        ((100, 101, 103), (70, 71, 72), "101.0", True),
        ((100, 101, 103), (88, 89, 90), "101.0", False),
        ((100, 101, 103), (130, 131, 133), "101.0", False),
        ((100, 101, 103), (60,), "101.0", False),
        ((100, 60, 140), (75, 80, 85), "", False),
    ],
    ids=["a third less", "a tenth less", "more", "one run now", "noise"],
)
def test_throughput(old: tuple[float, ...], new: tuple[float, ...], said: str, worse: bool) -> None:
    changes, comparison = totals_of(rated(*old), rated(*new))
    assert bool(changes) is bool(said)
    assert comparison.worse is worse
    for change in changes:
        assert change.slower is (new[0] < old[0])


def test_how_it_is_written() -> None:
    _, comparison = totals_of(rated(100, 101, 103), rated(70, 71, 72))
    assert rendering.headline(comparison) == "1 slower"
    assert rendering.text(comparison).splitlines()[-1] == (
        "  ! slower         generate, 101.0 tokens/s → 71.0 tokens/s (-30 %; 3 and 3 runs)"
    )


def test_attempts_that_ended_ok_are_runs_too() -> None:
    def attempts(*totals: float, **fields: Any) -> Record:
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
