"""What a run is doing, shown while it does it, whatever pytest captures."""

from __future__ import annotations

import time
from typing import Any

import pytest

REPEAT_S = 30.0
"""How often a phase that goes on is said again where a line cannot be rewritten, in seconds."""


class Progress:
    """Writes a line for each phase; on a terminal one line is rewritten while the flow goes on."""

    def __init__(self, config: pytest.Config) -> None:
        self._reporter: Any = config.pluginmanager.get_plugin("terminalreporter")
        self._capture: Any = config.pluginmanager.get_plugin("capturemanager")
        self._writer = config.get_terminal_writer() if self._reporter is not None else None
        self._quiet = self._writer is None or hasattr(config, "workerinput") or config.get_verbosity() < 0
        self._said: tuple[str, str] | None = None
        self._said_at = 0.0
        self._rewriting = False

    def show(self, title: str, phase: str, seconds: float, left: float) -> None:
        """Show that ``title`` is in ``phase``, since when, and when it will be ended, in seconds."""
        if self._quiet:
            return
        in_place = self._reporter.isatty
        new = self._said != (title, phase)
        if not in_place and not new and time.monotonic() - self._said_at < REPEAT_S:
            return
        self._said, self._said_at = (title, phase), time.monotonic()
        line = f"  {title}: {phase} {seconds:.0f} s, deadline in {left:.0f} s"
        with self._capture.global_and_fixture_disabled():
            if not self._rewriting:
                self._reporter.ensure_newline()
            if in_place:
                assert self._writer is not None
                self._reporter.rewrite(line[: self._writer.fullwidth - 2], erase=True)
                self._rewriting = True
            else:
                self._reporter.write_line(line)

    def clear(self) -> None:
        """Take the line away: the flow is over, and pytest goes on writing."""
        if self._rewriting:
            with self._capture.global_and_fixture_disabled():
                self._reporter.rewrite("", erase=True)
                self._reporter.rewrite("")
            self._rewriting = False
        self._said = None
