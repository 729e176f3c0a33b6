from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest

from pytest_raycompat.gaps import BUILTIN_FOLDER, Conditions, Gap, GapFileError, builtin_gaps, load_gap_file
from pytest_raycompat.gaps.lint import lint
from pytest_raycompat.gaps.rules import first_rival
from tests.gaps.making import make_gap

FILE = """\
id = "some-gap"
title = "Some gap"
flows = ["generate"]
phase = "start"
raises = "ValueError"
message = "needs some"
fix = "never"
links = ["https://example.org/1"]

[when]
ray = "<2.43"
"""
TODAY = datetime.date(2027, 6, 1)

# what is added or put in the place of a line, the line of the problem, and the problem
BROKEN = {
    "no version": (
        'ray = "<2.43"',
        'ray = ">=2.5,<2.4"',
        11,
        "when.ray: '>=2.5,<2.4' contradicts itself: no version satisfies it",
    ),
    "no version but one that is left out": (
        'ray = "<2.43"',
        'ray = "==2.35.0,!=2.35.*"',
        11,
        "when.ray: '==2.35.0,!=2.35.*' contradicts itself: no version satisfies it",
    ),
    "executor before its vLLM": (
        'ray = "<2.43"',
        'vllm = "<0.20"\nexecutor = "ray-v2"',
        12,
        "when.executor: 'ray-v2' is in vLLM >=0.20 only, and `vllm` says '<0.20': nothing meets both",
    ),
    "executor after its vLLM": (
        'ray = "<2.43"',
        'vllm = ">=0.33"\nexecutor = "ray-v1"',
        12,
        "when.executor: 'ray-v1' is in vLLM <0.33 only, and `vllm` says '>=0.33': nothing meets both",
    ),
    "nodes of no cluster": (
        'ray = "<2.43"',
        'nodes = 2\nexecutor = "mp"',
        11,
        "when.nodes: executor 'mp' does not run on Ray, so it has no nodes",
    ),
    "fewer than no GPUs": ('ray = "<2.43"', "head_gpus = -1", 11, "when.head_gpus: -1 is not a number of GPUs"),
    "no nodes": ('ray = "<2.43"', "nodes = 0", 11, "when.nodes: 0 is not a number of nodes from 1"),
    "executor as a parameter": (
        'ray = "<2.43"',
        'parameters = { executor = "mp" }',
        11,
        "when.parameters.executor: write `executor` as a condition of its own",
    ),
    "name not in Ray": (
        'ray = "<2.43"',
        'lacks = ["vllm.LLM"]',
        11,
        "when.lacks.0: 'vllm.LLM' is not a name in Ray, such as 'ray.data.llm' or "
        "'ray.dag.DAGNode.experimental_compile(arg)'",
    ),
    "no name": (
        'ray = "<2.43"',
        'lacks = ["ray.dag", "ray.dag("]',
        11,
        "when.lacks.1: 'ray.dag(' is not a name in Ray, such as 'ray.data.llm' or "
        "'ray.dag.DAGNode.experimental_compile(arg)'",
    ),
    "nothing to decide": (
        'ray = "<2.43"',
        'ray = "<2.43"\ndecides = "versions"',
        12,
        "when.decides: there is nothing to decide between: give both `ray` and `lacks`, or remove it",
    ),
    "no condition but who decides": (
        'ray = "<2.43"',
        'decides = "lacks"',
        10,
        "when: empty; give at least one of ray, vllm, torch, python, device, executor, parameters, head_gpus, nodes, "
        "lacks",
    ),
    "no such flow": (
        'flows = ["generate"]',
        'flows = ["generate", "generat"]',
        3,
        "flows.1: 'generat' is not a flow: write one of ",
    ),
    "no such phase": (
        'phase = "start"',
        'phase = "request"',
        4,
        "phase: generate has no phase 'request'; "
        "it has import, start, generate, inspect, shutdown, launch, proof, call",
    ),
    "a wrong answer that is always there": (
        'phase = "start"',
        'phase = "call"',
        4,
        "phase: 'call' is what a test finds wrong, and others pass; write intermittent = true",
    ),
    "title of two lines": (
        'title = "Some gap"',
        'title = "Some\\ngap"',
        2,
        "title: 'Some\\ngap' is not one line that says what does not work",
    ),
    "no title": ('title = "Some gap"', 'title = " "', 2, "title: ' ' is not one line that says what does not work"),
    "regex of tomorrow": (
        'message = "needs some"',
        'message = "needs [[a]"',
        6,
        "message: 'needs [[a]' is not a regular expression: Possible nested set at position 7",
    ),
    "regex too large": (
        'message = "needs some"',
        'message = "a{99999999999}"',
        6,
        "message: 'a{99999999999}' is not a regular expression: the repetition number is too large",
    ),
    "link without a host": (
        '"https://example.org/1"',
        '"https://example"',
        8,
        "links.0: 'https://example' is not an address that a browser can open",
    ),
    "link with a blank": (
        '"https://example.org/1"',
        '"https://example.org/a b"',
        8,
        "links.0: 'https://example.org/a b' is not an address that a browser can open",
    ),
    "list of pulls": (
        '"https://example.org/1"',
        '"https://github.com/ray-project/ray/pulls/1"',
        8,
        "links.0: 'https://github.com/ray-project/ray/pulls/1' is not a page of GitHub; "
        "write https://github.com/OWNER/REPOSITORY/issues/N or …/pull/N",
    ),
    "variable that is none": (
        'fix = "never"',
        'fix = "never"\nworkaround = { text = "set it", env = { "A=B" = "1" } }',
        8,
        "workaround.env.A=B: 'A=B' is not the name of an environment variable",
    ),
    "pair that is left out": (
        'fix = "never"',
        'fix = "never"\nverified = [{ ray = "2.35.0", vllm = "0.32.0" }, { ray = "2.43.0", vllm = "0.32.0" }]',
        8,
        "verified.1.ray: '2.43.0' was shown to have the gap, but `when.ray` (<2.43) leaves it out",
    ),
    "pair of no version": (
        'fix = "never"',
        'fix = "never"\nverified = [{ ray = "new", vllm = "0.32.0" }]',
        8,
        "verified.0.ray: 'new' is not a PEP 440 version, such as '2.35.0'",
    ),
    "confidence in what was shown": (
        'fix = "never"',
        'fix = "never"\nconfidence = "read"\nverified = [{ ray = "2.35.0", vllm = "0.32.0" }]',
        8,
        "confidence: a gap with `verified` pairs has been shown by a run; remove this key",
    ),
    "no day": ('fix = "never"', 'fix = "never"\nreview = "some day"', 8, "review: invalid RFC3339 encoded date"),
}


