"""A pull request as the option sees it: a baseline, a change that breaks something, and its fix."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from pytest_raycompat.report.document import Report, ReportSet, read_report, write_report

FLOWS = """
import importlib.metadata, sys
from pytest_raycompat.flows.reporting import run_program

def body(reporter):
    reporter.phase("start")
    version = importlib.metadata.version("ray")
    if {condition}:
        raise RuntimeError(f"does not work with Ray {{version}}")

sys.exit(run_program({name!r}, {{}}, body))
"""
TESTS = """
import pytest

def test_needs_a_new_ray(run_flow):
    run_flow("corp_flows.modern")

def test_is_broken_anyway(run_flow):
    run_flow("corp_flows.broken")

@pytest.mark.ray_version(">=2.50")
def test_is_for_a_new_ray(run_flow): pass

@pytest.mark.known_gap("cgraph-version-guard")
def test_of_ones_own(): pass
"""


@pytest.fixture
def run_with(
    pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult], make_interpreter: Callable[..., Path]
) -> Callable[..., pytest.RunResult]:
    """Run the tests on an environment with another Ray: ``run_with("2.35.0")``."""
    package = pytester.mkpydir("corp_flows")
    for name, condition in (("modern", "version < '2.50'"), ("broken", "True")):
        (package / f"{name}.py").write_text(FLOWS.format(name=name, condition=condition))
    pytester.makepyfile(test_it=TESTS)

    def run(ray: str, *arguments: str) -> pytest.RunResult:
        python = make_interpreter({"ray": ray, "vllm": "0.32.0"})
        return run_pytest("--ray-cluster=local", f"--raycompat-python={python}", *arguments)

    return run


def changes(report: Report) -> dict[str, tuple[str, str | None]]:
    return {record.id.partition("::")[2]: (record.verdict, record.change) for record in report.results}


def test_a_pull_request(
    pytester: pytest.Pytester, run_with: Callable[..., pytest.RunResult], plugin_arguments: tuple[str, ...]
) -> None:
    nightly = run_with("2.60.0", "--raycompat-report=main.json", *plugin_arguments)
    nightly.assert_outcomes(passed=3, failed=1)
    assert nightly.ret == pytest.ExitCode.TESTS_FAILED

    baseline = ("--raycompat-baseline=main.json", "--raycompat-report=now.json", *plugin_arguments)
    unchanged = run_with("2.60.0", *baseline)
    unchanged.assert_outcomes(passed=3, xfailed=1)
    assert unchanged.ret == pytest.ExitCode.OK
    assert changes(read_report(pytester.path / "now.json")) == {
        "test_needs_a_new_ray": ("passed", "unchanged"),
        "test_is_broken_anyway": ("failed", "still-failing"),
        "test_is_for_a_new_ray": ("passed", "unchanged"),
        "test_of_ones_own": ("passed", "unchanged"),
    }

    broken = run_with("2.49.0", *baseline)
    assert broken.ret == pytest.ExitCode.TESTS_FAILED
    outcomes = broken.parseoutcomes()
    assert (outcomes["failed"] + outcomes.get("errors", 0), outcomes["passed"], outcomes["xfailed"]) == (2, 1, 1)
    report = read_report(pytester.path / "now.json")
    assert changes(report) == {
        "test_needs_a_new_ray": ("failed", "regressed"),
        "test_is_broken_anyway": ("failed", "still-failing"),
        "test_is_for_a_new_ray": ("unsupported", "regressed"),
        "test_of_ones_own": ("passed", "unchanged"),
    }
    assert report.baseline is not None
    assert report.baseline.differences == ("Ray: 2.60.0 → 2.49.0",)
    broken.stdout.fnmatch_lines(
        [
            "regressed: it was passed in main.json, and is failed now",
            "baseline: main.json of *: 2 regressed, 1 still-failing, 1 unchanged",
            "  regressed: test_it.py::test_is_for_a_new_ray: passed → unsupported",
            "  regressed: test_it.py::test_needs_a_new_ray: passed → failed",
            "  differs in Ray: 2.60.0 → 2.49.0",
        ]
    )

    fixed = run_with("2.60.1", *baseline)
    fixed.assert_outcomes(passed=3, xfailed=1)
    assert fixed.ret == pytest.ExitCode.OK


def test_what_was_green_and_is_not_reached_fails_the_run(
    pytester: pytest.Pytester, run_with: Callable[..., pytest.RunResult]
) -> None:
    run_with("2.60.0", "--raycompat-report=main.json")
    pytester.makeconftest(
        """
        import pytest
        def pytest_runtest_logfinish(nodeid):
            if "test_needs_a_new_ray" in nodeid:
                pytest.exit("enough", returncode=0)
        """
    )
    result = run_with("2.60.0", "--raycompat-baseline=main.json", "--raycompat-report=now.json")
    assert changes(read_report(pytester.path / "now.json"))["test_of_ones_own"] == ("untested", "regressed")
    result.stdout.fnmatch_lines(["  regressed: test_it.py::test_of_ones_own: passed → untested"])


def test_a_new_test_that_fails_is_worse_and_a_test_that_is_gone_is_named(
    pytester: pytest.Pytester, run_with: Callable[..., pytest.RunResult]
) -> None:
    run_with("2.60.0", "--raycompat-report=main.json")
    pytester.makepyfile(test_it=TESTS.replace("test_is_broken_anyway", "test_has_another_name"))
    result = run_with("2.60.0", "--raycompat-baseline=main.json", "--raycompat-report=now.json")
    result.assert_outcomes(passed=3, failed=1)
    report = read_report(pytester.path / "now.json")
    assert changes(report)["test_has_another_name"] == ("failed", "new")
    assert report.baseline is not None
    assert report.baseline.vanished == ("test_it.py::test_is_broken_anyway",)
    result.stdout.fnmatch_lines(["new: it is not in the baseline, and is failed now"])


def test_a_part_of_the_tests_can_be_compared(
    pytester: pytest.Pytester, run_with: Callable[..., pytest.RunResult]
) -> None:
    run_with("2.60.0", "--raycompat-report=main.json")
    result = run_with("2.60.0", "--raycompat-baseline=main.json", "-k", "broken_anyway")
    result.assert_outcomes(xfailed=1, deselected=3)
    assert result.ret == pytest.ExitCode.OK


def test_the_ini_file_counts_relative_to_itself(
    pytester: pytest.Pytester, run_with: Callable[..., pytest.RunResult]
) -> None:
    run_with("2.60.0", "--raycompat-report=reports/main.json")
    pytester.makeini("[pytest]\nraycompat_baseline = reports/main.json")
    run_with("2.60.0").assert_outcomes(passed=3, xfailed=1)


def test_junit_has_the_verdict_and_the_versions(
    pytester: pytest.Pytester, run_with: Callable[..., pytest.RunResult], plugin_arguments: tuple[str, ...]
) -> None:
    result = run_with("2.60.0", "--junitxml=junit.xml", "-k", "needs_a_new_ray or is_broken", *plugin_arguments)
    outcomes = result.parseoutcomes()
    assert (outcomes["passed"], outcomes["failed"]) == (1, 1)
    text = (pytester.path / "junit.xml").read_text()
    for name, value in (
        ("raycompat.verdict", "passed"),
        ("raycompat.verdict", "failed"),
        ("raycompat.ray", "2.60.0"),
        ("raycompat.vllm", "0.32.0"),
    ):
        assert f'<property name="{name}" value="{value}" />' in text


def usage_error(result: pytest.RunResult) -> str:
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    return result.errlines[0]


def test_a_baseline_that_is_not_there(pytester: pytest.Pytester, run_with: Callable[..., pytest.RunResult]) -> None:
    assert usage_error(run_with("2.60.0", "--raycompat-baseline=main.json")) == (
        f"ERROR: --raycompat-baseline: {pytester.path / 'main.json'}: No such file or directory"
    )


def test_a_baseline_that_is_no_report(pytester: pytest.Pytester, run_with: Callable[..., pytest.RunResult]) -> None:
    path = pytester.path / "main.json"
    path.write_text(json.dumps({"created": 1, "exitcode": 0, "tests": []}))
    assert usage_error(run_with("2.60.0", f"--raycompat-baseline={path}")) == (
        f"ERROR: --raycompat-baseline: {path}: not a report of pytest-raycompat: it looks like one of "
        "pytest-json-report; one is written by --raycompat-report=PATH.json"
    )


def test_a_baseline_of_another_device(pytester: pytest.Pytester, run_with: Callable[..., pytest.RunResult]) -> None:
    path = pytester.path / "main.json"
    run_with("2.60.0", f"--raycompat-report={path}", "-k", "ones_own")
    report = read_report(path)
    on_cuda = msgspec.structs.replace(report, device=msgspec.structs.replace(report.device, kind="cuda"))
    write_report(path, on_cuda)
    assert usage_error(run_with("2.60.0", f"--raycompat-baseline={path}")) == (
        f"ERROR: --raycompat-baseline: {path}: it is of Ray 2.60.0, vLLM 0.32.0, cuda, and this run is on cpu; "
        "take a baseline of a run on cpu"
    )


def test_a_folder_of_repeated_runs_knows_the_noise(
    pytester: pytest.Pytester, run_with: Callable[..., pytest.RunResult]
) -> None:
    path = pytester.path / "main" / "0.json"
    run_with("2.60.0", f"--raycompat-report={path}", "-k", "new_ray")
    report = read_report(path)
    for number in range(3):
        results = tuple(
            msgspec.structs.replace(record, timings=record.timings and {"total": 10 + number / 10})
            for record in report.results
        )
        write_report(path.with_name(f"{number}.json"), msgspec.structs.replace(report, results=results))
    result = run_with("2.60.0", "--raycompat-baseline=main", "-k", "new_ray")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(
        [
            "baseline: main of *: 2 unchanged",
            "  faster: corp_flows.modern, total: 10.1 ± 0.1 → 0.* s (-9? %; beyond the noise of one side: "
            "3 and 1 samples, 3 each would decide)",
        ]
    )


def test_of_several_environments_that_of_the_run_is_taken(
    pytester: pytest.Pytester, run_with: Callable[..., pytest.RunResult]
) -> None:
    for ray in ("2.60.0", "2.35.0"):
        run_with(ray, f"--raycompat-report={ray}.json")
    path = pytester.path / "main.json"
    both = [read_report(pytester.path / f"{ray}.json") for ray in ("2.60.0", "2.35.0")]
    write_report(path, ReportSet(reports=tuple(both)))
    old = run_with("2.35.0", "--raycompat-baseline=main.json", "--raycompat-report=now.json")
    assert old.ret == pytest.ExitCode.OK
    assert changes(read_report(pytester.path / "now.json"))["test_needs_a_new_ray"] == ("failed", "still-failing")
    assert usage_error(run_with("2.50.0", "--raycompat-baseline=main.json")) == (
        f"ERROR: --raycompat-baseline: {path}: it is of Ray 2.60.0, vLLM 0.32.0, cpu; Ray 2.35.0, vLLM 0.32.0, cpu; "
        "none is that of this run (Ray 2.50.0, vLLM 0.32.0, cpu), and several are as near to it"
    )
