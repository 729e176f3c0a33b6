from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_raycompat.gaps import BUILTIN_FOLDER

GAP = """\
id = "{id}"
title = "A gap of our own"
flows = ["corp"]
raises = "ValueError"
message = "no fork"
fix = "never"
links = ["https://example.org/1"]
when.python = ">=3"
"""
TEST = """
import pytest

@pytest.mark.known_gap("{id}")
def test_{name}(): raise ValueError("no fork")
"""


def test_a_wrong_file_is_a_usage_error_with_its_line(
    pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult]
) -> None:
    path = pytester.path / "own-gap.toml"
    path.write_text(GAP.format(id="own-gap").replace(">=3", "3"))
    result = run_pytest("--raycompat-gaps=own-gap.toml")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.errlines[0] == (
        f"ERROR: --raycompat-gaps: {path}:8: when.python: '3' is not a version specifier; "
        "write '>=3', '==3' or '>=3,<4'"
    )


def test_a_missing_path_is_a_usage_error(
    pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult]
) -> None:
    result = run_pytest("--raycompat-gaps=nowhere")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.errlines[0] == (
        f"ERROR: --raycompat-gaps: {pytester.path / 'nowhere'}: there is no such file or folder"
    )


def test_a_folder_without_gaps_is_a_usage_error(
    pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult]
) -> None:
    folder = pytester.mkdir("gaps")
    result = run_pytest("--raycompat-gaps=gaps")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.errlines[0] == f"ERROR: --raycompat-gaps: {folder}: the folder has no *.toml in it"


def test_a_gap_of_ours_must_not_have_the_id_of_one_that_is_built_in(
    pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult]
) -> None:
    path = pytester.path / "cgraph-version-guard.toml"
    path.write_text(GAP.format(id="cgraph-version-guard"))
    result = run_pytest(f"--raycompat-gaps={path}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.errlines[0] == (
        f"ERROR: --raycompat-gaps: {path}:1: id: 'cgraph-version-guard' is recorded in "
        f"{BUILTIN_FOLDER / path.name}:1 too"
    )


def test_files_and_folders_may_be_given_more_than_once(
    pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult]
) -> None:
    folder = pytester.mkdir("gaps")
    (folder / "first-gap.toml").write_text(GAP.format(id="first-gap"))
    (folder / "second-gap.toml").write_text(GAP.format(id="second-gap"))
    (pytester.path / "third-gap.toml").write_text(GAP.format(id="third-gap"))
    names = ("first", "second", "third")
    pytester.makepyfile("\n".join(TEST.format(id=f"{name}-gap", name=name) for name in names))
    result = run_pytest("--raycompat-gaps=gaps", "--raycompat-gaps=third-gap.toml")
    result.assert_outcomes(xfailed=3)


def test_the_ini_file_counts_relative_to_itself_unless_the_command_line_says_otherwise(
    pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    (pytester.mkdir("gaps") / "own-gap.toml").write_text(GAP.format(id="own-gap"))
    pytester.makeini("[pytest]\nraycompat_gaps = gaps")
    pytester.mkdir("tests").joinpath("test_own.py").write_text(TEST.format(id="own-gap", name="own"))
    monkeypatch.chdir(pytester.path / "tests")
    run_pytest().assert_outcomes(xfailed=1)
    result = run_pytest("--raycompat-gaps=../gaps/another.toml")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "another.toml: there is no such file or folder" in result.errlines[0]
