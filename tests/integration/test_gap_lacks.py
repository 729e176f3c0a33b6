"""A gap of what Ray lacks: the Ray under test decides, whatever it calls itself."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_raycompat.report.document import TestRecord as Record
from pytest_raycompat.report.document import read_report
from tests.ray_fork import make_fork

ID = "cgraph-overlap-kwarg-missing"
FAILS = (
    "raise TypeError("
    "\"DAGNode.experimental_compile() got an unexpected keyword argument '_overlap_gpu_communication'\")"
)
WITH = "def experimental_compile(self, timeout=None, _overlap_gpu_communication=None): ..."
WITHOUT = "def experimental_compile(self, timeout=None): ..."


@pytest.fixture
def run_on(
    pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult], make_interpreter: Callable[..., Path]
) -> Callable[..., Record]:
    """Run a test that is marked with the gap on a Ray of which there is only what the gap is about."""

    def run(version: str, ray: str, body: str, *arguments: str) -> Record:
        python = make_interpreter({"ray": version, "vllm": "0.32.0"})
        (site,) = python.parents[1].glob("lib/python*/site-packages")
        (site / "ray" / "dag").mkdir(parents=True, exist_ok=True)
        (site / "ray" / "__init__.py").touch()
        (site / "ray" / "dag" / "__init__.py").write_text(f"class DAGNode:\n    {ray}\n")
        pytester.makepyfile(test_it=f"import pytest\n@pytest.mark.known_gap({ID!r})\ndef test_it():\n    {body}\n")
        run_pytest(f"--raycompat-python={python}", "--raycompat-report=r.json", *arguments)
        (record,) = read_report(pytester.path / "r.json").results
        return record

    return run


def test_a_release_that_lacks_it_has_the_gap(run_on: Callable[..., Record], plugin_arguments: tuple[str, ...]) -> None:
    record = run_on("2.35.0", WITHOUT, FAILS, *plugin_arguments)
    assert (record.verdict, record.gap) == ("known-gap", ID)


@pytest.mark.parametrize(("body", "verdict"), [(FAILS, "failed"), ("pass", "passed")])
def test_a_fork_that_has_it_earlier_is_not_excused(run_on: Callable[..., Record], body: str, verdict: str) -> None:
    record = run_on("2.35.0+corp.1", WITH, body)
    assert (record.verdict, record.gap) == (verdict, None)


def test_a_fork_that_has_lost_it_has_the_gap(run_on: Callable[..., Record]) -> None:
    record = run_on("2.60.0+corp.1", WITHOUT, FAILS)
    assert (record.verdict, record.gap) == ("known-gap", ID)


def test_a_pass_without_it_closes_the_gap_and_says_what_is_not_needed_any_more(run_on: Callable[..., Record]) -> None:
    record = run_on("2.36.0", WITHOUT, "pass")
    path = f"pytest_raycompat/gaps/data/{ID}.toml"
    assert record.verdict == "gap-closed"
    lines = record.reason.splitlines()
    assert lines[0] == f"{ID} is recorded for Ray 2.36.0 with vLLM 0.32.0 in {path}:1, but it passed:"
    assert lines[-1] == (
        "this Ray lacks ray.dag.DAGNode.experimental_compile(_overlap_gpu_communication) (`lacks`), "
        "and the flow does not need it any more"
    )


@pytest.mark.parametrize(("body", "verdict"), [(FAILS, "failed"), ("pass", "infra")])
def test_a_ray_that_cannot_be_asked_excuses_nothing_and_is_reported(
    run_on: Callable[..., Record], body: str, verdict: str
) -> None:
    record = run_on("2.37.0", "import a_package_that_is_missing", body)
    path = f"pytest_raycompat/gaps/data/{ID}.toml"
    assert (record.verdict, record.gap) == (verdict, None)
    assert record.reason.splitlines()[-1] == (
        f"cannot tell whether {ID} applies ({path}:1): "
        "ray.dag.DAGNode.experimental_compile(_overlap_gpu_communication): "
        "ModuleNotFoundError: No module named 'a_package_that_is_missing'"
    )


def toggled(text: str) -> str:
    """Take the argument from a Ray that has it, and give it to one that has not."""
    if "_overlap_gpu_communication" in text:
        return text.replace("_overlap_gpu_communication", "_overlap_of_the_fork")
    return re.sub(
        r"(def experimental_compile\(\n\s+self,\n)", r"\1        _overlap_gpu_communication=None,\n", text, count=1
    )


@pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install ray, or tox run -e py"
)
@pytest.mark.parametrize("forked", [False, True])
def test_a_fork_of_a_real_ray(
    pytester: pytest.Pytester,
    run_pytest: Callable[..., pytest.RunResult],
    clean_environment: pytest.MonkeyPatch,
    tmp_path: Path,
    forked: bool,
) -> None:
    """The same version of Ray, with and without the argument: only what it can do decides."""
    installed = importlib.metadata.version("ray")
    if forked:
        fork = make_fork(tmp_path / "fork", f"{installed}+corp.1", {"dag/dag_node.py": toggled})
        clean_environment.setenv("PYTHONPATH", str(fork))
    has_it = (tuple(int(part) for part in installed.split(".")[:2]) >= (2, 39)) is not forked
    pytester.makepyfile(test_it=f"import pytest\n@pytest.mark.known_gap({ID!r})\ndef test_it():\n    {FAILS}\n")
    run_pytest(f"--raycompat-python={sys.executable}", "--raycompat-report=r.json").assert_outcomes(
        **{"failed" if has_it else "xfailed": 1}
    )
    report = read_report(pytester.path / "r.json")
    assert report.environment.ray == (f"{installed}+corp.1" if forked else installed)
    assert [record.verdict for record in report.results] == ["failed" if has_it else "known-gap"]
