from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from pytest_raycompat.report.document import Report, read_report

TESTS = """
import pytest

@pytest.mark.nodes(3)
def test_needs(): pass

@pytest.mark.ray_version("<9")
@pytest.mark.gpus(2)
def test_needs_more(): pass

@pytest.mark.known_gap("cgraph-version-guard")
def test_works(): pass

@pytest.mark.known_gap("cgraph-version-guard")
def test_fails(): raise ValueError("no\\nmore")

@pytest.mark.known_gap("cgraph-version-guard")
@pytest.mark.parametrize("size", [1, 2])
def test_fails_with(size): assert size == 3

@pytest.fixture
def broken(): raise OSError("no disk")

@pytest.mark.known_gap("cgraph-version-guard")
def test_cannot_begin(broken): pass

@pytest.fixture
def leaking():
    yield
    raise OSError("no disk")

@pytest.mark.known_gap("cgraph-version-guard")
def test_cannot_end(leaking): pass

@pytest.mark.known_gap("cgraph-version-guard")
@pytest.mark.xfail
def test_expected(): assert False

def test_not_ours(): pass
"""


@pytest.fixture
def run_pytest(
    run_pytest: Callable[..., pytest.RunResult], make_interpreter: Callable[..., Path]
) -> Callable[..., pytest.RunResult]:
    """Run pytest on an environment where the gap that the tests are marked with does not apply."""
    python = make_interpreter({"ray": "2.60.0", "vllm": "0.32.0"})
    return lambda *arguments: run_pytest(f"--raycompat-python={python}", *arguments)


def verdicts(report: Report) -> dict[str, tuple[str, str]]:
    return {record.id.partition("::")[2]: (record.verdict, record.reason) for record in report.results}


def test_a_path_of_another_format_is_a_usage_error(
    pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult]
) -> None:
    result = run_pytest("--raycompat-report=report.xml")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.errlines[0] == (
        f"ERROR: --raycompat-report: '{pytester.path / 'report.xml'}' has no known format: "
        "write a path that ends in .json, .md or .html"
    )


def test_a_path_that_cannot_be_written_is_a_usage_error(run_pytest: Callable[..., pytest.RunResult]) -> None:
    result = run_pytest("--raycompat-report=/proc/report.json")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.errlines[0] == (
        "ERROR: --raycompat-report: '/proc/report.json' cannot be written: /proc: No such file or directory"
    )


def test_a_path_below_a_file_is_a_usage_error(
    pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult]
) -> None:
    pytester.makepyfile(TESTS)
    (pytester.path / "file").touch()
    result = run_pytest("--raycompat-report=file/r.json")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    path = pytester.path / "file" / "r.json"
    assert result.errlines[0] == f"ERROR: --raycompat-report: '{path}' is below 'file', which is a file"


def test_every_verdict_is_in_it(
    pytester: pytest.Pytester,
    run_pytest: Callable[..., pytest.RunResult],
    plugin_arguments: tuple[str, ...],
) -> None:
    pytester.makepyfile(TESTS)
    result = run_pytest("--raycompat-report=a/r.json", *plugin_arguments)
    result.assert_outcomes(passed=3, failed=3, errors=2, skipped=2, xfailed=1)
    report = read_report(pytester.path / "a" / "r.json")
    needs = "(this machine, no Ray cluster)"
    assert verdicts(report) == {
        "test_needs": ("unsupported", f"needs 3 Ray nodes, found 0 {needs}"),
        "test_needs_more": ("unsupported", f"needs 2 GPUs, found 0 {needs}"),
        "test_works": ("passed", ""),
        "test_fails": ("failed", "ValueError: no\nmore"),
        "test_fails_with[1]": ("failed", "AssertionError: assert 1 == 3"),
        "test_fails_with[2]": ("failed", "AssertionError: assert 2 == 3"),
        "test_cannot_begin": ("infra", "setup: OSError: no disk"),
        "test_cannot_end": ("infra", "teardown: OSError: no disk"),
        "test_expected": ("untested", "it is marked xfail; mark it known_gap(id) for a verdict"),
    }
    assert report.finished is True
    assert report.cluster is None
    assert (report.environment.ray, report.environment.vllm) == ("2.60.0", "0.32.0")
    output = result.stdout.str()
    assert "verdicts: 1 passed, 2 unsupported, 1 untested, 3 failed, 2 infra" in result.outlines
    assert "report: a/r.json" in result.outlines
    assert "  infra: setup: OSError: no disk" in output


def test_a_strict_xfail_that_passes_is_not_green(
    pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult]
) -> None:
    pytester.makepyfile(
        """
        import pytest
        @pytest.mark.known_gap("cgraph-version-guard")
        @pytest.mark.xfail(strict=True)
        def test_a(): pass
        """
    )
    run_pytest("--raycompat-report=r.json").assert_outcomes(failed=1)
    assert read_report(pytester.path / "r.json").results[0].verdict == "failed"


def test_it_may_be_given_more_than_once(pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult]) -> None:
    pytester.makepyfile(TESTS)
    result = run_pytest("--raycompat-report=a.json", "--raycompat-report=b.json", "-k", "test_works")
    assert read_report(pytester.path / "a.json") == read_report(pytester.path / "b.json")
    assert [line for line in result.outlines if line.startswith("report: ")] == ["report: a.json", "report: b.json"]


