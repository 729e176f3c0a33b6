"""What flows measured and how long their phases took, before and now, judged against how much the samples spread."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import msgspec

from pytest_raycompat.records import Measurement
from pytest_raycompat.report.document import AttemptRecord, Report, TestRecord
from pytest_raycompat.report.terminal import describe_parameters

ENOUGH_SAMPLES = 3
"""With fewer samples the spread of a side is not known."""
ENOUGH_FOR_QUARTILES = 5
"""With fewer samples the quartiles say less than the smallest and the largest."""
SPREADS = 3.0
"""By how many spreads, those of both sides together, medians must differ for a change to be one."""
FAILING_RATIO = 1.25
"""From here on a ``total`` that grew fails the comparison, where the spread of both sides is known."""

Noise = Literal["known", "known on one side", "not known"]


@dataclass(frozen=True)
class Least:
    """What is too little to be said: of the time of a phase a difference in seconds and a ratio, else a ratio."""

    seconds: float
    phase_ratio: float
    ratio: float


SMALLEST: dict[Noise, Least] = {
    "known": Least(0.5, 1.1, 1.0),
    "known on one side": Least(0.5, 1.1, 1.1),
    "not known": Least(2.0, 1.5, 1.5),
}


class Subject(NamedTuple):
    """What was measured of which flow."""

    flow: str
    parameters: str
    name: str


class MeasurementChange(msgspec.Struct, frozen=True, kw_only=True):
    """A measurement, or the time of a phase, that changed. Values are medians in ``unit``."""

    flow: str
    parameters: str
    name: str
    """Of the measurement, or of the phase."""
    phase: bool
    """Whether it is the time of a phase."""
    unit: str
    better: Literal["lower", "higher"]
    old: float
    new: float
    old_spread: float | None
    """How far its samples are from each other, see :func:`spread_of`; None where there is one sample."""
    new_spread: float | None
    old_samples: int
    new_samples: int
    noise: Noise
    """Whether there are enough samples on both sides, or on one, to know how much they differ by themselves."""
    worse: bool
    """Whether it fails the comparison."""

    @property
    def for_the_worse(self) -> bool:
        """Whether it is a change for the worse, however sure."""
        return (self.new > self.old) is (self.better == "lower")

    @property
    def how(self) -> str:
        """What it became, in a word."""
        if self.unit in ("s", "ms") or self.unit.endswith("/s"):
            return "slower" if self.for_the_worse else "faster"
        return "worse" if self.for_the_worse else "better"

    def __str__(self) -> str:
        samples = f"{self.old_samples} and {self.new_samples} samples"
        noise = {
            "known": samples,
            "known on one side": f"beyond the noise of one side: {samples}, {ENOUGH_SAMPLES} each would decide",
            "not known": f"may be noise: {samples}, {ENOUGH_SAMPLES} each would tell",
        }[self.noise]
        percent = f"{(self.new / self.old - 1) * 100:+.0f} %; " if self.old else ""
        name = " ".join(filter(None, (self.flow, self.parameters)))
        sides = f"{with_spread(self.old, self.old_spread)} → {with_spread(self.new, self.new_spread)}"
        return f"{name}, {self.name}: {sides} {self.unit} ({percent}{noise})"


def with_spread(value: float, spread: float | None) -> str:
    """Write a median: ``436 ± 3``."""
    return f"{value:.4g}" if spread is None else f"{value:.4g} ± {spread:.2g}"


def spread_of(samples: Sequence[float]) -> float | None:
    """Return half the distance between the quartiles, which a sample far out does not move; of one sample None.

    Of fewer than five samples, of which quartiles say little, half the distance between the smallest and the largest.
    """
    if len(samples) < 2:
        return None
    if len(samples) < ENOUGH_FOR_QUARTILES:
        return (max(samples) - min(samples)) / 2
    low, _, high = statistics.quantiles(samples, n=4, method="inclusive")
    return (high - low) / 2


def pool(kept: Measurement | None, other: Measurement) -> Measurement:
    """Put the samples of runs together; a run that is on both sides counts once."""
    if kept is None or _holds(other.samples, kept.samples):
        return other
    if _holds(kept.samples, other.samples):
        return kept
    return msgspec.structs.replace(kept, samples=(*kept.samples, *other.samples))


def _holds(samples: tuple[float, ...], others: tuple[float, ...]) -> bool:
    """Whether the samples have the others among them, one after the other, as where runs were put together."""
    return any(samples[at : at + len(others)] == others for at in range(len(samples) - len(others) + 1))


def _ended_ok(record: TestRecord) -> list[TestRecord | AttemptRecord]:
    """List a test and its earlier attempts, those whose flow ended ``ok``."""
    tried: list[TestRecord | AttemptRecord] = [record, *record.attempts]
    return [one for one in tried if one.outcome == "ok"]


def measurements_of(records: Iterable[TestRecord]) -> dict[Subject, Measurement]:
    """Collect what each flow that ended ``ok`` measured, each run once: tests that share a run have the same."""
    found: dict[Subject, Measurement] = {}
    for record in records:
        for one in _ended_ok(record) if record.flow is not None else ():
            for name, measurement in one.measurements.items():
                subject = Subject(record.flow or "", describe_parameters(record), name)
                found[subject] = pool(found.get(subject), measurement)
    return found


def timings_of(records: Iterable[TestRecord]) -> dict[Subject, Measurement]:
    """Collect the seconds of the phases of each flow that ended ``ok``, each run once."""
    runs: dict[tuple[str, str], list[Mapping[str, float]]] = {}
    for record in records:
        if record.flow is None:
            continue
        ours = runs.setdefault((record.flow, describe_parameters(record)), [])
        timings = [one.timings for one in _ended_ok(record)]
        timings += record.samples if record.outcome == "ok" else ()
        for one in timings:
            if one and one not in ours:
                ours.append(one)
    samples: dict[Subject, list[float]] = {}
    for key, timings_of_flow in runs.items():
        for run in timings_of_flow:
            for phase, seconds in run.items():
                samples.setdefault(Subject(*key, phase), []).append(seconds)
    return {
        subject: Measurement(unit="s", samples=tuple(several), better="lower") for subject, several in samples.items()
    }


def measurement_changes(old: Report, new: Report) -> tuple[MeasurementChange, ...]:
    """List the changes that are worth saying: what fails the comparison first, and the largest of each kind first."""
    changes = []
    for phase, collect in ((False, measurements_of), (True, timings_of)):
        before, now = collect(old.results), collect(new.results)
        for subject in sorted(before.keys() & now.keys()):
            change = _change(subject, before[subject], now[subject], phase=phase)
            if change is not None:
                changes.append(change)
    return tuple(sorted(changes, key=lambda one: (not one.worse, one.phase, -_size(one))))


def _size(change: MeasurementChange) -> float:
    """Return how large a change is: in seconds for phases, in parts of what was before for what has other units."""
    return abs(change.new - change.old) / (1.0 if change.phase else change.old or 1.0)


def _change(subject: Subject, old: Measurement, new: Measurement, *, phase: bool) -> MeasurementChange | None:
    if old.unit != new.unit or not old.samples or not new.samples:
        return None
    before, now = statistics.median(old.samples), statistics.median(new.samples)
    known = [spread_of(side.samples) or 0.0 for side in (old, new) if len(side.samples) >= ENOUGH_SAMPLES]
    noise: Noise = "known" if len(known) == 2 else "known on one side" if known else "not known"
    spreads = sum(known) * (2 if len(known) == 1 else 1)  # the other side may spread as much
    if abs(now - before) <= SPREADS * spreads or _is_too_little(before, now, SMALLEST[noise], phase=phase):
        return None
    change = MeasurementChange(
        **subject._asdict(),
        phase=phase,
        unit=new.unit,
        better=new.better,
        old=before,
        new=now,
        old_spread=spread_of(old.samples),
        new_spread=spread_of(new.samples),
        old_samples=len(old.samples),
        new_samples=len(new.samples),
        noise=noise,
        worse=False,
    )
    fails = not phase or (subject.name == "total" and now >= FAILING_RATIO * before)
    return msgspec.structs.replace(change, worse=noise == "known" and change.for_the_worse and fails)


def _is_too_little(before: float, now: float, least: Least, *, phase: bool) -> bool:
    ratio = least.phase_ratio if phase else least.ratio
    return (phase and abs(now - before) < least.seconds) or max(before, now) < ratio * min(before, now)
