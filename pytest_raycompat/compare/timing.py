"""What takes longer than before, as far as the reports let that be told from noise."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping

import msgspec

from pytest_raycompat.report.document import Report, TestRecord
from pytest_raycompat.report.terminal import describe_parameters

ENOUGH_SAMPLES = 3
"""With fewer runs on either side the spread is not known, and a change is only reported."""
SMALLEST_S = 0.5
SMALLEST_RATIO = 1.1
FAILING_RATIO = 1.25
"""From here on a slow-down fails the comparison, where the spread is known and the runs do not overlap."""
UNKNOWN_SMALLEST_S = 2.0
UNKNOWN_SMALLEST_RATIO = 1.5


class TimingChange(msgspec.Struct, frozen=True, kw_only=True):
    """A phase of a flow whose time changed. Seconds are medians."""

    flow: str
    parameters: str
    phase: str
    old_s: float
    new_s: float
    old_samples: int
    new_samples: int
    spread_known: bool
    """Whether there are enough runs on both sides, none of which overlap."""
    worse: bool
    """Whether it fails the comparison."""

    def __str__(self) -> str:
        percent = (self.new_s / self.old_s - 1) * 100 if self.old_s else 0.0
        how = (
            f"{self.old_samples} and {self.new_samples} runs"
            if self.spread_known
            else f"may be noise: {self.old_samples} and {self.new_samples} runs, {ENOUGH_SAMPLES} each would tell"
        )
        name = " ".join(filter(None, (self.flow, self.parameters)))
        return f"{name}, {self.phase}: {self.old_s:.1f} s → {self.new_s:.1f} s ({percent:+.0f} %; {how})"


Key = tuple[str, str]


def samples_of(records: Iterable[TestRecord]) -> dict[Key, list[Mapping[str, float]]]:
    """Collect the timings of each flow that ended ``ok``, each run once: tests that share a run have the same."""
    found: dict[Key, list[Mapping[str, float]]] = {}
    for record in records:
        if record.flow is None or record.outcome != "ok":
            continue
        ours = found.setdefault((record.flow, describe_parameters(record)), [])
        attempts = [attempt.timings for attempt in record.attempts if attempt.outcome == "ok"]
        for timings in (record.timings, *record.samples, *attempts):
            if timings and timings not in ours:
                ours.append(timings)
    return found


def timing_changes(old: Report, new: Report) -> tuple[TimingChange, ...]:
    """List the changes that are worth saying, the largest first."""
    before, now = samples_of(old.results), samples_of(new.results)
    changes = [
        change
        for key in sorted(before.keys() & now.keys())
        for phase in sorted({name for timings in (*before[key], *now[key]) for name in timings})
        if (change := _change(key, phase, _seconds(before[key], phase), _seconds(now[key], phase))) is not None
    ]
    return tuple(sorted(changes, key=lambda one: (not one.worse, -abs(one.new_s - one.old_s))))


def _seconds(samples: Iterable[Mapping[str, float]], phase: str) -> list[float]:
    return [timings[phase] for timings in samples if phase in timings]


def _change(key: Key, phase: str, old: list[float], new: list[float]) -> TimingChange | None:
    if not old or not new:
        return None
    before, now = statistics.median(old), statistics.median(new)
    enough = min(len(old), len(new)) >= ENOUGH_SAMPLES
    if enough and max(min(old), min(new)) <= min(max(old), max(new)):
        return None  # within what either side shows by itself
    smallest_s, smallest_ratio = (
        (SMALLEST_S, SMALLEST_RATIO) if enough else (UNKNOWN_SMALLEST_S, UNKNOWN_SMALLEST_RATIO)
    )
    if abs(now - before) < smallest_s or max(now, before) < smallest_ratio * min(now, before):
        return None
    return TimingChange(
        flow=key[0],
        parameters=key[1],
        phase=phase,
        old_s=before,
        new_s=now,
        old_samples=len(old),
        new_samples=len(new),
        spread_known=enough,
        worse=enough and phase == "total" and now >= FAILING_RATIO * before,
    )
