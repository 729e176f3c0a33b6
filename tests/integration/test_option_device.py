from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from pytest_raycompat.report.document import read_report

ASK = "def test_a(run_flow): run_flow('corp_flows.look')"


def test_a_wrong_value_is_a_usage_error(run_pytest: Callable[..., pytest.RunResult]) -> None:
    result = run_pytest("--raycompat-device=gpu")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.errlines[0] == "ERROR: --raycompat-device: 'gpu' is not a device: write auto, cuda, cpu"


def test_the_ini_file_counts_unless_the_command_line_says_otherwise(
    pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult]
) -> None:
    pytester.makeini("[pytest]\nraycompat_device = tpu")
    pytester.makepyfile("def test_a(): pass")
    result = run_pytest()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.errlines[0] == "ERROR: --raycompat-device: 'tpu' is not a device: write auto, cuda, cpu"
    run_pytest("--raycompat-device=cpu").assert_outcomes(passed=1)


def test_cuda_where_there_is_no_gpu_is_a_usage_error(
    run_pytest: Callable[..., pytest.RunResult], make_interpreter: Callable[..., Path]
) -> None:
    python = make_interpreter({"ray": "2.60.0"})
    result = run_pytest("--ray-cluster=local", "--raycompat-device=cuda", f"--raycompat-python={python}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.errlines[0] == "ERROR: --raycompat-device=cuda: no NVIDIA GPU is visible here; write cpu or auto"


def test_flows_are_told_what_they_run_on(
    pytester: pytest.Pytester,
    run_pytest: Callable[..., pytest.RunResult],
    with_flows: Callable[[Mapping[str, str]], list[str]],
) -> None:
    look = """
    reporter.evidence("device", sys.argv[sys.argv.index("--device") + 1])
    reporter.evidence("platform", os.environ.get("PYTEST_RAYCOMPAT_CPU_PLATFORM"))
    """
    arguments = with_flows({"look": look})
    pytester.makepyfile(ASK)
    run_pytest(*arguments, "--raycompat-device=auto").assert_outcomes(passed=1)
    report = read_report(pytester.path / ".raycompat" / "report.json")
    (record,) = report.results
    assert record.evidence == {"device": "cpu", "platform": "1"}
    assert (report.device.kind, report.device.count, report.device.names) == ("cpu", 0, ())
    assert "--raycompat-device=cpu" in record.reproduce
