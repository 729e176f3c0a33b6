"""What is shown while a run goes on."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping

import pytest

from tests.terminal import run_on_terminal

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


THREE = """
def test_quick(run_flow):
    run_flow("corp_flows.quick")

def test_slow(run_flow):
    run_flow("corp_flows.slow", executor_of_ours="a-name-that-is-longer-than-what-is-left", tensor_parallel_size=2)

def test_quick_again(run_flow):
    run_flow("corp_flows.quick")
"""


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("arguments", [(), ("--color=no",)], ids=["colour", "no-colour"])
def test_on_a_terminal_one_line_below_is_rewritten_and_taken_away(
    pytester: pytest.Pytester,
    with_flows: Callable[[Mapping[str, str]], list[str]],
    clean_environment: pytest.MonkeyPatch,
    columns: int,
    arguments: tuple[str, ...],
) -> None:
    options = with_flows({"slow": SLOW, "quick": "pass"})
    pytester.makepyfile(test_it=THREE)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options, *arguments]
    screens = list(run_on_terminal(command, pytester.path, columns))
    during = [lines for lines in screens if any("deadline in" in line for line in lines)]
    seconds = set()
    for lines in during:
        dots, line = [line for line in lines if line][-2:]
        assert dots.startswith("test_it.py"), "the line of dots stays whole"
        assert len(line) < columns
        match = re.fullmatch(r"  corp_flows\.\w+.*: (\w+) (\d+) s, deadline in \d+ s \((\d)/3 done, 0:\d\d\)", line)
        assert match, line
        if "slow" in line:
            assert (dots, match[3]) == ("test_it.py .", "1")
            seconds.add((match[1], int(match[2])))
    assert ("start", 2) in seconds
    end = screens[-1]
    assert [line for line in end if "deadline in" in line] == []
    assert [line for line in end if line.startswith("test_it.py")] == [f"test_it.py ...{'[100%]':>{columns - 15}}"]
    assert "verdicts: 3 passed" in end


PAIR = """
import pytest, time

@pytest.mark.parametrize("name", ["a", "b"])
def test_it(run_flow, name):
    run_flow("corp_flows.slow", side=name)
    time.sleep(0.2)

def test_that_needs_nothing(run_flow): pass
"""


def test_under_xdist_each_worker_has_a_line(
    pytester: pytest.Pytester,
    with_flows: Callable[[Mapping[str, str]], list[str]],
    clean_environment: pytest.MonkeyPatch,
) -> None:
    options = with_flows({"slow": SLOW})
    pytester.makepyfile(test_it=PAIR)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-n", "2", *options]
    screens = list(run_on_terminal(command, pytester.path))
    pattern = r"  (gw\d) corp_flows\.slow side=(\w+): (\w+) \d+ s, deadline in \d+ s"
    both = []
    for lines in screens:
        said = [line for line in lines if "deadline in" in line]
        matches = [re.match(pattern, line) for line in said]
        assert all(matches), said
        if len(said) == 2:
            both.append([match.groups() for match in matches if match])
            assert re.fullmatch(r"  \d/3 done, 0:\d\d", [line for line in lines if line][-1])
    assert {worker for one in both for worker, _, _ in one} == {"gw0", "gw1"}
    assert {side for one in both for _, side, _ in one} == {"a", "b"}
    assert any(phase == "start" for one in both for _, _, phase in one)
    end = screens[-1]
    assert [line for line in end if "deadline in" in line or re.search(r" done, \d:", line)] == []
    assert [line for line in end if line.startswith("...")] == [f"...{'[100%]':>76}"]
    assert "verdicts: 3 passed" in end


def test_under_xdist_without_a_terminal_a_phase_that_takes_long_has_a_line(
    pytester: pytest.Pytester,
    run_pytest: Callable[..., pytest.RunResult],
    with_flows: Callable[[Mapping[str, str]], list[str]],
) -> None:
    options = with_flows({"slow": SLOW})
    pytester.makepyfile(test_it=PAIR)
    result = run_pytest("-n", "2", *options)
    result.assert_outcomes(passed=3)
    lines = [line for line in result.outlines if "deadline in" in line]
    assert len(lines) == 2
    for line in lines:
        assert re.fullmatch(
            r"  gw\d corp_flows\.slow side=\w+: start \d s, deadline in 59\d s \(\d/3 done, 0:0\d\)", line
        ), line


def test_a_worker_that_is_lost_does_nothing_any_more(
    pytester: pytest.Pytester,
    with_flows: Callable[[Mapping[str, str]], list[str]],
    clean_environment: pytest.MonkeyPatch,
) -> None:
    options = with_flows({"slow": "reporter.phase('start'); time.sleep(1.5); os.kill(os.getppid(), 9); time.sleep(9)"})
    pytester.makepyfile(test_it="def test_it(run_flow):\n    run_flow('corp_flows.slow')\n")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-n", "1", "--max-worker-restart=0", *options]
    screens = list(run_on_terminal(command, pytester.path))
    assert any("gw0 corp_flows.slow: start 1 s" in line for lines in screens for line in lines)
    end = screens[-1]
    assert [line for line in end if "deadline in" in line] == []
    assert "verdicts: 1 infra" in end
