"""How long the phases of each flow took, as bars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_raycompat.report.document import TestRecord
from pytest_raycompat.report.terminal import describe_parameters

MOST_BARS = 30
WIDTH = 1000.0
"""Of the longest bar, in units of the drawing."""


@dataclass(frozen=True)
class Part:
    """One phase; ``index`` is its place in the legend."""

    x: float
    width: float
    index: int
    words: str


@dataclass(frozen=True)
class Bar:
    """One flow, in one environment."""

    name: str
    about: str
    parts: tuple[Part, ...]
    total: str
    words: str


@dataclass(frozen=True)
class Chart:
    """The longest flows; ``left`` is how many more there are."""

    bars: tuple[Bar, ...]
    phases: tuple[str, ...]
    left: int


def chart_of(tests: Sequence[tuple[int, TestRecord]], names: Sequence[str]) -> Chart:
    """Draw the flows of tests, each by the number of its environment."""
    flows: dict[tuple[int, str, str], dict[str, float]] = {}
    for column, record in tests:
        if record.flow is not None and record.timings:
            flows.setdefault((column, record.flow, describe_parameters(record)), record.timings)
    phases = tuple(dict.fromkeys(phase for timings in flows.values() for phase in timings if phase != "total"))
    slowest: dict[tuple[str, str], float] = {}  # the environments of a flow stay together
    for (_, *flow), timings in flows.items():
        name, parameters = flow
        slowest[name, parameters] = max(slowest.get((name, parameters), 0.0), _total(timings))
    longest = sorted(flows.items(), key=lambda one: (-slowest[one[0][1:]], one[0][1:], one[0][0]))
    scale = WIDTH / max((_total(timings) for _, timings in longest), default=1.0)
    bars = [
        _bar(flow, f"{parameters}{f', {names[column]}' if len(names) > 1 else ''}", timings, phases, scale)
        for (column, flow, parameters), timings in longest[:MOST_BARS]
    ]
    return Chart(tuple(bars), phases, max(0, len(longest) - MOST_BARS))


def _total(timings: dict[str, float]) -> float:
    parts = sum(seconds for phase, seconds in timings.items() if phase != "total")
    return max(timings.get("total", 0.0), parts, 1e-9)


def _bar(name: str, about: str, timings: dict[str, float], phases: Sequence[str], scale: float) -> Bar:
    x = 0.0
    parts = []
    for index, phase in enumerate(phases):
        if phase in timings:
            width = round(timings[phase] * scale, 2)
            parts.append(Part(round(x, 2), width, index, f"{phase} {timings[phase]:.1f} s"))
            x += width
    words = ", ".join(part.words for part in parts) or f"{_total(timings):.1f} s"
    return Bar(name, about, tuple(parts), f"{_total(timings):.1f} s", words)
