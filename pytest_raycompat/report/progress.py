"""What a run is doing, shown while it does it, whatever pytest captures."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import pytest

from pytest_raycompat.report.terminal import shortened
from pytest_raycompat.state import COLLECTOR, is_worker

WORTH_SAYING_S = 2.0
"""How long a phase must have been going on to get a line of its own, where lines cannot be rewritten, in seconds."""
REPEAT_S = 30.0
"""How often such a phase is said again, in seconds."""


class Progress:
    """Writes a line for each phase; on a terminal one line is rewritten while the flow goes on."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._quiet = is_worker(config) or config.get_verbosity() < 0
        self._said: tuple[str, str] | None = None
        self._said_at = 0.0
        self._rewriting = False
        self._began = time.monotonic()

    @cached_property
    def _reporter(self) -> Any:
        return self._config.pluginmanager.get_plugin("terminalreporter")  # not there yet when plugins are configured

    @contextlib.contextmanager
    def _uncaptured(self) -> Iterator[None]:
        capture: Any = self._config.pluginmanager.get_plugin("capturemanager")
        with capture.global_and_fixture_disabled():
            yield

    def show(self, title: str, phase: str, seconds: float, left: float) -> None:
        """Show that ``title`` is in ``phase``, since when, and when it will be ended, in seconds."""
        if self._quiet or self._reporter is None:
            return
        in_place = self._reporter.isatty
        new = self._said != (title, phase)
        if not in_place and (seconds < WORTH_SAYING_S if new else time.monotonic() - self._said_at < REPEAT_S):
            return
        self._said, self._said_at = (title, phase), time.monotonic()
        line = self._line(title, f": {phase} {seconds:.0f} s, deadline in {left:.0f} s{self._so_far()}")
        with self._uncaptured():
            if not self._rewriting:
                self._reporter.ensure_newline()
            if in_place:
                self._reporter.rewrite(line, erase=True)
                self._rewriting = True
            else:
                self._reporter.write_line(line)

    def _so_far(self) -> str:
        """Say how much of the run is done, and how long it has been going on."""
        minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
        collector = self._config.stash.get(COLLECTOR, None)
        if collector is None:
            return f" ({minutes}:{seconds:02})"
        done, expected, red = collector.progress
        return f" ({done}/{expected} done, {f'{red} red, ' if red else ''}{minutes}:{seconds:02})"

    def _line(self, title: str, rest: str) -> str:
        """Fit a line into the terminal: the title gives way, and what changes stays."""
        room = max(12, self._config.get_terminal_writer().fullwidth - 4 - len(rest))
        return f"  {shortened(title, room)}{rest}"

    def clear(self) -> None:
        """Take the line away: the flow is over, and pytest goes on writing."""
        if self._rewriting:
            with self._uncaptured():
                self._reporter.rewrite("", erase=True)
                self._reporter.rewrite("")
            self._rewriting = False
        self._said = None
