"""Cells: what was found out about each pair, as files, so that an interrupt loses and repeats none.

A folder has ``matrix.json`` (what is measured), ``cells/NAME/cell.json`` and ``report.json``, and ``logs/NAME/``. A
cell is over when its ``cell.json`` is there, which is written last.
"""

from __future__ import annotations

import contextlib
import fcntl
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from pytest_raycompat.files import UNREADABLE, write_file
from pytest_raycompat.records import RED
from pytest_raycompat.report.document import MachineRecord, Report, ReportError, read_report

State = Literal["measured", "unresolvable", "unbuildable", "unreachable", "disk-full", "unfinished"]
"""``measured``: the suites ran to their end. ``unresolvable``: no distributions meet what the pair requires.
``unbuildable``: one cannot be installed. ``unreachable``: the package index could not be reached. ``disk-full``: there
was no room. ``unfinished``: pytest ended before its tests did."""
PASSING: frozenset[str] = frozenset({"unreachable", "disk-full"})
"""States that say nothing of the pair: such a cell is measured again when the matrix goes on."""

CELL = "cell.json"
REPORT = "report.json"


class StoreError(ValueError):
    """A folder cannot take the cells of this matrix; says why."""


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one pair."""

    name: str
    ray: str
    """As it was asked for: a version, or one with a digest for a wheel or folder of one's own."""
    vllm: str
    """The same; ``none`` without."""
    device: Literal["cpu", "cuda"]
    state: State
    reason: str = ""
    """Why it is not ``measured``, in the words of the resolver where those are."""
    notes: tuple[str, ...] = ()
    """What a reader should know, such as that a release was yanked."""
    measured: str = ""
    """When it began, ISO 8601 with time zone."""
    build_s: float = 0.0
    """Seconds that building took; of an environment that was there, when it was built."""
    run_s: float = 0.0
    """Seconds that pytest took."""
    exclude_newer: str | None = None
    """The day as of which its environment was resolved; None for the day when it was built."""
    machine: MachineRecord | None = None
    project_version: str = ""
    git_revision: str | None = None
    """Revision of the checkout that pytest ran in."""
    arguments: tuple[str, ...] = ()
    """Of pytest."""
    distributions: tuple[str, ...] = ()
    """What its environment had, as ``pip freeze`` lists it."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What the cells of a folder have in common."""

    arguments: tuple[str, ...]
    device: Literal["cpu", "cuda"]
    python: str
    """Of the environments, such as ``3.12``."""

    def __str__(self) -> str:
        return f"'{shlex.join(self.arguments)}' on {self.device} with Python {self.python}"


class CellStore:
    """The cells in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextlib.contextmanager
    def open(self, request: Request) -> Iterator[None]:
        """Have the folder to oneself, for cells of this request.

        Raises:
            StoreError: another process has it, or it holds cells of another request.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("w") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StoreError(f"--output: {self.folder} is in use by another run: wait for it") from None
            self.check(request)
            write_file(self.folder / "matrix.json", msgspec.json.format(msgspec.json.encode(request), indent=2) + b"\n")
            yield

    def check(self, request: Request) -> None:
        """Look whether the folder can take cells of this request; nothing is written.

        Raises:
            StoreError: it holds cells of another one, or something else.
        """
        path = self.folder / "matrix.json"
        if not path.is_file():
            if any(self.folder.glob("cells/*")) or any(self.folder.glob("*.json")):
                raise StoreError(f"--output: {self.folder} has files that are not of a matrix: name another folder")
            return
        try:
            found = msgspec.json.decode(path.read_bytes(), type=Request)
        except UNREADABLE as error:
            raise StoreError(f"{path}: not of a matrix: {error}") from error
        if found != request and any(self.folder.glob(f"cells/*/{CELL}")):  # without any, pytest refused the other one
            raise StoreError(
                f"--output: {self.folder} holds cells of {found}, not of {request}: name another folder, or remove it"
            )

    def paths(self, name: str) -> tuple[Path, Path]:
        """Return where the report of a cell and its logs are."""
        return self.folder / "cells" / name / REPORT, self.folder / "logs" / name

    def find(self, name: str) -> Cell | None:
        """Read a cell; None where it is not over, or what says so is damaged."""
        return read_cell(self.folder / "cells" / name)

    def begin(self, name: str) -> None:
        """Forget what is left of a cell that is measured now."""
        for folder in (self.folder / "cells" / name, self.folder / "logs" / name):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True, exist_ok=True)

    def finish(self, cell: Cell) -> None:
        """Write down what became of a cell."""
        encoded = msgspec.json.format(msgspec.json.encode(cell), indent=2) + b"\n"
        write_file(self.folder / "cells" / cell.name / CELL, encoded)

    def report(self, name: str) -> Report | None:
        """Read the report of a cell, also of one that did not finish; None where it has none."""
        return read_cell_report(self.folder / "cells" / name)


def read_cell(folder: Path) -> Cell | None:
    """Read the cell of a folder; None where it is not over, or what says so is damaged."""
    try:
        cell = msgspec.json.decode((folder / CELL).read_bytes(), type=Cell)
    except (OSError, *UNREADABLE):
        return None
    if cell.state == "measured" and read_cell_report(folder) is None:
        return None
    return cell


def read_cell_report(folder: Path) -> Report | None:
    """Read the report beside a cell; None where there is none that can be read."""
    try:
        return read_report(folder / REPORT)
    except (OSError, ReportError):
        return None


def is_red(cell: Cell, report: Report | None) -> bool:
    """Whether a cell must fail the matrix: it has no verdicts, or a red one."""
    if cell.state != "measured" or report is None:
        return True
    return any(record.verdict in RED for record in report.results)
