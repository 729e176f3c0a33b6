from __future__ import annotations

from collections.abc import Callable

import pytest

PROBLEM = "is not a number of flows: write a whole number from 1 to 32"


@pytest.mark.parametrize("value", ["0", "many"])
def test_a_wrong_value_is_a_usage_error(run_pytest: Callable[..., pytest.RunResult], value: str) -> None:
    result = run_pytest(f"--raycompat-flows-per-gpu={value}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.errlines[0] == f"ERROR: --raycompat-flows-per-gpu: {value!r} {PROBLEM}"


def test_the_ini_file_counts_unless_the_command_line_says_otherwise(
    pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult]
) -> None:
    pytester.makeini("[pytest]\nraycompat_flows_per_gpu = 99")
    pytester.makepyfile("def test_a(): pass")
    result = run_pytest()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.errlines[0] == f"ERROR: --raycompat-flows-per-gpu: '99' {PROBLEM}"
    run_pytest("--raycompat-flows-per-gpu=2").assert_outcomes(passed=1)
