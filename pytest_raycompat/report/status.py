"""Lines below what pytest has written on a terminal: rewritten while something goes on, and taken away again."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, TextIO

from pytest_raycompat.report.terminal import shortened

ERASE_BELOW = "\x1b[J"
"""Erases from the cursor to the end of the screen (ECMA-48, ED)."""


class StatusLines:
    """The cursor stays where pytest goes on, so that its line of dots stays whole.

    Args:
        writer: pytest's terminal writer.
    """

    def __init__(self, writer: Any) -> None:
        self._writer = writer
        self._file: TextIO = writer._file  # what it notes of its current line must not change
        self._drawn = False

    @property
    def usable(self) -> bool:
        """Whether the output is a terminal on which lines can be rewritten; colours are another matter."""
        return self._file.isatty() and os.environ.get("TERM", "") != "dumb"

    def draw(self, lines: Sequence[str]) -> None:
        """Show ``lines`` in place of those before, each cut to the width of the terminal."""
        place = self._place() if lines else None
        if place is None:
            self.clear()
            return
        width = self._writer.fullwidth - 1  # a full line would wrap
        below = "\n\r".join(shortened(line, width) for line in lines)
        self._write(f"\n\r{ERASE_BELOW}{below}\x1b[{len(lines)}A{place}")
        self._drawn = True

    def clear(self) -> None:
        """Take the lines away: pytest goes on writing."""
        if self._drawn:
            self._drawn = False
            self._write(f"\n\r{ERASE_BELOW}\x1b[1A{self._place() or chr(13)}")

    def _place(self) -> str | None:
        """Write how the cursor gets back to its column; None where that is not known."""
        column: int = self._writer.width_of_current_line
        width = self._writer.fullwidth
        if column < 0 or (column and column % width == 0):  # control characters, or at the edge
            return None
        return f"\x1b[{column % width + 1}G"

    def _write(self, text: str) -> None:
        self._file.write(text)
        self._file.flush()
