"""The end of a log, short enough to travel in a report."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

MOST_LINES = 40
MOST_CHARACTERS = 4000
READ_BYTES = 64 * 1024
_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def excerpt_of(logs: Iterable[str]) -> str:
    """Return the last lines of the first log that can be read and says something; empty where none does."""
    for log in logs:
        try:
            with Path(log).open("rb") as stream:
                size = stream.seek(0, 2)
                stream.seek(max(0, size - READ_BYTES))
                text = stream.read().decode("utf-8", "replace")
        except OSError:
            continue
        lines = [line.rsplit("\r", 1)[-1].rstrip() for line in _COLOURS.sub("", text).replace("\r\n", "\n").split("\n")]
        kept = "\n".join(lines).strip("\n").split("\n")[-MOST_LINES:]
        excerpt = "\n".join(kept)[-MOST_CHARACTERS:]
        if excerpt.strip():
            return excerpt
    return ""
