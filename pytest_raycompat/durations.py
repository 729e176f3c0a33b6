"""How long tests took: workers of pytest-xdist begin with what takes longest, so that no such test comes last."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from pytest_raycompat.compare.change import NOT_RUN
from pytest_raycompat.files import UNREADABLE, write_file
from pytest_raycompat.report.document import TestRecord


def seconds_of(records: Iterable[TestRecord]) -> dict[str, float]:
    """Return how long each test took that was reached, by its id; what lacks something here takes no time."""
    return {
        record.id: 0.0 if record.verdict == "unsupported" else record.seconds
        for record in records
        if record.verdict != "untested"
    }


def kept_in(folder: Path, device: str) -> Path:
    """Name the file in which a folder of runs keeps how long tests took on a device when they last ran there."""
    return folder / f"durations-{device}.json"


def read_durations(path: Path) -> dict[str, float]:
    """Read what is kept; nothing where there is nothing, or what is there cannot be read: it is a matter of order."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, float])
    except (OSError, *UNREADABLE):
        return {}


def keep_durations(path: Path, records: Iterable[TestRecord]) -> None:
    """Keep how long tests took, beside what is kept of others; what lacks something may run with another pair."""
    records = list(records)
    if seconds := seconds_of(records):
        ran = {record.id: record.seconds for record in records if record.verdict not in NOT_RUN}
        write_file(path, msgspec.json.encode({**seconds, **read_durations(path), **ran}))
