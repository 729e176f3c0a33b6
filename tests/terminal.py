"""A terminal for tests: a program runs on a pseudo-terminal, and what it writes becomes lines, as a user sees them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

SEQUENCE = re.compile(r"\x1b\[(\d*)(?:;\d+)*([A-Za-z])")


class Screen:
    """As much of a terminal as pytest and the plugin use (ECMA-48: CUU, CHA, ED, EL, SGR); it has no last line."""

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self._rows: list[list[str]] = [[]]
        self._row = self._column = 0

    @property
    def lines(self) -> list[str]:
        return ["".join(row).rstrip() for row in self._rows]

    def write(self, text: str) -> None:
        position = 0
        while position < len(text):
            match = SEQUENCE.match(text, position)
            if match is not None:
                self._control(match[2], match[1])
                position = match.end()
            else:
                self._put(text[position])
                position += 1

    def _control(self, letter: str, number: str) -> None:
        if letter == "A":
            self._row -= int(number or 1)
            assert self._row >= 0
        elif letter == "G":
            self._column = int(number or 1) - 1
        elif letter in "JK":
            assert not number, "only erasing from the cursor on is known"
            self._rows[self._row] = self._rows[self._row][: self._column]
            if letter == "J":
                del self._rows[self._row + 1 :]
        else:
            assert letter == "m", f"unknown control sequence {letter!r}"

    def _put(self, character: str) -> None:
        if character == "\r":
            self._column = 0
        elif character == "\n":
            self._row += 1
        else:
            if self._column == self.columns:
                self._row, self._column = self._row + 1, 0
            self._grow()
            row = self._rows[self._row]
            row += " " * (self._column + 1 - len(row))
            row[self._column] = character
            self._column += 1
        self._grow()

    def _grow(self) -> None:
        self._rows += [[] for _ in range(self._row + 1 - len(self._rows))]


def run_on_terminal(
    command: Sequence[str | Path], folder: Path, columns: int = 80, limit_s: float = 60.0
) -> Iterator[list[str]]:
    """Run a command on a pseudo-terminal, and yield the screen whenever something was written, and at the end."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = {**os.environ, "TERM": "xterm"}
    environment.pop("COLUMNS", None)
    process = subprocess.Popen(command, cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    screen, deadline, held = Screen(columns), time.monotonic() + limit_s, b""
    try:
        while (left := deadline - time.monotonic()) > 0 and select.select([ours], [], [], left)[0]:
            received = b""
            with contextlib.suppress(OSError):  # nobody has the other end open any more
                received = os.read(ours, 1 << 16)
            if not received:
                break
            held += received
            text = held.decode(errors="ignore")
            if text.rpartition("\x1b")[2].lstrip("[0123456789;") == "" and "\x1b" in text:
                continue  # in the middle of a control sequence
            held = b""
            screen.write(text)
            yield screen.lines
        process.wait(max(0.1, deadline - time.monotonic()))
        yield screen.lines
    finally:
        process.kill()
        process.wait()
        os.close(ours)
