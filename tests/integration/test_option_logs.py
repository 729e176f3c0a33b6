from __future__ import annotations

import os
from collections.abc import Callable, Mapping

import pytest

from pytest_raycompat.lease import try_lock
from pytest_raycompat.report.document import read_report

TEST = """
def test_a(run_flow):
    run_flow("corp_flows.fails")
"""


@pytest.fixture
def arguments(pytester: pytest.Pytester, with_flows: Callable[[Mapping[str, str]], list[str]]) -> list[str]:
    pytester.makepyfile(TEST)
    return with_flows({"fails": "raise ValueError('as asked')"})


def test_logs_go_to_another_folder(
    pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult], arguments: list[str]
) -> None:
    run_pytest(*arguments, "--raycompat-logs=their/logs", "--raycompat-report=report.json")
    (log,) = (pytester.path / "their" / "logs").glob("*.log")
    (record,) = read_report(pytester.path / "report.json").results
    assert "as asked" in log.read_text()
    assert [one.rpartition("/")[2] for one in record.logs] == [log.name]
    assert not (pytester.path / ".raycompat" / "logs").exists()


def test_in_the_ini_file_it_is_relative_to_that(
    pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult], arguments: list[str]
) -> None:
    pytester.makeini("[pytest]\nraycompat_logs = kept")
    run_pytest(*arguments)
    assert list((pytester.path / "kept").glob("*.log"))


@pytest.mark.parametrize(
    ("path", "problem"), [("file", "is a file"), ("file/logs", "is below 'file', which is a file")]
)
def test_a_path_that_can_be_no_folder(
    pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult], path: str, problem: str
) -> None:
    (pytester.path / "file").touch()
    result = run_pytest(f"--raycompat-logs={path}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.errlines[0] == (
        f"ERROR: --raycompat-logs: '{pytester.path}/{path}' {problem}: write the path of a folder"
    )


def test_a_run_beside_another_has_a_folder_of_its_own(
    pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult], arguments: list[str]
) -> None:
    logs = pytester.path / ".raycompat" / "logs"
    logs.mkdir(parents=True)
    other = os.open(logs, os.O_RDONLY)
    assert try_lock(other)
    run_pytest(*arguments)
    os.close(other)
    (record,) = read_report(pytester.path / ".raycompat" / "report.json").results
    (log,) = logs.glob("run-*/*.log")
    assert record.logs == (str(log.relative_to(pytester.path)),)
    assert not list(logs.glob("*.log"))
    run_pytest(*arguments)
    assert list(logs.glob("*.log"))
