"""What a flow measured, before and now, judged against how much its own samples spread."""

from __future__ import annotations

import statistics
from collections.abc import Iterable

import msgspec

from pytest_raycompat.compare.timing import ENOUGH_SAMPLES, Key
from pytest_raycompat.records import Measurement
from pytest_raycompat.report.document import Report, TestRecord
from pytest_raycompat.report.terminal import describe_parameters

SPREADS = 3.0
"""By how many spreads, those of both sides together, medians must differ for a change to be one."""


class MeasurementChange(msgspec.Struct, frozen=True, kw_only=True):
    """A measurement that changed. Values are medians in ``unit``."""

    flow: str
    parameters: str
    name: str
    unit: str
    old: float
    new: float
    old_spread: float
    """Half the distance between the quartiles of its samples."""
    new_spread: float
    old_samples: int
    new_samples: int
    worse: bool
    """Whether it changed for the worse."""

    def __str__(self) -> str:
        percent = f" ({(self.new / self.old - 1) * 100:+.0f} %" if self.old else " ("
        counts = f"{self.old_samples} and {self.new_samples} samples)"
        sides = (f"{value:.4g} ± {spread:.2g}" for value, spread in self._sides())
        name = " ".join(filter(None, (self.flow, self.parameters)))
        return f"{name}, {self.name}: {' → '.join(sides)} {self.unit}{percent}{'; ' if self.old else ''}{counts}"

    def _sides(self) -> tuple[tuple[float, float], ...]:
        return ((self.old, self.old_spread), (self.new, self.new_spread))


def pool(kept: Measurement | None, other: Measurement) -> Measurement:
    """Put the samples of two runs together; those of one and the same run count once."""
    if kept is None or kept.samples == other.samples:
        return other
    return msgspec.structs.replace(kept, samples=(*kept.samples, *other.samples))


def measurements_of(records: Iterable[TestRecord]) -> dict[tuple[Key, str], Measurement]:
    """Collect what each flow measured, each run once: tests that share a run have the same."""
    found: dict[tuple[Key, str], list[Measurement]] = {}
    for record in records:
        if record.flow is None or record.outcome != "ok":
            continue
        for name, measurement in record.measurements.items():
            ours = found.setdefault(((record.flow, describe_parameters(record)), name), [])
            if measurement not in ours:
                ours.append(measurement)
    pooled: dict[tuple[Key, str], Measurement] = {}
    for key, several in found.items():
        for one in several:
            pooled[key] = pool(pooled.get(key), one)
    return pooled


def spread_of(samples: Iterable[float]) -> float:
    """Return half the distance between the quartiles: a sample far out does not move it."""
    low, _, high = statistics.quantiles(samples, n=4, method="inclusive")
    return (high - low) / 2


def measurement_changes(old: Report, new: Report) -> tuple[MeasurementChange, ...]:
    """List what changed by more than the samples spread by themselves; with too few of these nothing can be said."""
    before, now = measurements_of(old.results), measurements_of(new.results)
    changes = [
        change
        for key in sorted(before.keys() & now.keys())
        if (change := _change(*key, before[key], now[key])) is not None
    ]
    return tuple(sorted(changes, key=lambda one: (not one.worse, one.flow, one.parameters, one.name)))


def _change(key: Key, name: str, old: Measurement, new: Measurement) -> MeasurementChange | None:
    if min(len(old.samples), len(new.samples)) < ENOUGH_SAMPLES or old.unit != new.unit:
        return None
    before, now = statistics.median(old.samples), statistics.median(new.samples)
    spreads = spread_of(old.samples), spread_of(new.samples)
    if abs(now - before) <= SPREADS * sum(spreads):
        return None
    return MeasurementChange(
        flow=key[0],
        parameters=key[1],
        name=name,
        unit=new.unit,
        old=before,
        new=now,
        old_spread=spreads[0],
        new_spread=spreads[1],
        old_samples=len(old.samples),
        new_samples=len(new.samples),
        worse=(now > before) == (new.better == "lower"),
    )
