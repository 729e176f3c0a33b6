"""What flows measured, for a reader: a median for each name, and how much the samples spread."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from pytest_raycompat.compare.measuring import measurements_of, spread_of
from pytest_raycompat.report.document import TestRecord


@dataclass(frozen=True)
class Row:
    """One measurement of one flow."""

    flow: str
    parameters: str
    name: str
    value: str
    """``436 ± 3 tokens/s``; without a spread where there are too few samples for one."""
    samples: int


def measured_rows(records: Iterable[TestRecord]) -> list[Row]:
    """List what flows that ended ``ok`` measured."""
    rows = []
    for ((flow, parameters), name), measurement in measurements_of(records).items():
        samples = measurement.samples
        if not samples:
            continue
        spread = f" ± {spread_of(samples):.2g}" if len(samples) > 1 else ""
        value = f"{statistics.median(samples):.4g}{spread} {measurement.unit}"
        rows.append(Row(flow, parameters, name, value, len(samples)))
    return rows


def measured_lines(records: Iterable[TestRecord]) -> list[str]:
    """Write the rows for a terminal, each flow's under its name."""
    lines: list[str] = []
    for row in measured_rows(records):
        head = f"measured: {row.flow} {row.parameters}".rstrip()
        if head not in lines:
            lines.append(head)
        lines.append(f"  {row.name:<14}  {row.value} ({row.samples} sample{'s' if row.samples > 1 else ''})")
    return lines
