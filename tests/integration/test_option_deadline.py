from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from pytest_raycompat.report.document import read_report

PROBLEM = "is not a number of seconds above 0, such as 600"


@pytest.mark.parametrize("value", ["soon", "0"])
def test_a_wrong_value_is_a_usage_error(run_pytest: Callable[..., pytest.RunResult], value: str) -> None:
    result = run_pytest(f"--raycompat-deadline={value}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.errlines[0] == f"ERROR: --raycompat-deadline: {value!r} {PROBLEM}"


def test_the_ini_file_counts_unless_the_command_line_says_otherwise(
    pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult]
) -> None:
    pytester.makeini("[pytest]\nraycompat_deadline = late")
    pytester.makepyfile("def test_a(): pass")
    result = run_pytest()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.errlines[0] == f"ERROR: --raycompat-deadline: 'late' {PROBLEM}"
    run_pytest("--raycompat-deadline=2.5").assert_outcomes(passed=1)


def test_a_flow_is_ended_at_its_deadline(
    pytester: pytest.Pytester,
    run_pytest: Callable[..., pytest.RunResult],
    with_flows: Callable[[Mapping[str, str]], list[str]],
) -> None:
    arguments = with_flows({"sleeps": "reporter.phase('generate')\ntime.sleep(60)"})
    pytester.makepyfile(
        """
        def test_default(run_flow): run_flow("corp_flows.sleeps")
        def test_own(run_flow): run_flow("corp_flows.sleeps", deadline_s=0.6, again=True)
        """
    )
    result = run_pytest(*arguments, "--raycompat-deadline=1.4")
    result.assert_outcomes(failed=2)
    records = read_report(pytester.path / ".raycompat" / "report.json").results
    assert {record.verdict for record in records} == {"timed-out"}
    reasons = {record.id.partition("::")[2]: record.reason for record in records}
    assert reasons == {
        name: "timeout in phase 'generate': not over after 1 s; its stacks are at the end of the log"
        for name in ("test_default", "test_own")
    }


def test_one_that_was_ended_is_run_again_where_it_may_take_longer(
    pytester: pytest.Pytester,
    run_pytest: Callable[..., pytest.RunResult],
    with_flows: Callable[[Mapping[str, str]], list[str]],
) -> None:
    arguments = with_flows({"sleeps": "reporter.phase('generate')\ntime.sleep(1.5)"})
    pytester.makepyfile(
        """
        def test_a_little(run_flow): run_flow("corp_flows.sleeps", deadline_s=0.6)
        def test_no_longer(run_flow): run_flow("corp_flows.sleeps", deadline_s=0.5)
        def test_as_long_as_it_takes(run_flow): run_flow("corp_flows.sleeps")
        def test_what_is_known(run_flow): run_flow("corp_flows.sleeps", deadline_s=0.6)
        """
    )
    run_pytest(*arguments, "--raycompat-deadline=60").assert_outcomes(failed=2, passed=2)
    assert len(list((pytester.path / ".raycompat" / "logs").glob("*sleeps*.log"))) == 2


def test_what_a_flow_that_was_ended_had_in_its_temporary_folder_is_gone(
    pytester: pytest.Pytester,
    run_pytest: Callable[..., pytest.RunResult],
    with_flows: Callable[[Mapping[str, str]], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    body = "import tempfile\ntempfile.mkdtemp()\nreporter.phase('generate')\ntime.sleep(60)"
    arguments = with_flows({"sleeps": body})
    pytester.makepyfile("def test_a(run_flow): run_flow('corp_flows.sleeps')")
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setenv("TMPDIR", str(folder))
    run_pytest(*arguments, "--raycompat-deadline=1").assert_outcomes(failed=1)
    assert list(folder.iterdir()) == []