def test_the_ini_file_counts_relative_to_itself_unless_the_command_line_says_otherwise(
    pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makeini("[pytest]\nraycompat_report = out/r.json")
    pytester.mkdir("tests").joinpath("test_a.py").write_text(TESTS)
    monkeypatch.chdir(pytester.path / "tests")
    run_pytest("-k", "test_works")
    assert (pytester.path / "out" / "r.json").is_file()
    run_pytest("-k", "test_works", "--raycompat-report=mine.json")
    assert (pytester.path / "tests" / "mine.json").is_file()


def test_without_a_cluster_there_is_none_unless_asked_for(
    pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult]
) -> None:
    pytester.makepyfile(TESTS)
    result = run_pytest("-k", "test_works")
    assert "verdicts: 1 passed" in result.outlines
    assert not list(pytester.path.rglob("*.json"))


def test_a_run_without_a_test_of_ours_has_a_report_too(
    pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult]
) -> None:
    pytester.makepyfile("def test_a(): pass")
    run_pytest("--raycompat-report=r.json").assert_outcomes(passed=1)
    assert read_report(pytester.path / "r.json").results == ()


ORDERED = """
import pytest, sys

@pytest.mark.known_gap("cgraph-version-guard")
def test_1(): assert False

@pytest.mark.known_gap("cgraph-version-guard")
@pytest.mark.parametrize("number", range(20))
def test_2(number): import time; time.sleep(0.1)
"""


def test_what_was_not_reached_is_untested(
    pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult]
) -> None:
    pytester.makepyfile(ORDERED)
    result = run_pytest("--raycompat-report=r.json", "-x")
    found = verdicts(read_report(pytester.path / "r.json"))
    assert found.pop("test_1")[0] == "failed"
    assert found == {f"test_2[{number}]": ("untested", "the run ended before it") for number in range(20)}
    assert "verdicts: 20 untested, 1 failed" in result.outlines


def test_what_the_workers_did_not_reach_is_untested(
    pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult]
) -> None:
    pytester.makepyfile(ORDERED)
    run_pytest("--raycompat-report=r.json", "-x", "-n", "2")
    found = verdicts(read_report(pytester.path / "r.json"))
    assert len(found) == 21
    assert ("untested", "the run ended before it") in found.values()


def test_a_test_that_takes_its_worker_with_it_is_in_the_report(
    pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult]
) -> None:
    pytester.makepyfile(
        """
        import os, pytest
        @pytest.mark.known_gap("cgraph-version-guard")
        def test_dies(): os._exit(1)
        @pytest.mark.known_gap("cgraph-version-guard")
        def test_works(): pass
        """
    )
    run_pytest("--raycompat-report=r.json", "-n", "1")
    found = verdicts(read_report(pytester.path / "r.json"))
    assert found["test_works"] == ("passed", "")
    verdict, reason = found["test_dies"]
    assert verdict == "infra"
    assert reason.startswith("worker 'gw0' crashed while running ")


def test_a_run_that_is_cut_off_leaves_what_it_had(
    pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult]
) -> None:
    pytester.makepyfile(
        """
        import os, pytest
        @pytest.mark.known_gap("cgraph-version-guard")
        def test_dies(): os._exit(1)
        """
    )
    run_pytest("--raycompat-report=r.json")
    report = read_report(pytester.path / "r.json")
    assert report.finished is False
    assert verdicts(report) == {"test_dies": ("untested", "the run ended before it")}


def test_collecting_writes_none(pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult]) -> None:
    pytester.makepyfile(TESTS)
    run_pytest("--collect-only", "--raycompat-report=r.json")
    assert not (pytester.path / "r.json").exists()


def test_no_path_of_the_checkout_is_in_it_and_the_terminal_names_logs_from_where_one_is(
    pytester: pytest.Pytester,
    run_pytest: Callable[..., pytest.RunResult],
    with_flows: Callable[[Mapping[str, str]], list[str]],
    plugin_arguments: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = with_flows({"broken": "raise OSError(f'{os.getcwd()}/data.bin is missing')"})
    pytester.makeini("[pytest]")
    folder = pytester.mkdir("below")
    (folder / "test_it.py").write_text("def test_it(run_flow):\n    run_flow('corp_flows.broken')\n")
    monkeypatch.syspath_prepend(pytester.path)
    monkeypatch.setenv("PYTHONPATH", str(pytester.path))
    monkeypatch.chdir(folder)
    result = run_pytest(*options, f"--raycompat-report={pytester.path / 'r.json'}", *plugin_arguments)
    (record,) = read_report(pytester.path / "r.json").results
    assert record.reason == "error in phase 'launch': OSError: below/data.bin is missing"
    (log,) = record.logs
    assert log.startswith(".raycompat/logs/")
    text = (pytester.path / "r.json").read_text().replace(record.reproduce, "")
    assert str(pytester.path) not in text
    result.stdout.fnmatch_lines([f"  log: {pytester.path / log}", f"report: {pytester.path / 'r.json'}"])


def test_a_test_of_an_installed_package_is_reproduced_by_its_file(
    pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    package = pytester.mkdir("site") / "corp_suites"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "test_installed.py").write_text(
        "import pytest\n\n@pytest.mark.ray_version('>=2')\ndef test_a(): raise OSError('no disk')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    root = pytester.mkdir("project")
    monkeypatch.chdir(root)
    report = root / "r.json"
    run_pytest("--pyargs", "corp_suites", f"--rootdir={root}", f"--raycompat-report={report}")
    (record,) = read_report(report).results
    identifier = record.reproduce.split()[1]
    assert identifier == f"{package / 'test_installed.py'}::test_a"
    run_pytest(identifier, f"--rootdir={root}").assert_outcomes(failed=1)
