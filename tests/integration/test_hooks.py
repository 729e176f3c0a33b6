from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from pytest_raycompat.report.document import read_report


@pytest.fixture
def run_pytest(
    run_pytest: Callable[..., pytest.RunResult], make_interpreter: Callable[..., Path]
) -> Callable[..., pytest.RunResult]:
    """Run pytest on an environment where the gap that the tests are marked with does not apply."""
    python = make_interpreter({"ray": "2.60.0", "vllm": "0.32.0"})
    return lambda *arguments: run_pytest(f"--raycompat-python={python}", *arguments)


def test_what_a_flow_gave_can_be_looked_at(
    pytester: pytest.Pytester,
    run_pytest: Callable[..., pytest.RunResult],
    with_flows: Callable[[Mapping[str, str]], list[str]],
) -> None:
    arguments = with_flows({"works": "reporter.output('text', 'hello')", "raises": "raise LookupError('no')"})
    pytester.makeconftest(
        """
        import json

        def pytest_raycompat_flow_finished(config, result):
            with open(config.rootpath / "seen.jsonl", "a") as stream:
                seen = [result.flow, result.parameters, result.outcome, result.outputs, sorted(result.timings)]
                print(json.dumps(seen), file=stream)
        """
    )
    pytester.makepyfile(
        """
        def test_a(run_flow):
            for _ in range(2):
                run_flow("corp_flows.works", size=2)
            run_flow("corp_flows.raises")
        """
    )
    run_pytest(*arguments).assert_outcomes(failed=1)
    assert list(map(json.loads, (pytester.path / "seen.jsonl").read_text().splitlines())) == [
        ["corp_flows.works", {"size": 2}, "ok", {"text": "hello"}, ["exit", "launch", "total"]],
        ["corp_flows.raises", {}, "error", {}, ["launch", "total"]],
    ]


REPLACE = """
import pytest
from pytest_raycompat.judgement import Judgement

def pytest_raycompat_verdict(item, judgement):
    mark = item.get_closest_marker("becomes")
    return Judgement(mark.args[0], f"was {judgement.verdict}") if mark else None

def pytest_configure(config):
    config.addinivalue_line("markers", "becomes(verdict): for the hook")
"""
TEST = """
import pytest

@pytest.mark.becomes("{verdict}")
@pytest.mark.known_gap("cgraph-version-guard")
def test_a(): {body}

@pytest.mark.known_gap("cgraph-version-guard")
def test_b(): pass
"""


@pytest.mark.parametrize(
    ("body", "verdict", "reason", "outcomes"),
    [
        ("assert False", "infra", "was failed", {"passed": 1, "failed": 1}),
        ("pytest.skip('x')", "crashed", "was unsupported", {"passed": 1, "failed": 1}),
        ("assert False", "known-gap", "was failed", {"passed": 1, "xfailed": 1}),
        ("assert False", "unsupported", "was failed", {"passed": 1, "skipped": 1}),
        ("assert False", "passed", "was failed", {"passed": 2}),
    ],
)
def test_a_verdict_can_be_replaced_and_the_outcome_follows(
    pytester: pytest.Pytester,
    run_pytest: Callable[..., pytest.RunResult],
    body: str,
    verdict: str,
    reason: str,
    outcomes: dict[str, int],
) -> None:
    pytester.makeconftest(REPLACE)
    pytester.makepyfile(TEST.format(body=body, verdict=verdict))
    run_pytest("--raycompat-report=r.json").assert_outcomes(**outcomes)
    first, second = read_report(pytester.path / "r.json").results
    assert (first.verdict, first.reason) == (verdict, reason)
    assert (second.verdict, second.reason) == ("passed", "")


def test_a_verdict_is_replaced_in_the_workers_too(
    pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult]
) -> None:
    pytester.makeconftest(REPLACE)
    pytester.makepyfile(TEST.format(body="assert False", verdict="known-gap"))
    run_pytest("--raycompat-report=r.json", "-n", "2").assert_outcomes(passed=1, xfailed=1)
    verdicts = sorted(record.verdict for record in read_report(pytester.path / "r.json").results)
    assert verdicts == ["known-gap", "passed"]


@pytest.mark.parametrize("hook", ["pytest_raycompat_verdict(item, verdict)", "pytest_raycompat_flow_finished(outcome)"])
def test_an_argument_that_a_hook_does_not_have_is_an_error(
    pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult], hook: str
) -> None:
    pytester.makeconftest(f"def {hook}: pass")
    result = run_pytest()
    assert result.ret != pytest.ExitCode.OK
    assert "Argument(s) {" in result.stderr.str() + result.stdout.str()


def test_a_hook_that_there_is_not_is_an_error(
    pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult]
) -> None:
    pytester.makeconftest("def pytest_raycompat_flow_began(config): pass")
    result = run_pytest()
    assert "unknown hook 'pytest_raycompat_flow_began'" in result.stderr.str() + result.stdout.str()
