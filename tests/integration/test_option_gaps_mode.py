from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from pytest_raycompat.report.document import read_report

GAP = """\
id = "corp-fork"
title = "the fork has no placement groups"
flows = ["corp_flows.place"]
raises = "LookupError"
message = "no placement group"
fix = "never"
links = ["https://example.org/1"]

[when]
ray = "<2.43"
executor = "mp"
"""
TESTS = """
import pytest

def test_flow(run_flow): run_flow("corp_flows.place", executor="mp")

def test_flow_with_other_parameters(run_flow): run_flow("corp_flows.place", executor="uni")

def test_other_flow(run_flow): run_flow("corp_flows.elsewhere", executor="mp")

def test_control_first(run_flow):
    run_flow.control("corp_flows.elsewhere")
    run_flow("corp_flows.place", executor="mp")

@pytest.mark.known_gap("corp-fork")
def test_marked(): raise LookupError("no placement group")

@pytest.mark.ray_version(">=2")
def test_ours_without_a_gap(): pass

def test_not_ours(): pass
"""


@pytest.fixture
def verdicts_in(
    pytester: pytest.Pytester,
    run_pytest: Callable[..., pytest.RunResult],
    make_interpreter: Callable[..., Path],
    with_flows: Callable[[Mapping[str, str]], list[str]],
) -> Callable[..., tuple[pytest.RunResult, dict[str, tuple[str, str]]]]:
    """Run the tests, and return how it went with each verdict and the first line of its reason."""
    (pytester.path / "corp-fork.toml").write_text(GAP)
    with_flows({"place": "raise LookupError('no placement group')", "elsewhere": "pass"})
    pytester.makepyfile(test_it=TESTS)

    def run(*arguments: str, ray: str = "2.35.0+corp.3") -> tuple[pytest.RunResult, dict[str, tuple[str, str]]]:
        python = make_interpreter({"ray": ray, "vllm": "0.32.0"})
        result = run_pytest(
            "--ray-cluster=local",
            f"--raycompat-python={python}",
            "--raycompat-gaps=corp-fork.toml",
            "--raycompat-report=r.json",
            *arguments,
        )
        records = read_report(pytester.path / "r.json").results
        return result, {
            record.id.partition("::")[2]: (record.verdict, (record.reason.splitlines() or [""])[0])
            for record in records
        }

    return run


EXPECTED = ("known-gap", "corp-fork: the fork has no placement groups")
SKIPPED = ("untested", "--raycompat-gaps-mode=skip: known gap corp-fork: the fork has no placement groups")
LEFT_OUT = ("untested", "--raycompat-gaps-mode=only: no known gap applies")
UNEXPECTED = ("failed", "error in phase 'launch': LookupError: no placement group")


def test_by_default_they_run_and_are_expected(
    verdicts_in: Callable[..., tuple[pytest.RunResult, dict[str, tuple[str, str]]]],
) -> None:
    result, verdicts = verdicts_in()
    result.assert_outcomes(xfailed=3, passed=3, failed=1)
    assert verdicts == {
        "test_flow": EXPECTED,
        "test_flow_with_other_parameters": UNEXPECTED,
        "test_other_flow": ("passed", ""),
        "test_control_first": EXPECTED,
        "test_marked": EXPECTED,
        "test_ours_without_a_gap": ("passed", ""),
    }


def test_they_can_be_left_out(
    verdicts_in: Callable[..., tuple[pytest.RunResult, dict[str, tuple[str, str]]]], plugin_arguments: tuple[str, ...]
) -> None:
    result, verdicts = verdicts_in("--raycompat-gaps-mode=skip", *plugin_arguments)
    result.assert_outcomes(skipped=3, passed=3, failed=1)
    assert verdicts == {
        "test_flow": SKIPPED,
        "test_flow_with_other_parameters": UNEXPECTED,
        "test_other_flow": ("passed", ""),
        "test_control_first": SKIPPED,
        "test_marked": SKIPPED,
        "test_ours_without_a_gap": ("passed", ""),
    }


