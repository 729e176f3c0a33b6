"""How long a local cluster takes to be ready: against a bare ``ray start --head`` with the same resources.

python benchmarks/cluster_start.py [RUNS]
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pytest_raycompat.cluster.protocol import NodeShape
from pytest_raycompat.commands.run import Console
from pytest_raycompat.processes.children import Children
from pytest_raycompat.processes.ports import free_port
from pytest_raycompat.session import Session
from pytest_raycompat.settings import Settings


def ours(session: Session) -> float:
    """Time a local cluster of one node until it is ready for a driver, in seconds."""
    began = time.perf_counter()
    cluster = session.clusters.make([NodeShape(gpus=1, cpus=4)])
    seconds = time.perf_counter() - began
    session.clusters.release(cluster)
    return seconds


def bare(children: Children, folder: Path) -> float:
    """Time ``ray start --head`` until it returns, in seconds, and end what it started."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--num-gpus=1", "--num-cpus=4"]
    command += [f"--port={free_port()}", f"--ray-client-server-port={free_port()}", "--disable-usage-stats"]
    command += ["--include-dashboard=false", f"--temp-dir={folder}"]
    began = time.perf_counter()
    child = children.start(command, environment={**os.environ, "HOME": str(folder)}, stdout=subprocess.DEVNULL)
    status = child.process.wait(120)
    seconds = time.perf_counter() - began
    child.end(0)  # the daemons that it leaves are in its session
    if status != 0:
        raise SystemExit(f"ray start ended with {status}")
    return seconds


def main() -> None:
    """Run the benchmark."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory(prefix="rb-") as name:
        session = Session(Settings.read(root=Path(name), cluster="local"), (), Console())
        try:
            folders = (Path(name, str(index)) for index in range(runs))
            pairs = [(ours(session), bare(session.children, folder)) for folder in folders]
        finally:
            session.close()
    for index, names in enumerate(("local cluster ready", "ray start --head")):
        times = sorted(pair[index] for pair in pairs)
        print(f"{names}: median {statistics.median(times):.2f} s, from {times[0]:.2f} to {times[-1]:.2f} s")
    print(f"ratio of pairs, median: {statistics.median(a / b for a, b in pairs):.2f}")


if __name__ == "__main__":
    main()
