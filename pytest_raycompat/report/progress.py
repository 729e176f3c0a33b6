"""What a run is doing, shown while it does it, whatever pytest captures."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pytest

from pytest_raycompat.report.status import StatusLines
from pytest_raycompat.report.terminal import shortened
from pytest_raycompat.state import COLLECTOR

WORTH_SAYING_S = 2.0
"""How long a phase must have been going on to get a line of its own, where lines cannot be rewritten, in seconds."""
REPEAT_S = 30.0
"""How often such a phase is said again, in seconds."""


@dataclass(frozen=True)
class Doing:
    """A flow in a phase. ``since`` and ``until``, when it will be ended, are of the machine's monotonic clock."""

    title: str
    phase: str
    since: float
    until: float
    worker: str = ""
    """The worker of pytest-xdist that runs it."""

    def line(self, now: float, room: int, rest: str = "") -> str:
        """Write it in ``room`` columns: the title gives way, and what changes stays."""
        said = f": {self.phase} {now - self.since:.0f} s, deadline in {max(0.0, self.until - now):.0f} s{rest}"
        start = f"  {self.worker} " if self.worker else "  "
        return f"{start}{shortened(self.title, max(12, room - len(start) - len(said)))}{said}"


@dataclass
class Said:
    """When which phases were said, where each gets a line of its own."""

    at: dict[tuple[str, str, str], float] = field(default_factory=dict)

    def is_due(self, doing: Doing, now: float) -> bool:
        """Whether a phase is to be said now, for the first time or again; notes that it is."""
        key = (doing.worker, doing.title, doing.phase)
        last = self.at.get(key)
        if now - doing.since < WORTH_SAYING_S if last is None else now - last < REPEAT_S:
            return False
        for other in [one for one in self.at if one[0] == doing.worker]:  # which is over
            del self.at[other]
        self.at[key] = now
        return True


class Shown:
    """Shows what goes on: on a terminal in lines that are rewritten, else in a line for each phase that takes long."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._began = time.monotonic()
        self._said = Said()

    @cached_property
    def _reporter(self) -> Any:
        return self._config.pluginmanager.get_plugin("terminalreporter")  # not there yet when plugins are configured

    @cached_property
    def _status(self) -> StatusLines:
        return StatusLines(self._config.get_terminal_writer())

    @cached_property
    def wanted(self) -> bool:
        """Whether there is anything to show it on."""
        return self._config.get_verbosity() >= 0 and self._reporter is not None

    def show(self, doings: Sequence[Doing]) -> None:
        """Show what goes on now, which may be nothing."""
        if not self.wanted:
            return
        now = time.monotonic()
        width = self._config.get_terminal_writer().fullwidth - 2
        if not self._status.usable:
            for doing in doings:
                if self._said.is_due(doing, now):
                    self._write_line(doing.line(now, width, f" ({self._so_far(now)})"))
        elif len(doings) == 1:
            self._status.draw([doings[0].line(now, width, f" ({self._so_far(now)})")])
        else:
            lines = [doing.line(now, width) for doing in doings]
            self._status.draw([*lines, f"  {self._so_far(now)}"] if lines else [])

    def clear(self) -> None:
        """Take away what can be taken away: pytest goes on writing."""
        if self.wanted:
            self._status.clear()

    def _write_line(self, line: str) -> None:
        self._reporter.ensure_newline()
        writer = self._config.get_terminal_writer()
        if writer.width_of_current_line:  # dots of pytest-xdist, of which the reporter does not know
            writer.line()
        self._reporter.write_line(line)

    def _so_far(self, now: float) -> str:
        """Say how much of the run is done, and how long it has been going on."""
        minutes, seconds = divmod(int(now - self._began), 60)
        collector = self._config.stash.get(COLLECTOR, None)
        if collector is None:
            return f"{minutes}:{seconds:02}"
        done, expected, red = collector.progress
        return f"{done}/{expected} done, {f'{red} red, ' if red else ''}{minutes}:{seconds:02}"


class Progress:
    """Shows what the flows of this process do."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._shown = Shown(config)

    @contextlib.contextmanager
    def _uncaptured(self) -> Iterator[None]:
        capture: Any = self._config.pluginmanager.get_plugin("capturemanager")
        with capture.global_and_fixture_disabled():
            yield

    def show(self, title: str, phase: str, seconds: float, left: float) -> None:
        """Show that ``title`` is in ``phase``, since when, and when it will be ended, in seconds."""
        if self._shown.wanted:
            now = time.monotonic()
            with self._uncaptured():
                self._shown.show([Doing(title, phase, now - seconds, now + left)])

    def clear(self) -> None:
        """Take it away: the flow is over, and pytest goes on writing."""
        if self._shown.wanted:
            with self._uncaptured():
                self._shown.clear()
