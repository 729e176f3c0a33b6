"""What the plugin costs a pytest run that uses nothing of it: against the same run with ``-p no:raycompat``.

    python benchmarks/startup.py [RUNS]

Runs the two in turn, so that a machine whose speed drifts slows both, and prints medians and their difference.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def run(folder: Path, *arguments: str) -> float:
    """Time one ``pytest --collect-only`` of one trivial test, in milliseconds."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *arguments]
    began = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - began) * 1000


def main() -> None:
    """Run the benchmark."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 21
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "pytest.ini").write_text("[pytest]\n")
        (folder / "test_trivial.py").write_text("def test_trivial():\n    pass\n")
        run(folder), run(folder, "-p", "no:raycompat")  # not counted: bytecode is written
        pairs = [(run(folder), run(folder, "-p", "no:raycompat")) for _ in range(runs)]
    with_plugin, without = (statistics.median(times) for times in zip(*pairs, strict=True))
    difference = statistics.median(ours - bare for ours, bare in pairs)
    print(f"with the plugin {with_plugin:.1f} ms, without {without:.1f} ms; median difference {difference:.1f} ms")


if __name__ == "__main__":
    main()
