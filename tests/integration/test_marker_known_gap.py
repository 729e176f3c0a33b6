from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from pytest_raycompat.report.document import TestRecord as Record
from pytest_raycompat.report.document import read_report

GAP = """\
# recorded by the tests
id = "corp-fork"
title = "the fork has no placement groups"
flows = ["corp_flows.place"]
raises = "LookupError"
message = "no placement group"
fix = "never"
links = ["https://example.org/1"]

[when]
ray = "<2.43"
"""


@pytest.fixture
def gap(pytester: pytest.Pytester) -> Path:
    path = pytester.path / "corp-fork.toml"
    path.write_text(GAP)
    return path


@pytest.fixture
def run_marked(
    run_pytest: Callable[..., pytest.RunResult], make_interpreter: Callable[..., Path], gap: Path
) -> Callable[..., pytest.RunResult]:
    """Run pytest with the gap, where it applies unless told otherwise."""

    def run(*arguments: str, ray: str = "2.35.0+corp.3") -> pytest.RunResult:
        python = make_interpreter({"ray": ray, "vllm": "0.32.0"})
        return run_pytest(
            f"--raycompat-gaps={gap}", f"--raycompat-python={python}", "--raycompat-report=r.json", *arguments
        )

    return run


def make_test(pytester: pytest.Pytester, body: str) -> None:
    pytester.makepyfile(test_own=f"import pytest\n@pytest.mark.known_gap('corp-fork')\ndef test_a():\n    {body}\n")


def only_record(pytester: pytest.Pytester) -> Record:
    (record,) = read_report(pytester.path / "r.json").results
    return record


def test_the_recorded_failure_is_expected(
    pytester: pytest.Pytester, run_marked: Callable[..., pytest.RunResult], plugin_arguments: tuple[str, ...]
) -> None:
    make_test(pytester, "raise LookupError('there is no placement group')")
    result = run_marked("-rx", *plugin_arguments)
    result.assert_outcomes(xfailed=1)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["XFAIL test_own.py::test_a - known gap corp-fork: the fork has no placement groups"])
    record = only_record(pytester)
    assert (record.verdict, record.gap) == ("known-gap", "corp-fork")
    assert record.reason == "corp-fork: the fork has no placement groups"


