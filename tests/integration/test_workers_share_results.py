from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from pytest_raycompat.report.document import read_report


def test_a_flow_without_ray_runs_once_whichever_workers_need_it(
    pytester: pytest.Pytester,
    run_pytest: Callable[..., pytest.RunResult],
    with_flows: Callable[[Mapping[str, str]], list[str]],
    tmp_path: Path,
) -> None:
    log = tmp_path / "log"
    arguments = with_flows(
        {"counted": f"open({str(log)!r}, 'a').write('x')\ntime.sleep(1)\nreporter.output('said', 'it')"}
    )
    test = "def test_it(run_flow): assert run_flow('corp_flows.counted').outputs == {'said': 'it'}"
    pytester.makepyfile(test_a=test, test_b=test)
    run_pytest(*arguments, "-n2").assert_outcomes(passed=2)
    assert log.read_text() == "x"
    first, second = read_report(pytester.path / ".raycompat" / "report.json").results
    assert first.logs == second.logs
