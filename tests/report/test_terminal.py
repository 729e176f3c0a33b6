from __future__ import annotations

from typing import Any, get_args

import pytest

from pytest_raycompat.records import GREEN, RED, Verdict
from pytest_raycompat.report.document import TestRecord as Record
from pytest_raycompat.report.terminal import (
    ORDER,
    color_of,
    counts,
    describe_parameters,
    details,
    rows_of,
    shortened,
    table,
)


def flow(verdict: Verdict, name: str = "generate", executor: str = "ray-v2", size: int = 1, **fields: Any) -> Record:
    parameters = {"executor": executor, "tensor_parallel_size": size}
    defaults: dict[str, Any] = {"id": f"a.py::test_{verdict}", "timings": {"total": 12.34}}
    return Record(verdict=verdict, flow=name, parameters=parameters, **(defaults | fields))


LONG = [
    flow("passed", "generate", size=2),
    flow("gap-changed", "a_flow_with_a_name_that_is_longer_than_any_column", size=4, gap="some-gap"),
    Record(
        id="suites/x/test_x.py::TestX::test_with_a_very_long_name_indeed[ray-v2-2-" + "x" * 80 + "]",
        verdict="control-failed",
        seconds=123456.7,
        gap="a-gap-with-a-name-that-is-longer-than-what-is-left-of-any-line-of-eighty-or-of-one-hundred-twenty-columns",
    ),
]


@pytest.mark.parametrize("width", [80, 120, 200])
def test_the_table_fits(width: int) -> None:
    lines = [line for line, _ in table(LONG, width)]
    assert len(lines) == 1 + len(LONG)
    assert max(map(len, lines)) <= width
    column = lines[0].index("verdict")
    assert [line[column:].split()[0] for line in lines[1:]] == ["passed", "gap-changed", "control-failed"]


@pytest.mark.parametrize(("width", "said"), [(80, False), (120, True)])
def test_a_gap_is_named_where_there_is_room(width: int, said: bool) -> None:
    records = [flow("known-gap", executor="ray-v1 with more words than fit", gap="cgraph-version-guard")]
    line = table(records, width)[1][0]
    assert line.endswith("  cgraph-version-guard") is said
    assert len(line) <= width


def test_how_the_table_looks() -> None:
    records = [
        flow("known-gap", executor="ray-v1", size=2, gap="cgraph-version-guard"),
        flow("passed", executor="ray-v2", size=2),
        Record(id="tests/test_own.py::test_own", verdict="failed", seconds=0.25),
    ]
    assert table(records, 100) == [
        ("flow      with         verdict          tests   seconds", "bold"),
        ("generate  ray-v1 TP=2  known-gap            1      12.3  cgraph-version-guard", "yellow"),
        ("generate  ray-v2 TP=2  passed               1      12.3", "green"),
        ("test_own               failed               1       0.2", "red"),
    ]


def test_the_tests_of_a_flow_are_one_row_whose_verdict_is_the_one_to_see_first() -> None:
    records = [
        flow("passed", id="a", timings={"total": 12.0}),
        flow("timed-out", id="b", timings={"total": 30.0}, gap="late"),
        flow("gap-changed", id="c", timings={}, gap="other"),
        flow("passed", size=2, id="d"),
    ]
    rows = rows_of(records)
    assert [(row.verdict, row.tests, row.seconds, row.gap) for row in rows] == [
        ("timed-out", 3, 30.0, "late"),
        ("passed", 1, 12.34, ""),
    ]


@pytest.mark.parametrize(
    ("identifier", "name", "parameters"),
    [
        ("tests/test_own.py::test_own", "test_own", ""),
        ("tests/test_own.py::test_own[ray-v2-2]", "test_own.py", "ray-v2-2"),
        ("tests/test_own.py::TestOwn::test_own[ray-v2-2]", "TestOwn", "ray-v2-2"),
        ("tests/test_own.py::TestOwn::test_own", "test_own", ""),
        ("test_own", "test_own", ""),
        ("test_own.py::test_own[a[b]]", "test_own.py", "a[b]"),
    ],
)
def test_a_test_without_a_flow_is_named_after_where_it_stands(identifier: str, name: str, parameters: str) -> None:
    (row,) = rows_of([Record(id=identifier, verdict="passed", seconds=0.5)])
    assert (row.name, row.parameters, row.seconds) == (name, parameters, 0.5)


def test_tests_of_a_class_that_did_not_run_are_one_row() -> None:
    records = [Record(id=f"a.py::TestA::test_{number}", verdict="untested") for number in range(3)]
    assert [(row.name, row.tests) for row in rows_of(records)] == [("TestA", 3)]
    assert [row.name for row in rows_of([Record(id="a.py::test_a", verdict="untested")])] == ["test_a"]


def test_rows_that_differ_in_their_last_parameter_can_be_told_apart() -> None:
    lines = [
        flow("passed", "serve", setting=f"entry_point={name} and_something={name}") for name in ("vllm-serve", "api")
    ]
    first, second = (line for line, _ in table(lines, 80)[1:])
    assert first.startswith("serve  ray-v2 entry_poi…d_something=vllm-serve  passed "), first
    assert len(first) <= 80
    assert second.startswith("serve  ray-v2 entry_poi…=api and_something=api  passed "), second