def test_a_pass_is_red_and_names_the_entry_to_change(
    pytester: pytest.Pytester,
    run_marked: Callable[..., pytest.RunResult],
    gap: Path,
) -> None:
    make_test(pytester, "pass")
    result = run_marked()
    result.assert_outcomes(failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    expected = [
        f"  gap-closed: corp-fork is recorded for Ray 2.35.0+corp.3 with vLLM 0.32.0 in {gap.name}:2, but it passed:",
        f'  write ray = "<2.43,!=2.35.0+corp.3" in {gap.name}:11 (now ray = "<2.43"), or remove the file',
    ]
    first = result.outlines.index(expected[0])
    assert result.outlines[first : first + 2] == expected
    assert (only_record(pytester).verdict, only_record(pytester).gap) == ("gap-closed", "corp-fork")


def test_another_failure_is_red_and_says_in_what_it_differs(
    pytester: pytest.Pytester,
    run_marked: Callable[..., pytest.RunResult],
    gap: Path,
    plugin_arguments: tuple[str, ...],
) -> None:
    make_test(pytester, "raise LookupError('no such node')")
    result = run_marked(*plugin_arguments)
    result.assert_outcomes(failed=1)
    expected = [
        "  gap-changed: corp-fork is recorded for Ray 2.35.0+corp.3 with vLLM 0.32.0, but this is not it "
        f"({gap.name}:2):",
        "             recorded                         found",
        "    outcome  error                            error",
        "    raises   LookupError                      LookupError",
        "  ! message  no placement group               'no such node'",
        "  error in phase 'call': LookupError: no such node",
    ]
    first = result.outlines.index(expected[0])
    assert result.outlines[first : first + 6] == expected
    assert (only_record(pytester).verdict, only_record(pytester).gap) == ("gap-changed", "corp-fork")


@pytest.mark.parametrize(
    ("body", "outcome", "verdict"),
    [("pass", "passed", "passed"), ("raise LookupError('no placement group')", "failed", "failed")],
)
def test_where_the_gap_does_not_apply_nothing_is_expected(
    pytester: pytest.Pytester, run_marked: Callable[..., pytest.RunResult], body: str, outcome: str, verdict: str
) -> None:
    make_test(pytester, body)
    run_marked(ray="2.60.0").assert_outcomes(**{outcome: 1})
    assert only_record(pytester).verdict == verdict


def test_a_cause_may_be_the_gap(pytester: pytest.Pytester, run_marked: Callable[..., pytest.RunResult]) -> None:
    make_test(pytester, "raise RuntimeError('failed') from LookupError('no placement group')")
    run_marked().assert_outcomes(xfailed=1)


def test_what_breaks_before_or_after_the_test_is_never_a_gap(
    pytester: pytest.Pytester, run_marked: Callable[..., pytest.RunResult]
) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture
        def before(): raise LookupError("no placement group")

        @pytest.fixture
        def after():
            yield
            raise LookupError("no placement group")

        @pytest.mark.known_gap("corp-fork")
        def test_before(before): pass

        @pytest.mark.known_gap("corp-fork")
        def test_after(after): raise LookupError("no placement group")
        """
    )
    run_marked().assert_outcomes(xfailed=1, errors=2)
    records = read_report(pytester.path / "r.json").results
    assert {record.verdict for record in records} == {"infra"}


def test_of_several_gaps_one_must_match_whatever_phases_they_have(
    pytester: pytest.Pytester, run_marked: Callable[..., pytest.RunResult]
) -> None:
    other = pytester.path / "other-gap.toml"
    other.write_text('phase = "start"\n' + GAP.replace("corp-fork", "other-gap").replace("LookupError", "OSError"))
    pytester.makepyfile(
        """
        import pytest
        @pytest.mark.known_gap("other-gap")
        @pytest.mark.known_gap("corp-fork")
        @pytest.mark.parametrize("error", [OSError, LookupError, KeyError])
        def test_a(error): raise error("no placement group")
        """
    )
    run_marked(f"--raycompat-gaps={other}").assert_outcomes(xfailed=2, failed=1)


FLOW_TESTS = """
import pytest

def test_flow(run_flow): run_flow("corp_flows.place", executor="mp")

@pytest.mark.known_gap("corp-fork")
def test_marked(run_flow): run_flow("corp_flows.elsewhere", executor="mp")

def test_not_marked(run_flow): run_flow("corp_flows.elsewhere", executor="mp")
"""


def test_a_gap_is_expected_of_its_flows_and_of_marked_tests(
    pytester: pytest.Pytester,
    run_marked: Callable[..., pytest.RunResult],
    gap: Path,
    with_flows: Callable[[Mapping[str, str]], list[str]],
    plugin_arguments: tuple[str, ...],
) -> None:
    gap.write_text(GAP + 'executor = "mp"\n')
    with_flows({name: "raise LookupError('no placement group')" for name in ("place", "elsewhere")})
    pytester.makepyfile(FLOW_TESTS)
    result = run_marked("--ray-cluster=local", *plugin_arguments)
    result.assert_outcomes(xfailed=2, failed=1)
    records = {record.id.partition("::")[2]: record for record in read_report(pytester.path / "r.json").results}
    assert {name: record.verdict for name, record in records.items()} == {
        "test_flow": "known-gap",
        "test_marked": "known-gap",
        "test_not_marked": "failed",
    }
    assert records["test_not_marked"].reason.splitlines()[-1] == (
        "looks like corp-fork, but: its conditions (`when`) leave this pair out"
    )
    assert records["test_flow"].exception is not None
    assert records["test_flow"].exception.type == "LookupError"


def test_a_flow_that_works_closes_its_gap(
    pytester: pytest.Pytester,
    run_marked: Callable[..., pytest.RunResult],
    gap: Path,
    with_flows: Callable[[Mapping[str, str]], list[str]],
) -> None:
    gap.write_text(GAP + 'executor = "mp"\n')
    with_flows({name: "pass" for name in ("place", "elsewhere")})
    pytester.makepyfile(FLOW_TESTS)
    run_marked("--ray-cluster=local").assert_outcomes(failed=2, passed=1)
    verdicts = {
        record.id.partition("::")[2]: record.verdict for record in read_report(pytester.path / "r.json").results
    }
    assert verdicts == {"test_flow": "gap-closed", "test_marked": "gap-closed", "test_not_marked": "passed"}


def test_a_flow_in_a_fixture_is_judged_as_one_in_a_test(
    pytester: pytest.Pytester,
    run_marked: Callable[..., pytest.RunResult],
    with_flows: Callable[[Mapping[str, str]], list[str]],
) -> None:
    with_flows({"place": "raise LookupError('no placement group')", "dies": "os.abort()"})
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture
        def placed(run_flow): return run_flow("corp_flows.place")

        @pytest.fixture
        def died(run_flow): return run_flow("corp_flows.dies")

        @pytest.mark.known_gap("corp-fork")
        def test_placed(placed): pass

        def test_died(died): pass
        """
    )
    run_marked("--ray-cluster=local")
    verdicts = {
        record.id.partition("::")[2]: record.verdict for record in read_report(pytester.path / "r.json").results
    }
    assert verdicts == {"test_placed": "known-gap", "test_died": "crashed"}
