from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

NEEDS = """
import pytest

@pytest.mark.ray_version(">=999")
def test_ray(): raise AssertionError

@pytest.mark.vllm_version("<0.33,>=0.32")
def test_vllm(): raise AssertionError

@pytest.mark.gpus(1)
def test_gpus(): raise AssertionError

@pytest.mark.gpus(2, min_memory_gb=40.5)
def test_memory(): raise AssertionError

@pytest.mark.nodes(2)
def test_nodes(): raise AssertionError

@pytest.mark.gpus(1)
class TestAll:
    @pytest.mark.ray_version(">=2.35")
    @pytest.mark.ray_version(">=999")
    @pytest.mark.vllm_version("<0.32")
    @pytest.mark.nodes(2)
    def test_all(self, request): raise AssertionError

@pytest.mark.ray_version("==2.35.0")
@pytest.mark.vllm_version(">=0.33")
def test_met(): pass
"""


def reasons(result: pytest.RunResult) -> set[str]:
    return {line.split(": ", 1)[1] for line in result.outlines if line.startswith("SKIPPED [1] ")}


def test_the_reason_names_all_unmet_needs_and_what_was_found(
    pytester: pytest.Pytester,
    run_pytest: Callable[..., pytest.RunResult],
    make_interpreter: Callable[..., Path],
    plugin_arguments: tuple[str, ...],
) -> None:
    pytester.makepyfile(NEEDS)
    python = make_interpreter({"ray": "2.35.0+corp.3", "vllm": "0.33.0.dev7"})
    result = run_pytest("-rs", f"--raycompat-python={python}", *plugin_arguments)
    result.assert_outcomes(skipped=6, passed=1)
    assert reasons(result) == {
        "needs Ray >=999, found 2.35.0+corp.3 (this machine, no Ray cluster)",
        "needs vLLM <0.33,>=0.32, found 0.33.0.dev7 (this machine, no Ray cluster)",
        "needs 1 GPU, found 0 (this machine, no Ray cluster)",
        "needs 2 GPUs with 40.5 GiB free, found 0 without memory of their own (this machine, no Ray cluster)",
        "needs 2 Ray nodes, found 0 (this machine, no Ray cluster)",
        "needs 1 GPU, found 0; needs Ray >=999, found 2.35.0+corp.3; needs vLLM <0.32, found 0.33.0.dev7; "
        "needs 2 Ray nodes, found 0 (this machine, no Ray cluster)",
    }


def test_what_is_not_installed_does_not_meet_a_need(
    pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult], make_interpreter: Callable[..., Path]
) -> None:
    pytester.makepyfile(NEEDS)
    result = run_pytest("-rs", f"--raycompat-python={make_interpreter()}", "-k", "test_met")
    result.assert_outcomes(skipped=1, deselected=6)
    assert reasons(result) == {
        "needs Ray ==2.35.0, found none; needs vLLM >=0.33, found none (this machine, no Ray cluster)"
    }


def test_a_skip_is_placed_at_the_test(pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult]) -> None:
    pytester.makepyfile(test_needs=NEEDS)
    result = run_pytest("-rs", "-k", "test_nodes")
    assert [line for line in result.outlines if line.startswith("SKIPPED [1] test_needs.py:15: needs 2 Ray nodes")]


def test_needs_are_checked_before_fixtures_are_made(
    pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult]
) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture(scope="session")
        def costly(): raise OSError("made for nothing")

        @pytest.mark.ray_version(">=999")
        def test_a(costly): pass
        """
    )
    run_pytest().assert_outcomes(skipped=1)


@pytest.mark.parametrize(("spec", "skipped"), [("local:2x1", 1), ("local:1x2", 2)])
def test_needs_are_compared_with_the_cluster_that_there_will_be(
    pytester: pytest.Pytester,
    run_pytest: Callable[..., pytest.RunResult],
    with_flows: Callable[[Mapping[str, str]], list[str]],
    spec: str,
    skipped: int,
) -> None:
    python = with_flows({})[1]
    pytester.makepyfile(
        """
        import pytest
        @pytest.mark.gpus(2)
        def test_gpus(): pass
        @pytest.mark.nodes(2)
        def test_nodes(): pass
        @pytest.mark.gpus(3)
        def test_more(): pass
        """
    )
    result = run_pytest("-rs", f"--ray-cluster={spec}", python)
    result.assert_outcomes(passed=3 - skipped, skipped=skipped)
    place = {
        "local:2x1": "local cluster of 2 nodes with 1 stand-in GPU each",
        "local:1x2": "local cluster of 1 node with 2 stand-in GPUs",
    }
    assert all(reason.endswith(f" ({place[spec]})") for reason in reasons(result))
    assert len(reasons(result)) == skipped
