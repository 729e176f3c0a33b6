from __future__ import annotations

from typing import Any, Literal

import pytest

from pytest_raycompat.gaps import Conditions, Gap, Workaround
from pytest_raycompat.judgement import Judgement, describe_failure, judge_finding, judge_flow, judge_marked
from pytest_raycompat.records import Environment, ExceptionRecord, Verdict
from tests.judging import (
    CONTROL_ERROR,
    CONTROL_OK,
    DEAD,
    GUARD,
    NEW,
    OLD,
    RECORDED,
    make_failure,
    make_gap,
    make_result,
)


def test_a_flow_that_works_passes() -> None:
    assert judge_flow(make_result(), [make_gap()], NEW) == Judgement("passed")


def test_the_recorded_failure_is_the_known_gap() -> None:
    assert judge_flow(make_result(RECORDED), [make_gap()], OLD) == Judgement(
        "known-gap", "version-guard: vLLM refuses an old Ray", "version-guard"
    )


def test_a_known_gap_needs_no_control() -> None:
    result = make_result(RECORDED, control=CONTROL_ERROR)
    assert judge_flow(result, [make_gap()], OLD).verdict == "known-gap"


def test_a_pass_where_a_gap_is_recorded_names_the_entry_to_change() -> None:
    assert judge_flow(make_result(), [make_gap()], OLD) == Judgement(
        "gap-closed",
        "version-guard is recorded for Ray 2.35.0+corp.3 with vLLM 0.32.0 in gaps/version-guard.toml:7, "
        "but it passed:\n"
        'write ray = "<2.43,!=2.35.0+corp.3" in gaps/version-guard.toml:7 (now ray = "<2.43"), or remove the file',
        "version-guard",
    )


def test_another_failure_where_a_gap_is_recorded_is_not_that_gap() -> None:
    failure = make_failure(ExceptionRecord(type="KeyError", message="'GPU'", process="EngineCore pid=71"), DEAD)
    assert judge_flow(make_result(failure), [make_gap()], OLD) == Judgement(
        "gap-changed",
        "version-guard is recorded for Ray 2.35.0+corp.3 with vLLM 0.32.0, but this is not it "
        "(gaps/version-guard.toml:7):\n"
        "           recorded                         found\n"
        "  outcome  error                            error\n"
        "  phase    generate                         generate\n"
        "! raises   ValueError                       KeyError,\n"
        "                                            vllm.v1.engine.exceptions.\n"
        "                                            EngineDeadError\n"
        "! message  is required, but found 2\\.\\d+    \"'GPU'\", 'see above'\n"
        "error in phase 'generate': KeyError: 'GPU' (in EngineCore pid=71)\n"
        "then vllm.v1.engine.exceptions.EngineDeadError: see above",
        "version-guard",
    )


def test_the_recorded_failure_in_another_phase_is_not_the_gap() -> None:
    judgement = judge_flow(make_result(make_failure(GUARD, phase="start")), [make_gap()], OLD)
    assert judgement.verdict == "gap-changed"
    assert [line for line in judgement.reason.splitlines() if line.startswith("!")] == [
        "! phase    generate                         start"
    ]


def test_of_several_recorded_gaps_the_one_that_matches_is_it() -> None:
    gaps = [make_gap("other", raises="KeyError"), make_gap()]
    assert judge_flow(make_result(RECORDED), gaps, OLD).gap == "version-guard"


def test_where_none_of_several_matches_the_nearest_is_named() -> None:
    gaps = [make_gap("far", raises="KeyError", phase="start"), make_gap("near", phase="start")]
    judgement = judge_flow(make_result(RECORDED), gaps, OLD)
    assert (judgement.verdict, judgement.gap) == ("gap-changed", "near")
    lines = judgement.reason.splitlines()
    assert "! phase    start                            generate" in lines
    assert "far applies too, and is not it either (gaps/far.toml:7)" in lines


def test_every_gap_that_is_closed_is_named() -> None:
    gaps = [make_gap("now-and-then", intermittent=True), make_gap("one"), make_gap("two")]
    judgement = judge_flow(make_result(), gaps, OLD)
    assert (judgement.verdict, judgement.gap) == ("gap-closed", "one")
    assert [line.partition(" is recorded")[0] for line in judgement.reason.splitlines()[::2]] == ["one", "two"]


def test_an_intermittent_gap_may_pass_and_is_named() -> None:
    assert judge_flow(make_result(), [make_gap(intermittent=True)], OLD) == Judgement("passed", gap="version-guard")
    assert judge_flow(make_result(RECORDED), [make_gap(intermittent=True)], OLD).verdict == "known-gap"


