from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from pytest_raycompat.report.document import read_report

FLOW = """
reporter.measurement("answer", "s", [os.getpid()], better="lower")
"""


def test_a_flow_is_run_anew_and_its_samples_are_put_together(
    pytester: pytest.Pytester,
    run_pytest: Callable[..., pytest.RunResult],
    with_flows: Callable[[Mapping[str, str]], list[str]],
) -> None:
    arguments = with_flows({"measures": FLOW, "breaks": "raise ValueError('no')"})
    pytester.makepyfile(
        """
        def test_three_times(run_flow):
            results = run_flow.repeat(3, "corp_flows.measures")
            samples = {sample for result in results for sample in result.measurements["answer"].samples}
            assert len(samples) == 3

        def test_the_first_that_fails_ends_it(run_flow):
            run_flow.repeat(3, "corp_flows.breaks")

        def test_what_can_be_had(run_flow):
            assert (run_flow.gpus, run_flow.device) == (2, "cpu")
            assert [run_flow.up_to(gpus) for gpus in (1, 2, 4)] == [1, 2, 2]
        """
    )
    result = run_pytest(*arguments)
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["measured: corp_flows.measures", "  answer * s (3 samples)"])
    three, broken, _ = read_report(pytester.path / ".raycompat" / "report.json").results
    assert len(set(three.measurements["answer"].samples)) == 3
    assert (broken.verdict, len(broken.logs)) == ("failed", 1)


def test_one_gpu_is_asked_for_where_there_is_none(
    pytester: pytest.Pytester,
    run_pytest: Callable[..., pytest.RunResult],
    with_flows: Callable[[Mapping[str, str]], list[str]],
) -> None:
    _, *arguments = with_flows({})
    pytester.makepyfile("def test_it(run_flow): assert run_flow.up_to(2) == 1")
    run_pytest("--ray-cluster=local:1x0", *arguments).assert_outcomes(passed=1)
