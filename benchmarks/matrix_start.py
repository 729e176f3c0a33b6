"""How long a Ray that is new to a matrix takes from the command to its first running flow; the target is 40 s.

    python benchmarks/matrix_start.py [RAY [VLLM]]

Builds the environment twice, in folders of its own: the first time fills uv's cache and is not counted. VLLM is none by
default; with one, the environment has some 4 GB. Needs pip install 'pytest-raycompat[matrix]'.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

LIMIT_S = 600.0
FLOW = "pytest_raycompat.flows."


def is_flow(process: psutil.Process) -> bool:
    """Tell whether a process is a flow."""
    try:
        return any(word.startswith(FLOW) for word in process.cmdline())
    except psutil.Error:
        return False


def seconds_to_first_flow(ray: str, vllm: str, folder: Path) -> float:
    """Run a matrix of one pair until its first flow runs, and return the seconds that it took."""
    suite = "suites/compiled_graph" if vllm == "none" else "suites/generate"
    began = time.perf_counter()
    matrix = subprocess.Popen(
        [
            *[sys.executable, "-m", "pytest_raycompat.cli", "matrix", "--ray", ray, "--vllm", vllm],
            *["--output", str(folder / "matrix"), "--environments", str(folder / "environments"), "--", suite, "-x"],
        ],
        stdout=subprocess.DEVNULL,
    )
    try:
        while time.perf_counter() - began < LIMIT_S and matrix.poll() is None:
            if any(is_flow(process) for process in psutil.Process(matrix.pid).children(recursive=True)):
                return time.perf_counter() - began
            time.sleep(0.1)
    finally:
        matrix.terminate()
        matrix.wait()
    raise SystemExit("no flow ran; see what the matrix said")


def main() -> None:
    """Run the benchmark."""
    ray = sys.argv[1] if len(sys.argv) > 1 else "2.60.0"
    vllm = sys.argv[2] if len(sys.argv) > 2 else "none"
    with tempfile.TemporaryDirectory(prefix="rb-") as name:
        for attempt in ("as it is", "warm"):
            folder = Path(name, attempt.replace(" ", "-"))
            seconds = seconds_to_first_flow(ray, vllm, folder)
            shutil.rmtree(folder)
            print(f"Ray {ray}, vLLM {vllm}, uv's cache {attempt}: first flow after {seconds:.1f} s", flush=True)


if __name__ == "__main__":
    main()