def test_another_failure_is_judged_as_without_an_intermittent_gap() -> None:
    other = make_failure(ExceptionRecord(type="KeyError", message="'GPU'"))
    judgement = judge_flow(make_result(other), [make_gap("now-and-then", intermittent=True)], OLD)
    assert (judgement.verdict, judgement.gap) == ("failed", None)
    assert judgement.reason.endswith(
        "KeyError: 'GPU'\nnow-and-then shows now and then here, and is not it (gaps/now-and-then.toml:7)"
    )
    control = make_result(other)
    judgement = judge_flow(make_result(other, control=control), [make_gap(intermittent=True)], OLD)
    assert judgement.verdict == "control-failed"
    gaps = [make_gap("now-and-then", intermittent=True), make_gap("one")]
    assert judge_flow(make_result(other), gaps, OLD).verdict == "gap-changed"


def test_a_run_with_the_workaround_is_judged_as_if_there_were_no_gap() -> None:
    assert judge_flow(make_result(workaround="version-guard"), [make_gap()], OLD) == Judgement("passed")
    assert judge_flow(make_result(RECORDED, workaround="version-guard"), [make_gap()], OLD).verdict == "failed"
    assert judge_flow(make_result(workaround="another"), [make_gap()], OLD).verdict == "gap-closed"


def test_where_gaps_excuse_nothing_a_failure_names_the_gap_that_it_is() -> None:
    failed = judge_flow(make_result(RECORDED), [make_gap()], OLD, excuse=False)
    assert (failed.verdict, failed.gap) == ("failed", "version-guard")
    assert failed.reason.splitlines()[-1] == (
        "this is version-guard: vLLM refuses an old Ray (gaps/version-guard.toml:7)"
    )
    other = make_failure(outcome="crash", detail="killed by SIGSEGV")
    assert judge_flow(make_result(other), [make_gap()], OLD, excuse=False) == Judgement(
        "crashed", "crash in phase 'generate': killed by SIGSEGV"
    )
    assert judge_flow(make_result(), [make_gap()], OLD, excuse=False) == Judgement("passed", gap="version-guard")


@pytest.mark.parametrize(
    ("outcome", "verdict"),
    [("error", "failed"), ("crash", "crashed"), ("timeout", "timed-out")],
)
def test_a_failure_that_nothing_explains(outcome: Literal["error", "crash", "timeout"], verdict: Verdict) -> None:
    failure = make_failure(outcome=outcome, phase="start", detail="killed by SIGSEGV")
    assert judge_flow(make_result(failure), [], OLD) == Judgement(
        verdict, f"{outcome} in phase 'start': killed by SIGSEGV"
    )


def test_an_unexplained_failure_names_the_gap_that_it_looks_like() -> None:
    failure = make_failure(GUARD, phase="start")
    assert judge_flow(make_result(failure), [make_gap()], NEW) == Judgement(
        "failed",
        "error in phase 'start': ValueError: Ray version 2.43.0 is required, but found 2.35.0 (in EngineCore pid=71)\n"
        "looks like version-guard, but: phase: recorded generate, found start",
    )


def test_a_recorded_failure_outside_its_conditions_is_not_known() -> None:
    assert judge_flow(make_result(RECORDED), [make_gap()], NEW).reason.splitlines()[-1] == (
        "looks like version-guard, but: its conditions (`when`) leave this pair out"
    )


def test_a_failure_without_ray_too_is_not_rays() -> None:
    failure = make_failure(outcome="crash", phase="start", detail="killed by SIGKILL")
    assert judge_flow(make_result(failure, control=CONTROL_ERROR), [], OLD) == Judgement(
        "control-failed",
        "it fails without Ray too, so the gap is not Ray's: error in phase 'start': MemoryError: no room",
    )


def test_a_failure_whose_control_works_is_rays() -> None:
    assert judge_flow(make_result(RECORDED, control=CONTROL_OK), [], OLD).verdict == "failed"


def test_a_known_gap_says_what_to_do_about_it() -> None:
    gap = make_gap(workaround=Workaround(text="Take a newer Ray."))
    assert judge_flow(make_result(RECORDED), [gap], OLD).reason == (
        "version-guard: vLLM refuses an old Ray\nworkaround: Take a newer Ray."
    )


def test_a_failure_that_shares_only_a_type_with_a_gap_does_not_look_like_it() -> None:
    failure = make_failure(ExceptionRecord(type="ValueError", message="another"), phase="start")
    assert judge_flow(make_result(failure), [make_gap()], NEW).reason == "error in phase 'start': ValueError: another"


def test_gaps_may_come_from_an_iterator() -> None:
    failure = make_failure(GUARD, phase="start")
    assert "looks like version-guard" in judge_flow(make_result(failure), iter([make_gap()]), NEW).reason


def test_a_failure_that_showed_nothing_says_so() -> None:
    assert describe_failure(make_failure(outcome="crash")) == "crash in phase 'generate': no exception was seen"


def test_what_was_last_seen_comes_before_the_exceptions() -> None:
    failure = make_failure(GUARD, outcome="crash", detail="killed by SIGKILL")
    assert describe_failure(failure) == (
        "crash in phase 'generate': killed by SIGKILL\n"
        "then ValueError: Ray version 2.43.0 is required, but found 2.35.0 (in EngineCore pid=71)"
    )


