"""The cells of an atlas: those of matrices, and reports of single runs, cut to what a repository should keep."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec

from pytest_raycompat.files import write_file
from pytest_raycompat.matrix.cells import CELL, REPORT, Cell, read_cell, read_cell_report
from pytest_raycompat.records import ExceptionRecord
from pytest_raycompat.report.document import (
    AttemptRecord,
    GapRecord,
    Report,
    TestRecord,
    read_reports,
    write_report,
)
from pytest_raycompat.report.terminal import shortened

MOST_CHARACTERS = 2000
"""Of a reason, in an atlas."""
PATH = re.compile(r"(?<![\w.:/])/(?:[^\s/'\":]+/)+([^\s/'\":]+)")
"""An absolute path, and not the rest of an address or of a relative one."""
NAME = re.compile(r"(?!\.+$)[\w.+@-]+", re.ASCII)
"""Of a cell, which is a folder's too: nothing that leads elsewhere."""


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

    @property
    def measured(self) -> datetime:
        """When it was measured."""
        return datetime.fromisoformat(self.cell.measured)

    @property
    def device(self) -> str:
        """Say what it was measured on: ``cpu``, or how many GPUs of which kind."""
        device = self.report.device if self.report is not None else None
        if device is None or device.kind == "cpu":
            return self.cell.device
        return f"{device.count} {' and '.join(dict.fromkeys(device.names)) or 'GPU'}"


def read_entries(paths: Iterable[Path]) -> tuple[Entry, ...]:
    """Read the cells of matrices and atlases, and reports; of the same tests on the same pair the newest run counts.

    Raises:
        AtlasError: a folder has no cell, or one that cannot be read; a report is of a run in which gaps counted as
            failures, or were left out.
        ReportError: a file is not a report.
    """
    found: dict[str, Entry] = {}
    for path in paths:
        for entry in map(of_report, read_reports(path)) if path.is_file() else _cells(path):
            _check(path, entry)
            held = found.get(entry.name)
            if held is None or held.measured <= entry.measured:
                found[entry.name] = entry
    return tuple(found.values())


def _check(path: Path, entry: Entry) -> None:
    cell, report = entry.cell, entry.report
    if NAME.fullmatch(cell.name) is None:
        raise AtlasError(
            f"{path}: {cell.name!r} is not the name of a cell, which is one such as ray-2.60.0-vllm-none-cpu"
        )
    try:
        zone = entry.measured.tzinfo
    except ValueError:
        zone = None
    if zone is None:
        raise AtlasError(
            f"{path}: {cell.name} was measured at {cell.measured!r}, which is not a time with a zone, such as "
            "2026-08-01T12:00:00+00:00"
        )
    if report is not None and report.gaps_mode != "run":
        raise AtlasError(
            f"{path}: {cell.name} was run with --raycompat-gaps-mode={report.gaps_mode}, in which known gaps are not "
            "told from failures: give a report without it"
        )


def _cells(folder: Path) -> Iterator[Entry]:
    paths = sorted(folder.glob(f"cells/*/{CELL}"))
    if not paths:
        raise AtlasError(
            f"{folder}: no cells here: name a folder that 'raycompat matrix' or 'atlas' has written, or a JSON report"
        )
    for path in paths:
        cell = read_cell(path.parent)
        if cell is None:
            raise AtlasError(f"{path}: not a cell, or its report cannot be read")
        yield Entry(cell, read_cell_report(path.parent))


def of_report(report: Report) -> Entry:
    """Make a cell of the report of one run, whatever made its environment."""
    environment, device = report.environment, report.device
    ray, vllm = environment.ray or "none", environment.vllm or "none"
    where = device.kind if device.kind == "cpu" else f"{device.kind}-{device.count}"
    cell = Cell(
        name=f"ray-{ray}-vllm-{vllm}-{where}",
        ray=ray,
        vllm=vllm,
        device=device.kind,
        state="measured" if report.finished else "unfinished",
        reason="" if report.finished else "the run was interrupted; what it did not reach is untested",
        measured=report.created,
        machine=report.machine,
        project_version=report.project_version,
        git_revision=report.git_revision,
        arguments=tuple(sorted({record.file for record in report.results if record.file})),
    )
    return Entry(cell, report)


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
