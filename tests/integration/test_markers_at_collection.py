from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_raycompat.gaps import builtin_gaps

WRONG = """import pytest

@pytest.mark.gpus(0)
def test_a(): pass

@pytest.mark.gpus(1, memory=40)
@pytest.mark.nodes()
def test_b(): pass

def test_right(): pass

class TestC:
    @pytest.mark.ray_version("2.44")
    @pytest.mark.parametrize("size", [1, 2])
    def test_c(self, size): pass

@pytest.mark.known_gap("no-such-gap")
@pytest.mark.known_gap(7)
def test_d(): pass
"""
FOUND = [
    "test_wrong.py:3: @pytest.mark.gpus(0): write a whole number from 1, such as gpus(2)",
    "test_wrong.py:6: @pytest.mark.gpus: unknown argument 'memory', write gpus(n, min_memory_gb=None, alone=False)",
    "test_wrong.py:6: @pytest.mark.nodes: argument 'n' is missing, write nodes(n)",
    "test_wrong.py:13: @pytest.mark.ray_version('2.44'): '2.44' is not a version specifier; "
    "write '>=2.44', '==2.44' or '>=2.44,<3'",
    "test_wrong.py:17: @pytest.mark.known_gap('no-such-gap'): there is no such gap; there are "
    + ", ".join(sorted(gap.id for gap in builtin_gaps())),
    "test_wrong.py:17: @pytest.mark.known_gap(7): write the id of a gap as text",
]


def found_in(result: pytest.RunResult) -> list[str]:
    lines = [line for line in result.errlines if line]
    assert lines[0].startswith("ERROR: ")
    return [lines[0].removeprefix("ERROR: "), *lines[1:]]


@pytest.mark.parametrize("arguments", [(), ("-k", "test_right", "--collect-only")], ids=["run", "collect"])
def test_all_wrong_arguments_are_listed_before_any_test_runs(
    pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult], arguments: tuple[str, ...]
) -> None:
    pytester.makepyfile(test_wrong=WRONG)
    result = run_pytest(*arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert found_in(result) == FOUND


def test_all_wrong_arguments_are_listed_where_workers_collect(
    pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult]
) -> None:
    pytester.makepyfile(test_wrong=WRONG)
    result = run_pytest("-n", "2")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert found_in(result) == FOUND


def test_a_marker_of_a_class_or_a_module_is_checked_too(
    pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult]
) -> None:
    pytester.makepyfile(
        test_wrong="""
        import pytest
        pytestmark = pytest.mark.nodes(0)

        @pytest.mark.gpus("2")
        class TestA:
            def test_a(self): pass
        """
    )
    assert found_in(run_pytest()) == [
        "test_wrong.py:6: @pytest.mark.nodes(0): write a whole number from 1, such as nodes(2)",
        "test_wrong.py:6: @pytest.mark.gpus('2'): write a whole number from 1, such as gpus(2)",
    ]


def test_a_marker_of_one_parameter_is_checked_too(
    pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult]
) -> None:
    pytester.makepyfile(
        test_wrong="""
        import pytest

        @pytest.mark.parametrize("size", [1, pytest.param(4, marks=pytest.mark.gpus(4, 0))])
        def test_a(size): pass
        """
    )
    assert found_in(run_pytest()) == [
        "test_wrong.py:3: @pytest.mark.gpus(min_memory_gb=0): write GiB as a number above 0, such as 40"
    ]


def test_the_markers_are_declared(pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult]) -> None:
    lines = run_pytest("--markers").outlines
    for name in (
        "ray_version(spec)",
        "vllm_version(spec)",
        "gpus(n, min_memory_gb=None, alone=False)",
        "nodes(n)",
        "known_gap(id)",
    ):
        assert [line for line in lines if line.startswith(f"@pytest.mark.{name}: ")]


def test_right_markers_pass_strict_checks_without_any_option(
    pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult], make_interpreter: Callable[..., Path]
) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.ray_version(">=2")
        @pytest.mark.vllm_version(spec=">=0.8")
        @pytest.mark.known_gap(id="cgraph-version-guard")
        def test_a(): pass
        """
    )
    python = make_interpreter({"ray": "2.60.0", "vllm": "0.32.0"})
    run_pytest("--strict-markers", f"--raycompat-python={python}").assert_outcomes(passed=1)