def write(folder: Path, text: str, name: str = "some-gap") -> Path:
    path = folder / f"{name}.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(("old", "new", "line", "problem"), BROKEN.values(), ids=BROKEN)
def test_a_rule_is_checked_at_load_and_by_lint(tmp_path: Path, old: str, new: str, line: int, problem: str) -> None:
    assert FILE.count(old) == 1
    path = write(tmp_path, FILE.replace(old, new))
    with pytest.raises(GapFileError) as caught:
        load_gap_file(path)
    assert caught.value.line == line
    assert caught.value.problem.startswith(problem)
    found = lint([path], TODAY)
    assert all(finding.fatal for finding in found)
    assert str(found[0].problem) == str(caught.value)


def test_the_file_without_any_of_this_is_right(tmp_path: Path) -> None:
    assert lint([write(tmp_path, FILE)], TODAY) == []


@pytest.mark.parametrize(
    "specifier",
    [">=2.5,<2.5.1", "==2.35.*,!=2.35.0", ">2.4,<2.4.1", "~=2.35", "==2.35.0+corp.3", "<2.43,>=2", "===2.35.0"],
)
def test_a_specifier_that_some_version_satisfies(tmp_path: Path, specifier: str) -> None:
    assert lint([write(tmp_path, FILE.replace('"<2.43"', f'"{specifier}"'))], TODAY) == []


@pytest.mark.parametrize(
    "link",
    [
        "https://github.com/ray-project/ray",
        "https://github.com/ray-project/ray/issues/64358",
        "https://github.com/vllm-project/vllm/pull/13994#issuecomment-1",
        "https://github.com/ray-project/ray/blob/ray-2.35.0/python/ray/dag/dag_node.py#L129",
        "https://github.com/ray-project/ray/commit/ba24879ff81c8c5fd77acae435ee4a1d0b3d9e0c",
        "https://github.com/ray-project/ray/releases/tag/ray-2.39.0",
        "https://docs.ray.io/en/latest/",
    ],
)
def test_a_link_that_may_be_one(tmp_path: Path, link: str) -> None:
    assert lint([write(tmp_path, FILE.replace("https://example.org/1", link))], TODAY) == []


