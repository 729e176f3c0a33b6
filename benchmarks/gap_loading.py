"""What loading all known gaps costs a pytest run in processor time, which may be 30 ms at most.

    python benchmarks/gap_loading.py [GAPS]

Loads the gaps of the package in a fresh interpreter each time, and says what the imports that loading needs cost, and
what the loading itself. With GAPS, it loads an overlay of so many besides, copies of ours under other ids, whose rules
are checked too.
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
from pytest_raycompat.gaps import known_gaps
imported = time.process_time()
gaps = known_gaps(map(pathlib.Path, sys.argv[1:]))
loaded = time.process_time()
print((imported - began) * 1000, (loaded - imported) * 1000, len(gaps))
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
    overlay = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    with tempfile.TemporaryDirectory() as name:
        write_gaps(Path(name), overlay)
        rows = []
        for _ in range(RUNS):
            finished = subprocess.run(
                [sys.executable, "-c", PROGRAM, *([name] if overlay else [])],
                capture_output=True,
                text=True,
                check=True,
                timeout=60,
            )
            rows.append([float(word) for word in finished.stdout.split()])
    imports, loading, count = (statistics.median(column) for column in zip(*rows, strict=True))
    print(f"{count:.0f} gaps: imports {imports:.1f} ms, loading {loading:.1f} ms (limit {LIMIT_MS:.0f} ms together)")
    return 0 if imports + loading <= LIMIT_MS else 1


if __name__ == "__main__":
    sys.exit(main())