@pytest.mark.parametrize("identifier", ["a.py::test_own[b::c]", "a.py::test_own[b/c::d]"])
def test_a_parameter_may_hold_colons(identifier: str) -> None:
    (row,) = rows_of([Record(id=identifier, verdict="passed")])
    assert (row.name, row.parameters) == ("a.py", identifier.partition("[")[2].removesuffix("]"))


def test_tests_without_a_flow_share_a_row_where_their_parameters_are_the_same() -> None:
    records = [
        Record(id="a.py::TestA::test_a[ray-v2]", verdict="passed", seconds=1.5),
        Record(id="a.py::TestA::test_b[ray-v2]", verdict="unsupported", seconds=1.5),
    ]
    (row,) = rows_of(records)
    assert (row.name, row.verdict, row.tests, row.seconds) == ("TestA", "unsupported", 2, 3.0)


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({}, ""),
        ({"executor": "ray-v2", "tensor_parallel_size": 1, "pipeline_parallel_size": 1}, "ray-v2"),
        ({"executor": "mp", "tensor_parallel_size": 2, "pipeline_parallel_size": 4}, "mp TP=2 PP=4"),
        ({"data_parallel_size": 2, "prompts": 1}, "DP=2 prompts=1"),
    ],
)
def test_parameters_are_written_in_a_few_characters(parameters: dict[str, Any], text: str) -> None:
    assert describe_parameters(Record(id="a", verdict="passed", parameters=parameters)) == text


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [("abc", 3, "abc"), ("abcd", 3, "ab…"), ("abcd", 1, "…"), ("", 0, ""), ("abc", 10, "abc")],
)
def test_what_is_too_long_is_shortened(text: str, width: int, expected: str) -> None:
    assert shortened(text, width) == expected


def test_every_verdict_has_its_place_and_colour() -> None:
    assert sorted(ORDER) == sorted(get_args(Verdict))
    assert {verdict: color_of(verdict) for verdict in ORDER} == {
        "infra": "red",
        "crashed": "red",
        "timed-out": "red",
        "failed": "red",
        "control-failed": "red",
        "gap-changed": "red",
        "gap-closed": "red",
        "untested": "yellow",
        "known-gap": "yellow",
        "unsupported": "yellow",
        "passed": "green",
    }
    assert not GREEN & RED


def test_verdicts_are_counted_the_best_first() -> None:
    verdicts: list[Verdict] = ["infra", "passed", "known-gap", "passed", "unsupported"]
    records = [Record(id=str(number), verdict=verdict) for number, verdict in enumerate(verdicts)]
    assert counts(records) == "2 passed, 1 unsupported, 1 known-gap, 1 infra"


def test_what_is_behind_each_verdict() -> None:
    records = [
        flow("passed", id="a.py::test_a", reason="", logs=("a.log",)),
        flow("known-gap", id="a.py::test_b", reason="some-gap: Some gap", logs=("b.log",)),
        Record(id="a.py::test_c", verdict="unsupported", reason="needs 4 GPUs, found 2"),
        flow(
            "crashed",
            id="a.py::test_d",
            reason="crash in phase 'start': killed by SIGSEGV\nsecond line",
            logs=("d.log", "e.log"),
            reproduce="raycompat run generate",
        ),
        Record(id="a.py::test_e", verdict="untested", reason="the run ended before it"),
    ]
    assert details(records) == [
        ("a.py::test_d", "bold"),
        ("  crashed: crash in phase 'start': killed by SIGSEGV", "red"),
        ("  second line", "red"),
        ("  log: d.log", ""),
        ("  log: e.log", ""),
        ("  reproduce: raycompat run generate", ""),
        ("a.py::test_e", "bold"),
        ("  untested: the run ended before it", "yellow"),
        ("a.py::test_b", "bold"),
        ("  known-gap: some-gap: Some gap", "yellow"),
        ("a.py::test_c", "bold"),
        ("  unsupported: needs 4 GPUs, found 2", "yellow"),
    ]


def test_what_several_tests_share_is_said_once() -> None:
    records = [flow("failed", id=identifier, reason="error in phase 'start'") for identifier in ("a", "b")]
    assert [line for line, _ in details(records)] == ["a and 1 more", "  failed: error in phase 'start'"]


def test_reasons_are_folded_on_a_terminal_and_commands_are_not() -> None:
    reproduce = "raycompat run generate " + "--an-option " * 10
    record = flow("failed", id="a", reason="KeyError: " + "word " * 10 + "\n  is indented", reproduce=reproduce)
    assert [line for line, _ in details([record], width=40)] == [
        "a",
        "  failed: KeyError: word word word word",
        "    word word word word word word",
        "    is indented",
        f"  reproduce: {reproduce}",
    ]


def test_a_flow_on_other_nodes_has_a_row_of_its_own() -> None:
    records = [flow("passed", id="a"), flow("passed", id="b", setting="nodes=0+1+1")]
    assert [row.parameters for row in rows_of(records)] == [
        describe_parameters(records[0]),
        f"{describe_parameters(records[0])} nodes=0+1+1".strip(),
    ]


def test_there_is_nothing_to_say_where_all_passed() -> None:
    assert details([flow("passed")]) == []
