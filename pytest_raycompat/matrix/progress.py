"""Says what a matrix has come to and what is left: one line for each event, and on a terminal one that changes."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from typing import TextIO

from pytest_raycompat.matrix.cells import Cell
from pytest_raycompat.report.document import Report
from pytest_raycompat.report.terminal import counts, shortened

WIDTH = 110


class Progress:
    """Shows one matrix.

    Args:
        stream: where to.
        total: how many pairs there are to measure.
        clock: seconds, from any beginning.
    """

    def __init__(self, stream: TextIO, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._total = total
        self._clock = clock
        self._done = 0
        self._began = clock()
        self._cell_began = self._began
        self._phase = ""
        self._title = ""

    def begin(self, title: str) -> None:
        """A pair is measured now."""
        self._title, self._phase, self._cell_began = title, "", self._clock()

    def watch(self, phase: str, report: Callable[[], Report | None] = lambda: None) -> None:
        """The pair has come to ``phase``; called again and again while it lasts."""
        if phase != self._phase:
            self._phase = phase
            self._line(f"{self._head()}: {phase}{self._left() if phase == 'building' else ''}")
        elif self._stream.isatty():
            found = report()
            done = [one for one in found.results if one.verdict != "untested"] if found is not None else []
            said = f", {len(done)} of {len(found.results)} tests: {counts(done)}" if found is not None and done else ""
            line = f"  {phase} for {self._clock() - self._cell_began:.0f} s{said}"
            width = min(WIDTH, shutil.get_terminal_size().columns - 1)  # a second row would not be cleared
            self._stream.write(f"\r\033[K{shortened(line, width)}")
            self._stream.flush()

    def end(self, cell: Cell, report: Report | None) -> None:
        """A pair is over."""
        seconds = self._clock() - self._cell_began
        head = self._head()
        self._done += 1
        self._line(f"{head}: {tell(cell, report)} ({seconds:.0f} s)")
        for note in cell.notes:
            self._line(f"  note: {note}")

    def say(self, text: str) -> None:
        """Say what else a reader should know."""
        self._line(text)

    def _head(self) -> str:
        return f"[{self._done + 1}/{self._total}] {self._title}"

    def _left(self) -> str:
        if not self._done:
            return ""
        left = (self._cell_began - self._began) / self._done * (self._total - self._done)
        return f"; about {duration(left)} left"

    def _line(self, text: str) -> None:
        clear = "\r\033[K" if self._stream.isatty() else ""
        self._stream.write(f"{clear}{text}\n")
        self._stream.flush()


def tell(cell: Cell, report: Report | None) -> str:
    """Say in one line what became of a pair."""
    if cell.state == "measured" and report is not None:
        return counts(report.results) or "no tests"
    return f"{cell.state}: {shortened(' '.join(cell.reason.split()), 2 * WIDTH)}"


def duration(seconds: float) -> str:
    """Write seconds as a person says them: ``50 s``, ``12 min``, ``2 h 5 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
