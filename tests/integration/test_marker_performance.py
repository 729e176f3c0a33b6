from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import suites.performance

SUITE = Path(suites.performance.__file__).parent


@pytest.fixture
def suite(pytester: pytest.Pytester) -> None:
    """The suite's own way of leaving itself out, around tests that take no time."""
    folder = pytester.mkdir("slow")
    (folder / "conftest.py").write_text((SUITE / "conftest.py").read_text())
    (folder / "test_slow.py").write_text("import pytest\n@pytest.mark.performance\ndef test_slow(): pass\n")
    pytester.makepyfile(test_own="import pytest\n@pytest.mark.performance\ndef test_own(): pass\n")


@pytest.mark.usefixtures("suite")
def test_the_suite_runs_only_where_it_is_asked_for(run_pytest: Callable[..., pytest.RunResult]) -> None:
    run_pytest("--strict-markers").assert_outcomes(passed=1, deselected=1)
    run_pytest("-m", "performance").assert_outcomes(passed=2)
    run_pytest("-m", "not performance").assert_outcomes(deselected=2)
    run_pytest("slow").assert_outcomes(deselected=1)


def test_every_test_of_the_suite_is_marked(run_pytest: Callable[..., pytest.RunResult]) -> None:
    result = run_pytest("--collect-only", "-q", "-m", "performance", f"--rootdir={SUITE.parents[1]}", SUITE)
    assert len([line for line in result.outlines if "::test_measure[" in line]) == 9
    run_pytest("--collect-only", "-m", "not performance", f"--rootdir={SUITE.parents[1]}", SUITE).stdout.fnmatch_lines(
        ["*no tests collected (9 deselected)*"]
    )
