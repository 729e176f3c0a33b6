"""What a run of the suites costs against the same flows as bare scripts, one after another, each with its own cluster.

    python benchmarks/suites.py [--of=REPORT.json] [PYTEST-ARGUMENTS]

The suites run first (``suites`` where no path is given), or a report says what they ran, just before on this machine.
Then every flow of theirs runs once as ``python -m MODULE`` on a cluster that is started for it with Ray's own
``ray start`` and ended after it, without what is done to make flows and clusters faster, and every control, the same
work without Ray, once. A script that stands alone compares with a control of its own, so two ratios come out: with each
control counted once, and for each script that compares with it.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pytest_raycompat.cluster import start_command
from pytest_raycompat.cluster.protocol import NodeShape
from pytest_raycompat.cluster.spec import parse_cluster_spec
from pytest_raycompat.commands.run import Console
from pytest_raycompat.flows.registry import FLOWS, Flow, arguments_for
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


@dataclass(frozen=True)
class Bare:
    """A flow as a bare script.

    ``fails`` where the report has a gap for it; ``uses`` counts the scripts that compare with it, if it is a control.
    """

    flow: Flow
    arguments: list[str]
    cluster: str | None
    fails: bool
    uses: int = 1


def flows_in(report: Path) -> dict[str, Bare]:
    """Return every flow that a report is about, and their controls, by the command that runs it."""
    found: dict[str, Bare] = {}
    compared: dict[str, set[str]] = {}
    for result in json.loads(report.read_text())["results"]:
        words = shlex.split(result.get("reproduce") or "")
        if "--" not in words:  # a test that ran no flow
            continue
        options, arguments = words[: words.index("--")], words[words.index("--") + 1 :]
        name = options[options.index("run") + 1]
        cluster = next(word.partition("=")[2] for word in options if word.startswith("--ray-cluster="))
        fails = result["verdict"] == "known-gap"
        found[result["reproduce"]] = Bare(FLOWS[name], arguments, None if cluster == "off" else cluster, fails)
        if result["control"] is not None:
            control = FLOWS[result["control"]["flow"]]
            arguments = arguments_for(result["control"]["parameters"])
            command = f"control: {control.name} {shlex.join(arguments)}"
            compared.setdefault(command, set()).add(result["reproduce"])
            found[command] = Bare(control, arguments, None, fails=False, uses=len(compared[command]))
    return found


def run_bare(session: Session, bare: Bare) -> float:
    """Start a cluster, run a flow on it, end it, and return the seconds that all of it took."""
    began = time.perf_counter()
    environment = dict(session.variables)
    started = None
    if bare.cluster is not None:
        shape = parse_cluster_spec(bare.cluster).shape
        assert shape is not None
        nodes = [NodeShape(gpus=gpus) for gpus in shape.gpus]
        started = session.clusters.start(nodes, dashboard=bare.flow.dashboard)
        environment = dict(started.environment)
    environment.pop("TORCHDYNAMO_DISABLE", None)
    command = [session.settings.python, "-m", bare.flow.module, "--model", str(session.tiny_model)]
    child = session.children.start(
        [*command, "--device", session.device, *bare.arguments],
        environment=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    failed = child.process.wait(1200) != 0
    child.end(0)
    if started is not None:
        started.close()
    if failed != bare.fails:
        raise SystemExit(f"{bare.flow.name} {' '.join(bare.arguments)}: {'failed' if failed else 'did not fail'}")
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
        start_command.PROGRAM = "ray.scripts.scripts"
        once = alone = 0.0
        try:
            for command, bare in flows_in(report).items():
                seconds = run_bare(session, bare)
                once += seconds
                alone += seconds * bare.uses
                print(f"{seconds:7.1f} s  {bare.uses} x  {command}", flush=True)
        finally:
            session.close()
    print(f"suites {ours:.0f} s; bare scripts {once:.0f} s with each control once, ratio {ours / once:.3f}")
    print(f"bare scripts with a control each {alone:.0f} s, ratio {ours / alone:.3f}")


if __name__ == "__main__":
    main()
