"""A pull request from its baseline to its fix, through the commands that a workflow runs."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.version import Version

from pytest_raycompat.report.document import read_report
from tests.ray_fork import make_fork

FLOW = """
reporter.phase("start")
backend = os.environ.get("CORP_BACKEND", "tcp")
if backend == "rdma":
    raise RuntimeError(f"no device for backend {backend!r}")
"""
TESTS = """
import pytest

@pytest.mark.parametrize("size", [1, 2])
def test_trains(run_flow, size):
    run_flow("corp_flows.train", size=size)

def test_is_broken_anyway(run_flow):
    run_flow("corp_flows.broken")
"""


@dataclass(frozen=True)
class Workflow:
    """The steps of a workflow: run with the baseline, then say what changed."""

    run_pytest: Callable[..., pytest.RunResult]
    options: tuple[str, ...]
    folder: Path

    def keep_baseline(self) -> pytest.RunResult:
        return self.run_pytest(*self.options, "--raycompat-report=main.json")

    def check(self) -> pytest.RunResult:
        return self.run_pytest(*self.options, "--raycompat-baseline=main.json", "--raycompat-report=pull.json")

    def diff(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pytest_raycompat.cli", "diff", "main.json", "pull.json", *arguments]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=60)

    def changes(self) -> dict[str, str | None]:
        return {one.id.partition("::")[2]: one.change for one in read_report(self.folder / "pull.json").results}


def test_a_variable_of_the_environment_breaks_a_flow(
    pytester: pytest.Pytester,
    run_pytest: Callable[..., pytest.RunResult],
    with_flows: Callable[[Mapping[str, str]], list[str]],
    clean_environment: pytest.MonkeyPatch,
    plugin_arguments: tuple[str, ...],
) -> None:
    options = with_flows({"train": FLOW, "broken": "raise ValueError('no')"})
    pytester.makepyfile(test_it=TESTS)
    workflow = Workflow(run_pytest, (*options, *plugin_arguments), pytester.path)
    assert workflow.keep_baseline().ret == pytest.ExitCode.TESTS_FAILED, "it is not all green, and need not be"

    assert workflow.check().ret == pytest.ExitCode.OK
    unchanged = workflow.diff()
    assert (unchanged.returncode, unchanged.stdout.splitlines()[0]) == (0, "main.json → pull.json: nothing is worse")

    clean_environment.setenv("CORP_BACKEND", "rdma")
    clean_environment.setenv("GITHUB_ACTIONS", "true")
    clean_environment.setenv("GITHUB_WORKSPACE", str(pytester.path))
    broken = workflow.check()
    assert broken.ret == pytest.ExitCode.TESTS_FAILED
    outcomes = broken.parseoutcomes()
    assert (outcomes["failed"], outcomes["xfailed"]) == (2, 1)
    assert workflow.changes() == {
        "test_trains[1]": "regressed",
        "test_trains[2]": "regressed",
        "test_is_broken_anyway": "still-failing",
    }
    broken.stdout.fnmatch_lines(
        [
            "baseline: main.json of *: 2 regressed, 1 still-failing",
            "  regressed: test_it.py::test_trains?1?: passed → failed",
            "::error file=test_it.py,title=regressed%3A failed,line=3::test_it.py::test_trains?1? and 1 more%0A"
            "error in phase 'start': RuntimeError: no device for backend 'rdma'%0Areproduce: raycompat run *",
        ]
    )
    said = workflow.diff("--format=md")
    assert said.returncode == 1
    assert said.stdout.startswith("### ❌ vLLM on Ray: 2 worse\n\n2 regressed, 1 still-failing\n")
    assert "RuntimeError: no device for backend 'rdma'" in said.stdout
    assert (
        workflow.diff("--format=github").stdout.count("::error file=test_it.py,title=regressed%3A failed,line=3::") == 1
    )

    clean_environment.delenv("CORP_BACKEND")
    fixed = workflow.check()
    assert fixed.ret == pytest.ExitCode.OK
    assert "::error" not in fixed.stdout.str()
    assert workflow.diff().returncode == 0


def without_argument(text: str) -> str:
    """Take from Ray the argument with which vLLM compiles its graph."""
    return text.replace("_overlap_gpu_communication", "_overlap_of_the_fork")


@pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install ray, or tox run -e py"
)
@pytest.mark.timeout(600)
def test_another_ray_breaks_a_real_flow(
    pytester: pytest.Pytester, clean_environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Main tests the Ray that is installed, the pull request a fork of it that has lost what vLLM needs."""
    installed = importlib.metadata.version("ray")
    if Version(installed) < Version("2.39"):
        pytest.skip(f"Ray {installed} has lost nothing, it never had it: pip install 'ray>=2.39'")
    pytester.makepyfile(
        test_it="""
def test_the_graph_of_vllm(run_flow):
    run_flow("compiled_graph", tensor_parallel_size=2)

def test_a_cluster(ray_cluster):
    assert ray_cluster.gpus == 2
"""
    )

    def run_pytest(*arguments: str | Path) -> pytest.RunResult:
        return pytester.runpytest_subprocess("-p", "no:cacheprovider", *arguments, timeout=300)

    options = ("--ray-cluster=local:1x2", f"--raycompat-python={sys.executable}", "--raycompat-device=cpu")
    workflow = Workflow(run_pytest, options, pytester.path)
    baseline = workflow.keep_baseline()
    baseline.assert_outcomes(passed=2)

    fork = make_fork(tmp_path / "fork", f"{installed}+corp.1", {"dag/dag_node.py": without_argument})
    before = os.environ.get("PYTHONPATH", "")
    clean_environment.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(fork), before])))
    broken = workflow.check()
    assert broken.ret == pytest.ExitCode.TESTS_FAILED
    assert broken.parseoutcomes() == {"failed": 1, "passed": 1}
    record = read_report(pytester.path / "pull.json").results[0]
    assert (record.verdict, record.gap, record.change) == ("known-gap", "cgraph-overlap-kwarg-missing", "regressed")
    said = workflow.diff()
    assert said.returncode == 1
    assert f"  note: Ray: {installed} → {installed}+corp.1 (may be the cause)" in said.stdout.splitlines()
    assert "  ! regressed      test_it.py::test_the_graph_of_vllm: passed → known-gap" in said.stdout.splitlines(), (
        "a gap that is known is no excuse for a change that runs into it"
    )

    clean_environment.setenv("PYTHONPATH", before)
    fixed = workflow.check()
    assert fixed.ret == pytest.ExitCode.OK
    assert workflow.diff().returncode == 0