@pytest.mark.parametrize("process", ["", "driver"])
def test_a_root_cause_in_the_flow_itself_is_not_placed(process: str) -> None:
    failure = make_failure(ExceptionRecord(type="MemoryError", message="no room", process=process))
    assert describe_failure(failure) == "error in phase 'generate': MemoryError: no room"


def judge_own(
    error: BaseException | None, *gaps: Gap, environment: Environment = OLD, parameters: dict[str, Any] | None = None
) -> Judgement:
    return judge_marked(error, ["version-guard"], gaps, environment, "cpu", parameters or {})


def test_a_test_of_ones_own_that_works_passes() -> None:
    assert judge_own(None, make_gap(), environment=NEW) == Judgement("passed")


def test_a_test_of_ones_own_has_no_phases() -> None:
    judgement = judge_own(ValueError("it is required, but found 2.35"), make_gap(phase="generate"))
    assert judgement == Judgement("known-gap", "version-guard: vLLM refuses an old Ray", "version-guard")


def test_a_test_of_ones_own_that_works_despite_its_gap_closes_it() -> None:
    assert judge_own(None, make_gap()).verdict == "gap-closed"


def test_a_test_of_ones_own_that_fails_differently_is_not_the_gap() -> None:
    judgement = judge_own(KeyError("GPU"), make_gap(phase=None))
    assert (judgement.verdict, judgement.gap) == ("gap-changed", "version-guard")
    assert judgement.reason.endswith("\nerror in phase 'call': KeyError: 'GPU'")


def test_a_test_of_ones_own_is_judged_by_its_own_gaps_only() -> None:
    error = ValueError("it is required, but found 2.35")
    assert judge_own(error, make_gap("another")) == Judgement("failed", "ValueError: it is required, but found 2.35")


def test_a_test_of_ones_own_outside_the_conditions_just_fails() -> None:
    gap = make_gap(when=Conditions(executor="ray-v1"))
    error = ValueError("it is required, but found 2.35")
    assert judge_own(error, gap, parameters={"executor": "ray-v2"}).verdict == "failed"
    assert judge_own(error, gap, parameters={"executor": "ray-v1"}).verdict == "known-gap"
    assert judge_own(error, gap).verdict == "known-gap"  # the mark says what the test does not


def test_the_cause_of_what_a_test_raised_may_be_the_gap() -> None:
    try:
        try:
            raise ValueError("it is required, but found 2.35")
        except ValueError as cause:
            raise RuntimeError("no engine") from cause
    except RuntimeError as error:
        raised = error
    assert judge_own(raised, make_gap()).verdict == "known-gap"
    assert judge_own(raised, environment=NEW) == Judgement("failed", "RuntimeError: no engine")


WRONG = AssertionError("completion 1 of 8: token 1 of 16 is 181, the control's is 34\nand more")
WRONG_ANSWER = make_gap(
    "wrong-answer", phase="call", raises="AssertionError", message="completion 1 of", intermittent=True
)


def test_a_wrong_answer_that_is_recorded_is_a_known_gap() -> None:
    assert judge_finding(WRONG, [make_result()], [WRONG_ANSWER], OLD) == Judgement(
        "known-gap", "wrong-answer: vLLM refuses an old Ray", "wrong-answer"
    )


@pytest.mark.parametrize(
    ("error", "gaps", "environment"),
    [
        (WRONG, [], OLD),
        (WRONG, [WRONG_ANSWER], NEW),
        (WRONG, [make_gap(phase=None, raises="AssertionError", message="completion")], OLD),
        (AssertionError("completion 2 of 8: token 1"), [WRONG_ANSWER], OLD),
        (ValueError("completion 1 of 8"), [WRONG_ANSWER], OLD),
    ],
    ids=["no gap", "elsewhere", "a gap of the flow itself", "another answer", "another exception"],
)
def test_a_wrong_answer_that_is_not_recorded_fails(error: Exception, gaps: list[Gap], environment: Environment) -> None:
    said = f"{type(error).__name__}: {str(error).splitlines()[0]}"
    assert judge_finding(error, [make_result()], gaps, environment) == Judgement("failed", said)


def test_a_wrong_answer_is_named_where_gaps_excuse_nothing() -> None:
    judgement = judge_finding(WRONG, [make_result()], [WRONG_ANSWER], OLD, excuse=False)
    assert (judgement.verdict, judgement.gap) == ("failed", "wrong-answer")
    assert judgement.reason.splitlines() == [
        "AssertionError: completion 1 of 8: token 1 of 16 is 181, the control's is 34",
        "this is wrong-answer: vLLM refuses an old Ray (gaps/wrong-answer.toml:7)",
    ]


def test_a_failure_of_a_flow_is_not_what_a_test_finds_wrong() -> None:
    failure = make_failure(ExceptionRecord(type="AssertionError", message="completion 1 of 8", process="driver"))
    assert judge_flow(make_result(failure), [WRONG_ANSWER], OLD).verdict == "failed"
