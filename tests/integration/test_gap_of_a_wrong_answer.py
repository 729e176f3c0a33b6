"""A gap of what a flow gives, which a test finds wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from pytest_raycompat.report.document import read_report

GAP = """
id = "wrong-answer"
title = "It answers 41"
flows = ["corp_flows.answering"]
phase = "call"
raises = "AssertionError"
message = "it is 41"
intermittent = true
fix = "ray"
links = ["https://example.org/1"]

[when]
ray = ">=2"
executor = "uni"
"""
TESTS = """
def answer(run_flow):
    return run_flow("corp_flows.answering", executor="uni").outputs["answer"]

def test_answer(run_flow):
    assert answer(run_flow) == 42, "it is 41"

def test_positive(run_flow):
    assert answer(run_flow) > 0

def test_other(run_flow):
    assert answer(run_flow) == 43, "it is not 43"
"""


def test_it_excuses_that_answer_and_nothing_else(
    pytester: pytest.Pytester,
    run_pytest: Callable[..., pytest.RunResult],
    with_flows: Callable[[Mapping[str, str]], list[str]],
) -> None:
    arguments = with_flows({"answering": "reporter.output('answer', 41)"})
    pytester.makefile(".toml", **{"wrong-answer": GAP})
    pytester.makepyfile(test_it=TESTS)
    result = run_pytest(*arguments, "--raycompat-gaps=wrong-answer.toml", "--raycompat-report=r.json")
    result.assert_outcomes(xfailed=1, passed=1, failed=1)
    found = {
        one.id.rpartition("::")[2]: (one.verdict, one.gap) for one in read_report(pytester.path / "r.json").results
    }
    assert found == {
        "test_answer": ("known-gap", "wrong-answer"),
        "test_positive": ("passed", "wrong-answer"),
        "test_other": ("failed", None),
    }
