"""pytest-rerunfailures: every attempt is kept, and what ended in several ways is said to be flaky."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from pytest_raycompat.report.document import read_report

SOMETIMES = """
from pathlib import Path
counter = Path({folder!r}, "counter")
attempt = int(counter.read_text()) if counter.exists() else 0
counter.write_text(str(attempt + 1))
reporter.phase("start")
if attempt < {failures}:
    raise RuntimeError(f"attempt {{attempt}} failed")
"""
TESTS = """
def test_sometimes(run_flow):
    run_flow("corp_flows.sometimes")

def test_shares_the_flow(run_flow):
    run_flow("corp_flows.sometimes")
"""


@pytest.mark.parametrize("failures", [2, 9], ids=["in the end it works", "it never works"])
def test_every_attempt_is_kept(
    pytester: pytest.Pytester,
    run_pytest: Callable[..., pytest.RunResult],
    with_flows: Callable[[Mapping[str, str]], list[str]],
    plugin_arguments: tuple[str, ...],
    failures: int,
) -> None:
    options = with_flows({"sometimes": SOMETIMES.format(folder=str(pytester.path), failures=failures)})
    pytester.makepyfile(TESTS)
    workers = ("-n", "1") if plugin_arguments else ()  # so that both tests share the flow
    result = run_pytest("--reruns=2", "--raycompat-report=r.json", "--raycompat-report=r.md", *options, *workers)
    first, second = read_report(pytester.path / "r.json").results
    assert [attempt.reason for attempt in first.attempts] == [
        "error in phase 'start': RuntimeError: attempt 0 failed",
        "error in phase 'start': RuntimeError: attempt 1 failed",
    ]
    assert [attempt.verdict for attempt in first.attempts] == ["failed", "failed"]
    assert all(attempt.logs for attempt in first.attempts)
    if failures == 2:
        assert (first.verdict, first.flaky) == ("passed", True)
        assert (second.verdict, second.flaky, second.attempts) == ("passed", False, ())
        assert "verdicts: 2 passed (1 flaky)" in result.outlines
        result.stdout.fnmatch_lines(
            [
                "corp_flows.sometimes * passed * 1 flaky",
                "*::test_sometimes",
                "  flaky: attempts ended with other verdicts",
                "  attempt 1: failed: error in phase 'start': RuntimeError: attempt 0 failed",
                "  attempt 2: failed: error in phase 'start': RuntimeError: attempt 1 failed",
                "  attempt 3: passed",
            ]
        )
        assert "(1 flaky)" in (pytester.path / "r.md").read_text()
    else:
        assert (first.verdict, first.flaky) == ("failed", False)
        assert first.reason == "error in phase 'start': RuntimeError: attempt 2 failed"


def test_a_control_that_failed_is_run_again(
    pytester: pytest.Pytester,
    run_pytest: Callable[..., pytest.RunResult],
    with_flows: Callable[[Mapping[str, str]], list[str]],
) -> None:
    options = with_flows({"sometimes": SOMETIMES.format(folder=str(pytester.path), failures=1)})
    pytester.makepyfile("def test_control(run_flow): run_flow.control('corp_flows.sometimes')")
    run_pytest("--reruns=1", "--raycompat-report=r.json", *options).assert_outcomes(passed=1)
    (record,) = read_report(pytester.path / "r.json").results
    assert (record.verdict, [attempt.verdict for attempt in record.attempts]) == ("passed", ["control-failed"])
    assert (pytester.path / "counter").read_text() == "2"


def test_what_was_broken_before_is_not_run_again(
    pytester: pytest.Pytester,
    run_pytest: Callable[..., pytest.RunResult],
    with_flows: Callable[[Mapping[str, str]], list[str]],
) -> None:
    options = with_flows({"sometimes": SOMETIMES.format(folder=str(pytester.path), failures=9)})
    pytester.makepyfile(TESTS)
    run_pytest("--raycompat-report=r.json", *options)
    run_pytest("--reruns=2", "--raycompat-baseline=r.json", *options).assert_outcomes(xfailed=2)
    assert (pytester.path / "counter").read_text() == "2"
