"""What loading all known gaps costs a pytest run in processor time, which may be 30 ms at most.

    python benchmarks/gap_loading.py [GAPS]

Copies the gaps of the package, under other ids, until there are GAPS of them (default 40), and loads them in a fresh
interpreter each time: once for the imports that loading needs, and once for the loading itself.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from pytest_raycompat.gaps import BUILTIN_FOLDER

RUNS = 11
LIMIT_MS = 30.0
# what a run with gaps has loaded anyway is imported first, so that it does not count
PROGRAM = """
import pathlib, sys, time
import msgspec, packaging.specifiers, pytest
import pytest_raycompat.settings
began = time.process_time()
from pytest_raycompat.gaps import load_gaps
imported = time.process_time()
load_gaps([pathlib.Path(sys.argv[1])])
loaded = time.process_time()
print((imported - began) * 1000, (loaded - imported) * 1000)
"""


def write_gaps(folder: Path, count: int) -> None:
    """Write ``count`` gaps that differ in their ids and messages, and are otherwise as real ones are."""
    originals = sorted(BUILTIN_FOLDER.glob("*.toml"))
    for number in range(count):
        original = originals[number % len(originals)]
        text = original.read_text().replace(f'id = "{original.stem}"', f'id = "{original.stem}-{number}"')
        lines = [line for line in text.splitlines() if not line.startswith("message = ")]
        text = "\n".join([lines[0], f"message = 'Ray version 2\\.\\d+ is gap {number}'", *lines[1:]])
        (folder / f"{original.stem}-{number}.toml").write_text(text)


def main() -> int:
    """Run the benchmark; return 1 where it takes longer than it may."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    with tempfile.TemporaryDirectory() as name:
        write_gaps(Path(name), count)
        rows = []
        for _ in range(RUNS):
            finished = subprocess.run(
                [sys.executable, "-c", PROGRAM, name], capture_output=True, text=True, check=True, timeout=60
            )
            rows.append([float(word) for word in finished.stdout.split()])
    imports, loading = (statistics.median(column) for column in zip(*rows, strict=True))
    print(f"{count} gaps: imports {imports:.1f} ms, loading {loading:.1f} ms (limit {LIMIT_MS:.0f} ms together)")
    return 0 if imports + loading <= LIMIT_MS else 1


if __name__ == "__main__":
    sys.exit(main())
