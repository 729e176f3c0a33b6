"""Processes of their own that tests start, and what they run."""

from __future__ import annotations

import subprocess
import sys

MAP_A_SEGMENT = """
import mmap, sys, time
with open(sys.argv[1], sys.argv[2]) as stream:
    stream.truncate(4096)
    mapped = mmap.mmap(stream.fileno(), 4096)
print("mapped", flush=True)
time.sleep(60)
"""
"""Makes (``x+b``) or opens (``r+b``) a segment, and has it mapped."""


def start(program: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()
