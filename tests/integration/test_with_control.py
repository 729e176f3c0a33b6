"""Controls that run before the flows that are compared with them, where workers share them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

LOG = """
with open({log!r}, "a") as stream:
    stream.write({name!r} + "\\n")
"""
TESTS = """
import pytest

@pytest.mark.parametrize("number", [1, 2, 3])
class TestIt:
    def test_it(self, run_flow, number):
        compared = run_flow.with_control("corp_flows.control", deadline_s=60)
        assert compared(f"corp_flows.flow{number}").outcome == "ok"
        assert run_flow.control("corp_flows.control", deadline_s=60).outcome == "ok"
"""


@pytest.mark.parametrize(
    ("workers", "order"),
    [([], ["flow1", "control", "flow2", "flow3"]), (["-n", "1"], ["control", "flow1", "flow2", "flow3"])],
    ids=["one-process", "workers"],
)
def test_a_control_runs_first_where_workers_share_it(
    pytester: pytest.Pytester,
    run_pytest: Callable[..., pytest.RunResult],
    with_flows: Callable[[Mapping[str, str]], list[str]],
    workers: list[str],
    order: list[str],
) -> None:
    log = pytester.path / "log"
    names = ("control", "flow1", "flow2", "flow3")
    arguments = with_flows({name: LOG.format(log=str(log), name=name) for name in names})
    pytester.makepyfile(TESTS)
    run_pytest(*arguments, *workers).assert_outcomes(passed=3)
    assert log.read_text().split() == order


def test_no_control_runs_for_a_flow_that_lacks_something(
    pytester: pytest.Pytester,
    run_pytest: Callable[..., pytest.RunResult],
    with_flows: Callable[[Mapping[str, str]], list[str]],
) -> None:
    log = pytester.path / "log"
    arguments = with_flows({"control": LOG.format(log=str(log), name="control")})
    pytester.makepyfile(
        """
def test_it(run_flow):
    run_flow.with_control("corp_flows.control", deadline_s=60)("generate", executor="ray-v2")
"""
    )
    run_pytest(*arguments, "-n", "1").assert_outcomes(skipped=1)
    assert not log.exists()


def test_no_worker_waits_for_a_control_that_another_one_runs(
    pytester: pytest.Pytester,
    run_pytest: Callable[..., pytest.RunResult],
    with_flows: Callable[[Mapping[str, str]], list[str]],
) -> None:
    log = pytester.path / "log"
    waits = f"""
deadline = time.monotonic() + 20
while not os.path.exists({str(log)!r}):
    assert time.monotonic() < deadline, "no flow ran beside the control"
    time.sleep(0.05)
"""
    flows = {name: LOG.format(log=str(log), name=name) for name in ("flow1", "flow2", "flow3")}
    arguments = with_flows({"control": waits + LOG.format(log=str(log), name="control"), **flows})
    pytester.makepyfile(TESTS)
    run_pytest(*arguments, "-n", "2").assert_outcomes(passed=3)
    assert sorted(log.read_text().split()) == ["control", "flow1", "flow2", "flow3"]


def test_a_control_that_fails_ahead_fails_its_test_and_no_other(
    pytester: pytest.Pytester,
    run_pytest: Callable[..., pytest.RunResult],
    with_flows: Callable[[Mapping[str, str]], list[str]],
) -> None:
    arguments = with_flows({"control": "raise ValueError('no')", "flow": "pass"})
    pytester.makepyfile(
        """
        class TestOne:
            def test_one(self, run_flow):
                run_flow.with_control("corp_flows.control")("corp_flows.flow")

        class TestTwo:
            def test_two(self, run_flow):
                run_flow.with_control("corp_flows.control")("corp_flows.flow")
                run_flow.control("corp_flows.control")
        """
    )
    run_pytest(*arguments, "-n", "2").assert_outcomes(passed=1, failed=1)
