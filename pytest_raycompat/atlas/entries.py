"""The cells of an atlas: those of matrices, cut to what a repository should keep."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from pytest_raycompat.files import write_file
from pytest_raycompat.matrix.cells import CELL, REPORT, Cell, read_cell, read_cell_report
from pytest_raycompat.records import ExceptionRecord
from pytest_raycompat.report.document import AttemptRecord, GapRecord, Report, TestRecord, write_report
from pytest_raycompat.report.terminal import shortened

MOST_CHARACTERS = 2000
"""Of a reason, in an atlas."""
PATH = re.compile(r"(?<![\w.:/])/(?:[^\s/'\":]+/)+([^\s/'\":]+)")
"""An absolute path, and not the rest of an address or of a relative one."""


class AtlasError(ValueError):
    """A folder holds no cells, or damaged ones; says which."""


@dataclass(frozen=True)
class Entry:
    """One cell and its report, if it has one."""

    cell: Cell
    report: Report | None

    @property
    def name(self) -> str:
        """Name it so that two runs of one pair with other tests are two entries."""
        digest = hashlib.sha256("\0".join(self.cell.arguments).encode()).hexdigest()[:6]
        return f"{self.cell.name}-{digest}"


def read_entries(folders: Iterable[Path]) -> tuple[Entry, ...]:
    """Read the cells of matrices and atlases; of the same tests on the same pair the newest run counts.

    Raises:
        AtlasError: a folder has none, or one that cannot be read.
    """
    found: dict[str, Entry] = {}
    for folder in folders:
        paths = sorted(folder.glob(f"cells/*/{CELL}"))
        if not paths:
            raise AtlasError(f"{folder}: no cells here: name a folder that 'raycompat matrix' or 'atlas' has written")
        for path in paths:
            cell = read_cell(path.parent)
            if cell is None:
                raise AtlasError(f"{path}: not a cell, or its report cannot be read")
            entry = Entry(cell, read_cell_report(path.parent))
            held = found.get(entry.name)
            if held is None or held.cell.measured <= cell.measured:
                found[entry.name] = entry
    return tuple(found.values())


def write_entries(entries: Iterable[Entry], folder: Path) -> None:
    """Write cells and reports below ``folder``, without what is of one machine alone: paths, logs, tracebacks."""
    for entry in entries:
        place = folder / "cells" / entry.name
        if entry.report is not None:
            write_report(place / REPORT, slim(entry.report))
        cell = msgspec.structs.replace(
            entry.cell,
            reason=_text(entry.cell.reason),
            distributions=tuple(re.sub(r" @ file:.*", " @ file", line) for line in entry.cell.distributions),
        )
        write_file(place / CELL, msgspec.json.format(msgspec.json.encode(cell), indent=2) + b"\n")


def slim(report: Report) -> Report:
    """Cut a report to what a reader of an atlas asks for."""
    return msgspec.structs.replace(
        report,
        environment=msgspec.structs.replace(report.environment, executable="python"),
        baseline=None,
        gaps=tuple(_gap(gap) for gap in report.gaps),
        results=tuple(_record(record) for record in report.results),
    )


def _record(record: TestRecord) -> TestRecord:
    return msgspec.structs.replace(
        record,
        reason=_text(record.reason),
        reproduce=_text(record.reproduce),
        exception=_exception(record.exception),
        chain=(),
        evidence={},
        control=None,
        logs=(),
        log_excerpt="",
        attempts=tuple(_attempt(attempt) for attempt in record.attempts),
        workarounds=tuple(
            msgspec.structs.replace(one, exception=_exception(one.exception)) for one in record.workarounds
        ),
    )


def _attempt(attempt: AttemptRecord) -> AttemptRecord:
    return msgspec.structs.replace(attempt, exception=_exception(attempt.exception), logs=())


def _exception(exception: ExceptionRecord | None) -> ExceptionRecord | None:
    if exception is None:
        return None
    return msgspec.structs.replace(exception, traceback="", message=_text(exception.message))


def _text(text: str) -> str:
    """Cut a text, and paths in it to their last part: they are of one machine."""
    return shortened(PATH.sub(r"…/\1", text), MOST_CHARACTERS)


def _gap(gap: GapRecord) -> GapRecord:
    """Name the file of a gap from the package on, or by its name alone where it is somebody's own."""
    path = Path(gap.path)
    if path.is_absolute():
        ours = "pytest_raycompat" in path.parts
        path = Path(*path.parts[path.parts.index("pytest_raycompat") :]) if ours else Path(path.name)
    return msgspec.structs.replace(gap, path=str(path))


def in_order(entries: Sequence[Entry]) -> list[Entry]:
    """Sort entries: by vLLM, then by Ray, newest first."""
    from packaging.version import Version

    def key(label: str) -> tuple[bool, Version]:
        version = label.partition("@")[0]
        try:
            return True, Version(version)
        except ValueError:
            return False, Version("0")

    return sorted(entries, key=lambda one: (key(one.cell.vllm), key(one.cell.ray)), reverse=True)
