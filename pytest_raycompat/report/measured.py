"""What flows measured, for a reader: a median for each name, and how much the samples spread."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from pytest_raycompat.compare.measuring import measurements_of, spread_of, with_spread
from pytest_raycompat.markers import plural
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
    for subject, measurement in measurements_of(records).items():
        samples = measurement.samples
        if not samples:
            continue
        value = f"{with_spread(statistics.median(samples), spread_of(samples))} {measurement.unit}"
        rows.append(Row(*subject, value, len(samples)))
    return rows


def measured_lines(records: Iterable[TestRecord]) -> list[str]:
    """Write the rows for a terminal, each flow's under its name.

    Flows that measured everything once are left to the report: what a benchmark measures has several samples.
    """
    flows: dict[str, list[Row]] = {}
    for row in measured_rows(records):
        flows.setdefault(f"measured: {row.flow} {row.parameters}".rstrip(), []).append(row)
    lines: list[str] = []
    for head, rows in flows.items():
        if any(row.samples > 1 for row in rows):
            lines.append(head)
            lines += [f"  {row.name:<14}  {row.value} ({plural(row.samples, 'sample')})" for row in rows]
    return lines
