"""What becomes of a gap on a real flow: it holds, has changed or is closed; and a fork that has gone half way."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_raycompat.report.document import TestRecord as Record
from pytest_raycompat.report.document import read_report
from tests.integration.test_gap_lacks import toggled
from tests.ray_fork import make_fork

NO_RAY = importlib.util.find_spec("ray") is None
INSTALLED = "0" if NO_RAY else importlib.metadata.version("ray")
MINOR = tuple(int(part) for part in INSTALLED.split(".")[:2])
pytestmark = [
    pytest.mark.skipif(NO_RAY, reason="Ray is not installed: pip install ray, or tox run -e py"),
    pytest.mark.timeout(300),
]

GAP = """\
id = "{id}"
title = "A transport of tensors that there is not"
flows = ["compiled_graph"]
phase = "{phase}"
raises = "ValueError"
message = "(?i)transport"
fix = "never"
links = ["https://example.org/1"]

[when]
ray = ">=2.9"
parameters = {{ tensor_transport = "{transport}" }}
"""
SUITE = """
import pytest

@pytest.mark.parametrize("transport", ["shm", "smoke", "drums"])
def test_it(run_flow, transport):
    run_flow("compiled_graph", tensor_parallel_size=1, pipeline_parallel_size=2, tensor_transport=transport)
"""


@pytest.fixture
def run_flows(pytester: pytest.Pytester, clean_environment: pytest.MonkeyPatch) -> Callable[[], list[Record]]:
    clean_environment.delenv("CUDA_VISIBLE_DEVICES", raising=False)  # empty, it forbids nodes to declare stand-in GPUs

    def run() -> list[Record]:
        pytester.runpytest_subprocess(
            "-p",
            "no:cacheprovider",
            "--ray-cluster=local:1x2",
            "--raycompat-device=cpu",
            f"--raycompat-python={sys.executable}",
            "--raycompat-gaps=gaps",
            "--raycompat-report=r.json",
        )
        return list(read_report(pytester.path / "r.json").results)

    return run


@pytest.mark.skipif(MINOR < (2, 39), reason=f"compiled_graph cannot pass on Ray {INSTALLED}: use 2.39 or newer")
def test_a_gap_that_holds_one_that_has_changed_and_one_that_is_closed(
    pytester: pytest.Pytester, run_flows: Callable[[], list[Record]]
) -> None:
    """It passes with shared memory, and fails where it binds the graph with a transport that Ray does not know."""
    folder = pytester.mkdir("gaps")
    for id, phase, transport in (
        ("too-wide", "execute", "shm"),
        ("as-recorded", "compile", "smoke"),
        ("elsewhere", "execute", "drums"),
    ):
        (folder / f"{id}.toml").write_text(GAP.format(id=id, phase=phase, transport=transport))
    pytester.makepyfile(SUITE)
    closed, known, changed = run_flows()
    assert (known.verdict, known.gap) == ("known-gap", "as-recorded")
    assert (changed.verdict, changed.gap) == ("gap-changed", "elsewhere")
    lines = changed.reason.splitlines()
    assert lines[0].endswith("but this is not it (gaps/elsewhere.toml:1):")
    assert "! phase    execute                          compile" in lines
    assert (closed.verdict, closed.gap) == ("gap-closed", "too-wide")
    assert closed.reason.splitlines()[1] == (
        f'write ray = ">=2.9,<{INSTALLED}" in gaps/too-wide.toml:11 (now ray = ">=2.9"), or remove the file'
    )


@pytest.mark.skipif(MINOR >= (2, 37), reason=f"Ray {INSTALLED} has what the fork lacks: use 2.35 or 2.36")
def test_a_fork_that_ported_the_argument_back_and_not_the_channels(
    pytester: pytest.Pytester,
    run_flows: Callable[[], list[Record]],
    clean_environment: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """The gap of the argument does not excuse it any more; what comes next is another gap."""
    fork = make_fork(tmp_path / "fork", f"{INSTALLED}+corp.1", {"dag/dag_node.py": toggled})
    clean_environment.setenv("PYTHONPATH", str(fork))
    (pytester.mkdir("gaps") / "unused.toml").write_text(GAP.format(id="unused", phase="compile", transport="smoke"))
    pytester.makepyfile('def test_it(run_flow):\n    run_flow("compiled_graph", tensor_parallel_size=2)\n')
    (record,) = run_flows()
    assert (record.verdict, record.gap) == ("known-gap", "cgraph-channels-hold-one-value")
