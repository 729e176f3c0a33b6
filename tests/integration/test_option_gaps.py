from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_raycompat.gaps import BUILTIN_FOLDER
from pytest_raycompat.report.document import read_report

GAP = """\
id = "{id}"
title = "A gap of our own"
flows = ["corp.flow"]
raises = "ValueError"
message = "no fork of {id}"
fix = "never"
links = ["https://example.org/1"]
when.python = ">=3"
"""
TEST = """
import pytest

@pytest.mark.known_gap("{id}")
def test_{name}(): raise ValueError("no fork of {id}")
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


def test_two_files_of_one_layer_must_not_have_the_same_id(
    pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult]
) -> None:
    first, second = (pytester.mkdir(name) / "own-gap.toml" for name in ("one", "two"))
    for path in (first, second):
        path.write_text(GAP.format(id="own-gap"))
    result = run_pytest("--raycompat-gaps=one", "--raycompat-gaps=two")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert (
        result.errlines[0]
        == f"ERROR: --raycompat-gaps: {second}:1: id: 'own-gap' is recorded in one/own-gap.toml:1 too"
    )


def test_two_gaps_that_claim_the_same_failure_are_an_error(
    pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult]
) -> None:
    first, second = (pytester.path / f"{name}.toml" for name in ("first-gap", "second-gap"))
    first.write_text(GAP.format(id="first-gap"))
    second.write_text(GAP.format(id="first-gap").replace('id = "first-gap"', 'id = "second-gap"'))
    result = run_pytest(f"--raycompat-gaps={first}", f"--raycompat-gaps={second}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.errlines[0] == (
        f"ERROR: --raycompat-gaps: {second}:1: id: 'second-gap' claims the same failure as 'first-gap' "
        "(first-gap.toml:1): give one of them another message, or conditions that exclude each other"
    )


def test_a_gap_of_ones_own_stands_in_for_the_built_in_one_with_its_id(
    pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult], plugin_arguments: tuple[str, ...]
) -> None:
    path = pytester.path / "cgraph-version-guard.toml"
    path.write_text(GAP.format(id="cgraph-version-guard"))
    pytester.makepyfile(TEST.format(id="cgraph-version-guard", name="own"))
    result = run_pytest(f"--raycompat-gaps={path}", "--raycompat-report=r.json", *plugin_arguments)
    result.assert_outcomes(xfailed=1)
    assert f"raycompat: gap cgraph-version-guard of {path.name} overrides the built-in one" in result.outlines
    (gap,) = read_report(pytester.path / "r.json").gaps
    assert (gap.path, gap.overrides) == (path.name, f"pytest_raycompat/gaps/data/{path.name}")


def test_a_built_in_file_that_is_given_again_is_not_another_gap(
    run_pytest: Callable[..., pytest.RunResult],
) -> None:
    result = run_pytest(f"--raycompat-gaps={BUILTIN_FOLDER}")
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    result.stdout.no_fnmatch_line("*overrides*")


def test_a_gap_that_is_due_for_review_is_named_and_still_counts(
    pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult]
) -> None:
    path = pytester.path / "own-gap.toml"
    path.write_text("review = 2020-01-31\n" + GAP.format(id="own-gap"))
    pytester.makepyfile(TEST.format(id="own-gap", name="own"))
    result = run_pytest("--raycompat-gaps=own-gap.toml")
    result.assert_outcomes(xfailed=1)
    assert (
        "note: gap own-gap was to be reviewed by 2020-01-31: see whether it still holds (own-gap.toml:2)"
        in result.outlines
    )


INTERMITTENT_TEST = """
import pytest

@pytest.mark.known_gap("own-gap")
@pytest.mark.parametrize("number", range(3))
def test_it(number):
    if number == 1:
        raise ValueError("no fork of own-gap")
"""


def test_an_intermittent_gap_may_pass_and_is_counted(
    pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult], plugin_arguments: tuple[str, ...]
) -> None:
    (pytester.path / "own-gap.toml").write_text("intermittent = true\n" + GAP.format(id="own-gap"))
    pytester.makepyfile(INTERMITTENT_TEST)
    result = run_pytest("--raycompat-gaps=own-gap.toml", "--raycompat-report=r.json", *plugin_arguments)
    result.assert_outcomes(xfailed=1, passed=2)
    assert "gap own-gap: shown in 1 of 3 tests; intermittent: a pass is allowed too" in result.outlines
    report = read_report(pytester.path / "r.json")
    assert sorted((record.verdict, record.gap) for record in report.results) == [
        ("known-gap", "own-gap"),
        ("passed", "own-gap"),
        ("passed", "own-gap"),
    ]
    (gap,) = report.gaps
    assert (gap.intermittent, gap.shown, gap.passed, gap.changed) == (True, 1, 2, 0)


def test_another_failure_than_an_intermittent_gap_records_is_red(
    pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult]
) -> None:
    (pytester.path / "own-gap.toml").write_text("intermittent = true\n" + GAP.format(id="own-gap"))
    pytester.makepyfile(INTERMITTENT_TEST.replace("ValueError", "KeyError"))
    result = run_pytest("--raycompat-gaps=own-gap.toml")
    result.assert_outcomes(failed=1, passed=2)
    assert "gap own-gap: shown in 0 of 2 tests; intermittent: a pass is allowed too" in result.outlines


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
