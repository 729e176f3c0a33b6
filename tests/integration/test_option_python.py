from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from pytest_raycompat.report.document import read_report

ASK = """
import pytest
@pytest.mark.ray_version("==2.35.0")
@pytest.mark.vllm_version(">=0.8.5.post1")
def test_a(): pass
"""


def test_a_path_that_is_not_there_is_a_usage_error(run_pytest: Callable[..., pytest.RunResult], tmp_path: Path) -> None:
    path = str(tmp_path / "python")
    result = run_pytest(f"--raycompat-python={path}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.errlines[0] == (
        f"ERROR: --raycompat-python: {path!r} is not an executable file: give the path of a Python interpreter"
    )


def test_the_folder_of_a_venv_is_a_usage_error_that_names_its_interpreter(
    run_pytest: Callable[..., pytest.RunResult], make_interpreter: Callable[..., Path]
) -> None:
    python = make_interpreter()
    result = run_pytest(f"--raycompat-python={python.parents[1]}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.errlines[0] == (
        f"ERROR: --raycompat-python: {str(python.parents[1])!r} is a folder; did you mean {python}?"
    )


@pytest.mark.parametrize(
    "cluster",
    [
        "local",
        "off",
    ],
)
def test_a_program_that_is_no_python_is_a_usage_error(
    pytester: pytest.Pytester,
    run_pytest: Callable[..., pytest.RunResult],
    make_program: Callable[[str], Path],
    cluster: str,
) -> None:
    pytester.makepyfile(ASK)
    program = make_program("echo garbage")
    result = run_pytest(f"--ray-cluster={cluster}", f"--raycompat-python={program}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.errlines[0] == (f"ERROR: --raycompat-python: {str(program)!r} is not a Python 3.9 or newer: garbage")


def test_versions_are_those_of_the_environment_under_test(
    pytester: pytest.Pytester,
    run_pytest: Callable[..., pytest.RunResult],
    make_interpreter: Callable[..., Path],
    plugin_arguments: tuple[str, ...],
) -> None:
    pytester.makepyfile(ASK)
    python = make_interpreter({"ray": "2.35.0+corp.3", "vllm": "0.8.5.post1"})
    result = run_pytest(f"--raycompat-python={python}", "--raycompat-report=r.json", *plugin_arguments)
    result.assert_outcomes(passed=1)
    environment = read_report(pytester.path / "r.json").environment
    assert (environment.executable, environment.ray, environment.vllm) == (str(python), "2.35.0+corp.3", "0.8.5.post1")


NOT_COMPARABLE = (
    "ERROR: --raycompat-python: Ray's version '2.35.0-corp-fork' for {} is not a PEP 440 version, "
    "so nothing can be compared with it; build it as one, such as 2.35.0+corp.3"
)


def test_a_version_that_cannot_be_compared_is_a_usage_error(
    pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult], make_interpreter: Callable[..., Path]
) -> None:
    pytester.makepyfile(ASK)
    python = make_interpreter({"ray": "2.35.0-corp-fork"})
    result = run_pytest(f"--raycompat-python={python}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.errlines[0] == NOT_COMPARABLE.format(python)


def test_a_version_of_this_environment_that_cannot_be_compared_is_a_usage_error(
    pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult], clean_environment: pytest.MonkeyPatch
) -> None:
    information = pytester.mkdir("fork") / "ray-2.35.0_corp_fork.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: ray\nVersion: 2.35.0-corp-fork\n")
    clean_environment.setenv("PYTHONPATH", str(information.parent))
    pytester.makepyfile("import pytest\n@pytest.mark.known_gap('cgraph-version-guard')\ndef test_a(): pass")
    result = run_pytest()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.errlines[0] == NOT_COMPARABLE.format(sys.executable)


def test_the_ini_file_counts_unless_the_command_line_says_otherwise(
    pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult], make_interpreter: Callable[..., Path]
) -> None:
    python = make_interpreter({"ray": "2.35.0+corp.3", "vllm": "0.8.5.post1"})
    pytester.makeini(f"[pytest]\nraycompat_python = {python}")
    pytester.makepyfile(ASK)
    run_pytest().assert_outcomes(passed=1)
    run_pytest(f"--raycompat-python={make_interpreter()}").assert_outcomes(skipped=1)


def test_a_path_of_the_ini_file_is_relative_to_it(
    pytester: pytest.Pytester,
    run_pytest: Callable[..., pytest.RunResult],
    make_interpreter: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    venv = make_interpreter({"ray": "2.35.0+corp.3", "vllm": "0.8.5.post1"}).parents[1]
    (pytester.path / "venv").symlink_to(venv)
    pytester.makeini("[pytest]\nraycompat_python = venv/bin/python")
    pytester.mkdir("tests").joinpath("test_a.py").write_text(ASK)
    monkeypatch.chdir(pytester.path / "tests")
    run_pytest().assert_outcomes(passed=1)


def test_flows_run_in_the_environment_under_test(
    pytester: pytest.Pytester,
    run_pytest: Callable[..., pytest.RunResult],
    with_flows: Callable[[Mapping[str, str]], list[str]],
    clean_environment: pytest.MonkeyPatch,
) -> None:
    arguments = with_flows(
        {
            "look": """
            import importlib.util
            reporter.output("executable", sys.executable)
            reporter.output("msgspec", importlib.util.find_spec("msgspec") is not None)
            reporter.output("variables", {name: os.environ.get(name) for name in ("HOME", "RAY_ADDRESS", "MINE")})
            """
        }
    )
    clean_environment.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    clean_environment.setenv("MINE", "yes")
    pytester.makepyfile(
        """
        import json, os

        def test_a(run_flow):
            with open("outputs.json", "w") as stream:
                json.dump(run_flow("corp_flows.look").outputs, stream)
        """
    )
    run_pytest(*arguments).assert_outcomes(passed=1)
    outputs = json.loads((pytester.path / "outputs.json").read_text())
    assert outputs["executable"] == arguments[1].partition("=")[2]
    assert outputs["msgspec"] is False
    home = Path(outputs["variables"].pop("HOME"))
    assert home.name == "home"
    assert not home.exists()
    assert outputs["variables"] == {"RAY_ADDRESS": None, "MINE": "yes"}
