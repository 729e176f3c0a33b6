from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_raycompat.bisection.finding import Finding, describe, edits
from pytest_raycompat.bisection.judging import Judged, Judgement
from pytest_raycompat.gaps import Gap, load_gap_file
from pytest_raycompat.versions import satisfies

VERSIONS = ("2.35.0", "2.36.1", "2.37.0", "2.38.0", "2.39.0", "2.40.0")
MakeGap = Callable[[str], Gap]
GAP = """
id = "a-gap"
title = "Something is missing"
flows = ["compiled_graph"]
raises = "TypeError"
fix = "never"
links = ["https://example.org"]
verified = [{{ ray = "2.35.0", vllm = "0.32.0" }}]

[when]
{condition}
"""


@pytest.fixture
def make_gap(tmp_path: Path) -> MakeGap:
    def make(condition: str) -> Gap:
        path = tmp_path / "a-gap.toml"
        path.write_text(GAP.format(condition=condition).lstrip())
        return load_gap_file(path)

    return make


def found(*judgements: Judgement | None, gap: str | None = "a-gap") -> Finding:
    judged = {
        place: Judged(
            one, "why", "", (gap,) if one == "bad" and gap else (), Path("report.json") if one == "bad" else None
        )
        for place, one in enumerate(judgements)
        if one is not None
    }
    return Finding("ray", VERSIONS[: len(judgements)], judged)


def test_one_change() -> None:
    finding = found("bad", None, None, "bad", "good", "good")
    assert finding.monotonic
    assert finding.specifiers == ["<2.39.0"]
    assert describe(finding) == ["Ray 2.38.0 is bad, Ray 2.39.0 is good", "bad: ray <2.39.0"]


def test_what_broke_lately() -> None:
    finding = found("good", "good", None, "good", "bad", "bad")
    assert finding.specifiers == [">=2.39.0"]


def test_what_could_not_be_judged() -> None:
    finding = found("bad", "bad", "skip", "skip", "good", "good")
    assert describe(finding) == [
        "Ray 2.36.1 is bad, Ray 2.39.0 is good",
        "  between them could not be judged: 2.37.0, 2.38.0",
        "bad: ray <2.39.0",
    ]


def test_several_changes() -> None:
    finding = found("bad", "good", "good", "bad", "good", "good")
    assert not finding.monotonic
    assert describe(finding) == [
        "the history is not monotonic: "
        "bad on 2.35.0; good on 2.36.1 to 2.37.0; bad on 2.38.0; good on 2.39.0 to 2.40.0",
        "Ray 2.35.0 is bad, Ray 2.36.1 is good",
        "Ray 2.37.0 is good, Ray 2.38.0 is bad",
        "Ray 2.38.0 is bad, Ray 2.39.0 is good",
        "bad: ray <2.36.1",
        "bad: ray >=2.38.0,<2.39.0",
    ]


@given(st.lists(st.sampled_from(["good", "bad", "skip", None]), min_size=2, max_size=6))
def test_the_specifiers_hold_for_what_is_bad_and_for_nothing_that_is_good(judgements: list[Judgement | None]) -> None:
    finding = found(*judgements)
    for place, judged in finding.judged.items():
        if judged.judgement != "skip":
            holds = any(satisfies(VERSIONS[place], one) for one in finding.specifiers)
            assert holds == (judged.judgement == "bad") or not finding.changes


def test_a_gap_that_agrees(make_gap: MakeGap) -> None:
    gap = make_gap('ray = "<2.39"')
    (line,) = edits(found("bad", None, None, "bad", "good", "good"), [gap])
    assert line == f'gap a-gap, {gap.path}:10: ray = "<2.39" agrees with every release that was judged'


def test_a_gap_that_says_otherwise(make_gap: MakeGap) -> None:
    gap = make_gap('ray = ">=2.10,<2.43"')
    assert edits(found("bad", None, None, "bad", "good", "good"), [gap]) == [
        f"gap a-gap, {gap.path}:10:",
        '-ray = ">=2.10,<2.43"',
        '+ray = ">=2.10,<2.39.0"',
    ]


def test_a_gap_whose_lacks_decides(make_gap: MakeGap) -> None:
    gap = make_gap('ray = "<2.43"\nlacks = ["ray.dag.Node.compile"]')
    assert edits(found("bad", None, None, "bad", "good", "good"), [gap])[-1] == (
        "  (`lacks` decides; this tells a reader which releases lack it)"
    )


def test_a_gap_that_no_specifier_describes(make_gap: MakeGap) -> None:
    gap = make_gap('ray = "<2.39"')
    assert edits(found("bad", "good", None, "bad", "good", "good"), [gap]) == [
        f"gap a-gap, {gap.path}:10: no one specifier of ray holds where it showed, and nowhere else"
    ]


def test_what_is_bad_for_another_reason_says_nothing_of_a_gap(make_gap: MakeGap) -> None:
    gap = make_gap('ray = "<2.38"')
    finding = found("bad", None, "bad", "bad", "good", "good")
    other = Finding("ray", VERSIONS, {**finding.judged, 3: Judged("bad", "a timeout")})
    line, unexplained = edits(other, [gap])
    assert "agrees" in line
    assert unexplained == "bad, and no known gap: ray >=2.38.0,<2.39.0: a timeout"
    assert "agrees" not in edits(finding, [gap])[0]


def test_no_gap() -> None:
    assert edits(found("bad", None, None, "bad", "good", "good", gap=None), []) == [
        "no known gap records this; a new gap file says:",
        "  [when]",
        '  ray = "<2.39.0"',
        "a draft of the rest: raycompat gaps propose report.json",
    ]


def test_a_change_from_one_reason_to_another(make_gap: MakeGap) -> None:
    gap = make_gap('ray = "<2.43"')
    judged = {
        0: Judged("bad", "1 known-gap: TypeError", "a-gap", ("a-gap",)),
        2: Judged("bad", "1 known-gap: TypeError", "a-gap", ("a-gap",)),
        3: Judged("bad", "1 failed: a timeout", "TimeoutError", (), Path("report.json")),
        4: Judged("good", "1 passed"),
        5: Judged("good", "1 passed"),
    }
    finding = Finding("ray", VERSIONS, judged)
    assert finding.monotonic
    assert describe(finding) == [
        "Ray 2.37.0 is bad (a-gap), Ray 2.38.0 is bad (TimeoutError)",
        "Ray 2.38.0 is bad (TimeoutError), Ray 2.39.0 is good",
        "bad: ray <2.39.0",
    ]
    assert edits(finding, [gap]) == [
        f"gap a-gap, {gap.path}:10:",
        '-ray = "<2.43"',
        '+ray = "<2.38.0"',
        "bad, and no known gap: ray >=2.38.0,<2.39.0: 1 failed: a timeout",
        "  a draft: raycompat gaps propose report.json",
    ]
