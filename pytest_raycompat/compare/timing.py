"""What takes longer than before, or does less a second, as far as the reports let that be told from noise."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from pytest_raycompat.report.document import AttemptRecord, Report, TestRecord
from pytest_raycompat.report.terminal import describe_parameters

ENOUGH_SAMPLES = 3
"""With fewer runs the spread of a side is not known."""
FAILING_RATIO = 1.25
"""From here on a change for the worse fails the comparison, where the spread of both sides is known."""

Unit = Literal["s", "/s"]
Noise = Literal["known", "known on one side", "not known"]


@dataclass(frozen=True)
class Least:
    """What is too little to be said: a difference in seconds, and a ratio."""

    seconds: float
    ratio: float


SMALLEST: dict[Noise, Least] = {
    "known": Least(0.5, 1.1),
    "known on one side": Least(0.5, 1.1),
    "not known": Least(2.0, 1.5),
}


class TimingChange(msgspec.Struct, frozen=True, kw_only=True):
    """A phase of a flow whose time changed, or what a flow does a second. Both sides are medians."""

    flow: str
    parameters: str
    phase: str
    """The phase, or what is counted, such as ``tokens``."""
    unit: Unit
    old: float
    new: float
    old_samples: int
    new_samples: int
    noise: Noise
    """Whether there are enough runs on both sides, or on one, to know how much they differ by themselves."""
    worse: bool
    """Whether it fails the comparison."""

    @property
    def slower(self) -> bool:
        """Whether it is a change for the worse, however sure."""
        return (self.new > self.old) is (self.unit == "s")

    def __str__(self) -> str:
        percent = (self.new / self.old - 1) * 100 if self.old else 0.0
        runs = f"{self.old_samples} and {self.new_samples} runs"
        how = {
            "known": runs,
            "known on one side": f"beyond the noise of one side: {runs}, {ENOUGH_SAMPLES} each would decide",
            "not known": f"may be noise: {runs}, {ENOUGH_SAMPLES} each would tell",
        }[self.noise]
        name = " ".join(filter(None, (self.flow, self.parameters)))
        what, unit = (f"{self.phase}:", " s") if self.unit == "s" else ("", f" {self.phase}/s")
        said = f"{self.old:.1f}{unit} → {self.new:.1f}{unit} ({percent:+.0f} %; {how})"
        return f"{name}, {' '.join(filter(None, (what, said)))}"


Key = tuple[str, str]
Measured = tuple[str, Unit]


class Samples:
    """What the runs of a flow took and did; tests that share a run have the same, which counts once."""

    def __init__(self) -> None:
        self._timings: list[Mapping[str, float]] = []
        self._rates: list[Mapping[str, float]] = []

    def add(self, timings: Iterable[Mapping[str, float]], rates: Iterable[Mapping[str, float]]) -> None:
        """Add runs."""
        self._timings += [one for one in timings if one and one not in self._timings]
        self._rates += [one for one in rates if one and one not in self._rates]

    def values(self) -> dict[Measured, list[float]]:
        """List what was measured."""
        found: dict[Measured, list[float]] = {}
        sides: tuple[tuple[Unit, list[Mapping[str, float]]], ...] = (("s", self._timings), ("/s", self._rates))
        for unit, samples in sides:
            for sample in samples:
                for name, value in sample.items():
                    found.setdefault((name, unit), []).append(value)
        return found


def samples_of(records: Iterable[TestRecord]) -> dict[Key, dict[Measured, list[float]]]:
    """Collect what was measured of each flow that ended ``ok``: in its runs, and in earlier attempts."""
    found: dict[Key, Samples] = {}
    for record in records:
        if record.flow is None:
            continue
        tried: list[TestRecord | AttemptRecord] = [record]
        tried += record.attempts
        runs = [one for one in tried if one.outcome == "ok"]
        if runs:
            ours = found.setdefault((record.flow, describe_parameters(record)), Samples())
            ours.add([one.timings for one in runs], [one.rates for one in runs])
        if record.outcome == "ok":
            found[record.flow, describe_parameters(record)].add(record.samples, record.rate_samples)
    return {key: samples.values() for key, samples in found.items()}


def timing_changes(old: Report, new: Report) -> tuple[TimingChange, ...]:
    """List the changes that are worth saying, the largest first."""
    before, now = samples_of(old.results), samples_of(new.results)
    changes = [
        change
        for key in sorted(before.keys() & now.keys())
        for measured in sorted(before[key].keys() & now[key].keys())
        if (change := _change(key, measured, before[key][measured], now[key][measured])) is not None
    ]
    return tuple(sorted(changes, key=lambda one: (not one.worse, one.unit == "s", -abs(one.new - one.old))))


def _change(key: Key, measured: Measured, old: Sequence[float], new: Sequence[float]) -> TimingChange | None:
    before, now = statistics.median(old), statistics.median(new)
    known = [side for side in (old, new) if len(side) >= ENOUGH_SAMPLES]
    noise: Noise = "known" if len(known) == 2 else "known on one side" if known else "not known"
    least, unit = SMALLEST[noise], measured[1]
    if (unit == "s" and abs(now - before) < least.seconds) or max(now, before) < least.ratio * min(now, before):
        return None
    spread = max((max(side) - min(side) for side in known), default=0.0)
    apart = max(min(old), min(new)) - min(max(old), max(new))  # below 0 where the two sides overlap
    if known and (apart <= 0 or (abs(now - before) if noise == "known" else apart) <= spread):
        return None  # within what either side shows by itself
    ratio = now / before if unit == "s" else before / max(now, 1e-9)
    return TimingChange(
        flow=key[0],
        parameters=key[1],
        phase=measured[0],
        unit=unit,
        old=before,
        new=now,
        old_samples=len(old),
        new_samples=len(new),
        noise=noise,
        worse=noise == "known" and (unit == "/s" or measured[0] == "total") and ratio >= FAILING_RATIO,
    )
