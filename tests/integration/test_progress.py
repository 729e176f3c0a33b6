"""What is shown while a run goes on."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import pytest

SLOW = "reporter.phase('start'); time.sleep(2.6)"
TESTS = """
def test_fails(run_flow):
    run_flow("corp_flows.broken")

def test_slow(run_flow):
    run_flow("corp_flows.slow", executor_of_ours="a-name-that-is-longer-than-what-is-left", tensor_parallel_size=2)
"""


@pytest.mark.parametrize("columns", [80, 120])
def test_the_flow_its_phase_and_how_much_is_done(
    pytester: pytest.Pytester,
    run_pytest: Callable[..., pytest.RunResult],
    with_flows: Callable[[Mapping[str, str]], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    columns: int,
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    options = with_flows({"slow": SLOW, "broken": "raise ValueError('no')"})
    pytester.makepyfile(TESTS)
    result = run_pytest(*options)
    (line,) = [line for line in result.outlines if "deadline in" in line]
    assert len(line) <= columns
    assert re.fullmatch(
        r"  corp_flows\.slow \S.*(…|TP=2): start 2 s, deadline in 59\d s \(1/2 done, 1 red, 0:0\d\)", line
    )


def test_nothing_of_it_with_q(
    pytester: pytest.Pytester,
    run_pytest: Callable[..., pytest.RunResult],
    with_flows: Callable[[Mapping[str, str]], list[str]],
) -> None:
    options = with_flows({"slow": SLOW, "broken": "pass"})
    pytester.makepyfile(TESTS)
    result = run_pytest(*options, "-q", "-k", "slow")
    result.stdout.no_fnmatch_line("*deadline in*")
    assert "verdicts: 1 passed" in result.outlines