def test_lint_finds_all_that_is_wrong(tmp_path: Path) -> None:
    text = FILE.replace('"<2.43"', '"new"').replace("needs some", ".*").replace("https://", "http://")
    first, second = write(tmp_path, text), write(tmp_path, "id = 7", "another")
    assert [str(finding.problem).removeprefix(f"{tmp_path}/") for finding in lint([tmp_path], TODAY)] == [
        "another.toml:1: id: expected `str`, got `int`",
        "some-gap.toml:11: when.ray: 'new' is not a version specifier; "
        "write an operator and a version, such as '>=2.44.1'",
        "some-gap.toml:6: message: '.*' matches unrelated messages too; quote a part of the message that is its own",
        "some-gap.toml:8: links.0: 'http://example.org/1' does not start with https://",
    ]
    assert {first, second} == set(tmp_path.iterdir())


@pytest.mark.parametrize(("today", "due"), [("2027-05-31", False), ("2027-06-01", True), ("2027-06-02", True)])
def test_a_review_is_due_from_its_day_on_and_the_file_can_be_loaded(tmp_path: Path, today: str, due: bool) -> None:
    path = write(tmp_path, "review = 2027-06-01\n" + FILE)
    findings = lint([path], datetime.date.fromisoformat(today))
    assert [(finding.fatal, str(finding.problem)) for finding in findings] == (
        [
            (
                False,
                f"{path}:1: review: its day, 2027-06-01, has come: "
                "see whether the gap still holds, and give it another day",
            )
        ]
        if due
        else []
    )
    assert load_gap_file(path).review == TODAY


def test_two_files_with_one_id(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    first, second = (write(tmp_path / name, FILE) for name in ("a", "b"))
    (finding,) = lint([first, second], TODAY)
    assert str(finding.problem) == f"{second}:1: id: 'some-gap' is recorded in {first}:1 too"


def test_a_rival_of_a_built_in_gap(tmp_path: Path) -> None:
    built_in = BUILTIN_FOLDER / "cgraph-version-guard.toml"
    text = built_in.read_text().replace('id = "cgraph-version-guard"', 'id = "our-guard"')
    path = write(tmp_path, text, "our-guard")
    (finding,) = lint([path], TODAY)
    assert str(finding.problem) == (
        f"{path}:1: id: 'our-guard' claims the same failure as 'cgraph-version-guard' ({built_in}:1)"
    )
    assert lint([write(tmp_path, built_in.read_text(), "cgraph-version-guard")], TODAY) == []


@pytest.mark.parametrize(
    ("changes", "rivals"),
    [
        ({}, True),
        ({"phase": None}, True),
        ({"flows": ("serve", "generate")}, True),
        ({"when": Conditions(ray=">=2.40")}, True),
        ({"when": Conditions(vllm="<0.20")}, True),
        ({"when": Conditions(executor="mp")}, True),
        ({"when": Conditions(lacks=("ray.x",))}, True),
        ({"when": Conditions(ray=">=2.43", lacks=("ray.x",))}, True),
        ({"flows": ("serve",)}, False),
        ({"phase": "generate"}, False),
        ({"outcome": "crash"}, False),
        ({"raises": "KeyError"}, False),
        ({"message": "needs more"}, False),
        ({"when": Conditions(ray=">=2.43")}, False),
        ({"when": Conditions(ray=">=2.43", lacks=("ray.x",), decides="versions")}, False),
    ],
    ids=str,
)
def test_when_two_gaps_claim_the_same_failure(changes: dict[str, Any], rivals: bool) -> None:
    one, other = make_gap("one"), make_gap("other", **changes)
    assert first_rival(other, [one]) is (one if rivals else None)
    assert first_rival(one, [other]) is (other if rivals else None)


def test_gaps_of_other_executors_or_devices_are_no_rivals() -> None:
    one: Gap = make_gap("one", when=Conditions(executor="mp", device="cpu"))
    assert first_rival(make_gap("other", when=Conditions(executor="uni")), [one]) is None
    assert first_rival(make_gap("other", when=Conditions(device="cuda")), [one]) is None


def test_gaps_of_other_parameters_or_heads_are_no_rivals() -> None:
    one = make_gap("one", when=Conditions(parameters={"size": 1}, head_gpus=0))
    assert first_rival(make_gap("other", when=Conditions(parameters={"size": 2})), [one]) is None
    assert first_rival(make_gap("other", when=Conditions(head_gpus=1)), [one]) is None
    assert first_rival(make_gap("other", when=Conditions(parameters={"length": 2})), [one]) is one


def test_our_own_gaps_are_right() -> None:
    assert lint([BUILTIN_FOLDER], datetime.date.today()) == []
    assert builtin_gaps()
