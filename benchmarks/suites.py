"""What a run of the suites costs against the same flows as bare scripts, one after another, each with its own cluster.

    python benchmarks/suites.py [--of=REPORT.json] [PYTEST-ARGUMENTS]

The suites run first (``suites`` where no path is given), or a report says what they ran, just before on this machine.
Then every flow of theirs runs once as ``python -m MODULE`` on a cluster that is started for it with ``ray start`` and
ended after it, without the variables that are set to make flows faster. One ratio comes out.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

from pytest_raycompat.cluster.protocol import NodeShape
from pytest_raycompat.cluster.spec import parse_cluster_spec
from pytest_raycompat.commands.run import Console
from pytest_raycompat.flows.registry import FLOWS
from pytest_raycompat.session import Session
from pytest_raycompat.settings import Settings


def run_suites(report: Path, arguments: list[str]) -> float:
    """Run the suites and return the seconds that it took."""
    paths = [] if any(Path(argument).exists() for argument in arguments) else ["suites"]
    command = [sys.executable, "-m", "pytest", "-q", *paths, *arguments, "--ray-cluster=auto"]
    began = time.perf_counter()
    finished = subprocess.run([*command, f"--raycompat-report={report}", "-o", "timeout=3600"], check=False)
    seconds = time.perf_counter() - began
    if finished.returncode:
        raise SystemExit(f"the suites ended with {finished.returncode}: only runs without a red verdict are compared")
    return seconds


def seconds_of(report: Path) -> float:
    """Return the seconds from the begin of a report's run to its end, when the file was written."""
    began = datetime.fromisoformat(json.loads(report.read_text())["created"])
    return report.stat().st_mtime - began.timestamp()


def flows_in(report: Path) -> dict[str, tuple[str, list[str], str | None]]:
    """Return the module, the arguments and the cluster of every flow that a report is about, by its command."""
    found: dict[str, tuple[str, list[str], str | None]] = {}
    for result in json.loads(report.read_text())["results"]:
        words = shlex.split(result.get("reproduce") or "")
        if "--" not in words:  # a test that ran no flow
            continue
        options, arguments = words[: words.index("--")], words[words.index("--") + 1 :]
        name = options[options.index("run") + 1]
        cluster = next(word.partition("=")[2] for word in options if word.startswith("--ray-cluster="))
        found[result["reproduce"]] = (FLOWS[name].module, arguments, None if cluster == "off" else cluster)
    return found


def run_bare(session: Session, module: str, arguments: list[str], cluster: str | None) -> float:
    """Start a cluster, run a flow on it, end it, and return the seconds that all of it took."""
    began = time.perf_counter()
    environment = dict(session.variables)
    started = None
    if cluster is not None:
        shape = parse_cluster_spec(cluster).shape
        assert shape is not None
        started = session.clusters.make([NodeShape(gpus=gpus) for gpus in shape.gpus])
        environment = dict(started.environment)
    environment.pop("TORCHDYNAMO_DISABLE", None)
    command = [session.settings.python, "-m", module, "--model", str(session.tiny_model), "--device", session.device]
    child = session.children.start(
        [*command, *arguments], environment=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    child.process.wait(1200)
    child.end(0)
    if started is not None:
        session.clusters.release(started)
    return time.perf_counter() - began


def main() -> None:
    """Run the benchmark."""
    with tempfile.TemporaryDirectory(prefix="rb-") as name:
        report = Path(name, "report.json")
        if len(sys.argv) == 2 and sys.argv[1].startswith("--of="):
            report = Path(sys.argv[1].removeprefix("--of="))
            ours = seconds_of(report)
        else:
            ours = run_suites(report, sys.argv[1:])
        session = Session(Settings.read(root=Path(name), cluster="local"), (), Console())
        theirs = 0.0
        try:
            for command, (module, arguments, cluster) in flows_in(report).items():
                seconds = run_bare(session, module, arguments, cluster)
                theirs += seconds
                print(f"{seconds:7.1f} s  {command}", flush=True)
        finally:
            session.close()
    print(f"suites {ours:.0f} s, the same flows as bare scripts {theirs:.0f} s, ratio {ours / theirs:.3f}")


if __name__ == "__main__":
    main()