def test_they_can_be_run_alone_as_normal_tests(
    verdicts_in: Callable[..., tuple[pytest.RunResult, dict[str, tuple[str, str]]]],
    pytester: pytest.Pytester,
    plugin_arguments: tuple[str, ...],
) -> None:
    result, verdicts = verdicts_in("--raycompat-gaps-mode=only", *plugin_arguments)
    result.assert_outcomes(failed=3, skipped=3, passed=1)
    assert verdicts == {
        "test_flow": UNEXPECTED,
        "test_flow_with_other_parameters": LEFT_OUT,
        "test_other_flow": LEFT_OUT,
        "test_control_first": UNEXPECTED,
        "test_marked": ("failed", "error in phase 'call': LookupError: no placement group"),
        "test_ours_without_a_gap": LEFT_OUT,
    }
    report = read_report(pytester.path / "r.json")
    failed = [record for record in report.results if record.verdict == "failed"]
    assert {record.reason.splitlines()[-1] for record in failed} == {
        "this is corp-fork: the fork has no placement groups (corp-fork.toml:1)"
    }
    assert [(gap.id, gap.shown) for gap in report.gaps] == [("corp-fork", 3)]


def test_alone_a_pass_is_a_pass(
    verdicts_in: Callable[..., tuple[pytest.RunResult, dict[str, tuple[str, str]]]],
    pytester: pytest.Pytester,
) -> None:
    for name in ("place", "elsewhere"):
        file = pytester.path / "corp_flows" / f"{name}.py"
        file.write_text(file.read_text().replace("raise LookupError('no placement group')", "pass"))
    pytester.makepyfile(test_it=TESTS.replace('raise LookupError("no placement group")', "pass"))
    result, _ = verdicts_in("--raycompat-gaps-mode=only")
    result.assert_outcomes(passed=4, skipped=3)


def test_where_no_gap_applies_none_is_run_alone(
    verdicts_in: Callable[..., tuple[pytest.RunResult, dict[str, tuple[str, str]]]],
) -> None:
    result, verdicts = verdicts_in("--raycompat-gaps-mode=only", ray="2.60.0")
    result.assert_outcomes(skipped=6, passed=1)
    assert set(verdicts.values()) == {LEFT_OUT}


def test_what_is_left_out_is_not_worse_than_in_a_baseline_of_the_same_mode(
    verdicts_in: Callable[..., tuple[pytest.RunResult, dict[str, tuple[str, str]]]], pytester: pytest.Pytester
) -> None:
    """And with a baseline of another mode nothing can be compared."""
    skip = ("-k", "test_marked", "--raycompat-gaps-mode=skip")
    verdicts_in(*skip)
    (pytester.path / "r.json").rename(pytester.path / "main.json")
    verdicts_in(*skip, "--raycompat-baseline=main.json")[0].assert_outcomes(skipped=1)
    result, _ = verdicts_in("-k", "test_marked", "--raycompat-baseline=main.json")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.errlines[0].endswith(
        "main.json: it is of Ray 2.35.0+corp.3, vLLM 0.32.0, cpu, --raycompat-gaps-mode=skip, and this run has "
        "--raycompat-gaps-mode=run, with which a verdict means something else; take a baseline of a run with the same "
        "mode"
    )


def test_the_ini_file_counts_unless_the_command_line_says_otherwise(
    verdicts_in: Callable[..., tuple[pytest.RunResult, dict[str, tuple[str, str]]]], pytester: pytest.Pytester
) -> None:
    pytester.makeini("[pytest]\nraycompat_gaps_mode = skip")
    assert verdicts_in("-k", "test_marked")[1] == {"test_marked": SKIPPED}
    assert verdicts_in("-k", "test_marked", "--raycompat-gaps-mode=run")[1] == {"test_marked": EXPECTED}


def test_another_mode_is_a_usage_error(run_pytest: Callable[..., pytest.RunResult]) -> None:
    result = run_pytest("--raycompat-gaps-mode=none")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.errlines[0] == "ERROR: --raycompat-gaps-mode: 'none' is not a mode: write run, skip, only"
