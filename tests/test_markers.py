from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from pytest_raycompat.gpus import Gpu, Holder, Use
from pytest_raycompat.markers import (
    Asked,
    Facts,
    Gpus,
    MarkError,
    Nodes,
    Requirement,
    Version,
    asked_of_gpus,
    gap_id_from,
    plural,
    requirement_from,
    unmet_needs,
)
from pytest_raycompat.plugin import MARKERS

L4 = Gpu("0", "NVIDIA L4", 24.0)
A100 = Gpu("1", "NVIDIA A100", 79.6)
FACTS = Facts(
    ray="2.35.0+corp.3",
    vllm="0.33.0.dev7",
    gpus=2,
    nodes=1,
    where="local cluster of 1 node with 2 GPUs",
    gpu_use=(Use(L4, 24.0, 0.0), Use(A100, 59.1, 20.5, (Holder(71, "VLLM::EngineCore", 20.0),))),
)


def mark(name: str, *args: Any, **kwargs: Any) -> pytest.Mark:
    made: pytest.Mark = getattr(pytest.mark, name).with_args(*args, **kwargs).mark
    return made


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (mark("ray_version", ">=2.44.1"), Version("ray", "Ray", ">=2.44.1")),
        (mark("ray_version", spec=">=2.44.1"), Version("ray", "Ray", ">=2.44.1")),
        (mark("vllm_version", "<0.33"), Version("vllm", "vLLM", "<0.33")),
        (mark("gpus", 2), Gpus(2, None)),
        (mark("gpus", n=2, min_memory_gb=40), Gpus(2, 40)),
        (mark("gpus", 1, 79.5), Gpus(1, 79.5)),
        (mark("gpus", 2, alone=True), Gpus(2, None, alone=True)),
        (mark("nodes", 2), Nodes(2)),
    ],
    ids=str,
)
def test_a_marker_becomes_a_requirement(given: pytest.Mark, expected: Any) -> None:
    assert requirement_from(given) == expected


@pytest.mark.parametrize("name", ["skipif", "parametrize", "known_gap", "timeout"])
def test_other_markers_state_no_requirement(name: str) -> None:
    assert requirement_from(mark(name, 0)) is None


def test_the_id_of_a_gap_is_read() -> None:
    assert gap_id_from(mark("known_gap", "some-gap")) == gap_id_from(mark("known_gap", id="some-gap")) == "some-gap"


WRONG = {
    "no argument": (mark("nodes"), "@pytest.mark.nodes: argument 'n' is missing, write nodes(n)"),
    "no argument but an optional one": (
        mark("gpus", min_memory_gb=40),
        "@pytest.mark.gpus: argument 'n' is missing, write gpus(n, min_memory_gb=None, alone=False)",
    ),
    "too many": (
        mark("gpus", 1, 2, True, 4),
        "@pytest.mark.gpus: 4 arguments given, write gpus(n, min_memory_gb=None, alone=False)",
    ),
    "unknown": (
        mark("gpus", 1, memory=40),
        "@pytest.mark.gpus: unknown argument 'memory', write gpus(n, min_memory_gb=None, alone=False)",
    ),
    "twice": (mark("nodes", 1, n=2), "@pytest.mark.nodes: argument 'n' given twice, write nodes(n)"),
    "no specifier": (
        mark("ray_version", "2.44.1"),
        "@pytest.mark.ray_version('2.44.1'): '2.44.1' is not a version specifier; "
        "write '>=2.44.1', '==2.44.1' or '>=2.44.1,<3'",
    ),
    "empty specifier": (
        mark("vllm_version", ""),
        "@pytest.mark.vllm_version(''): an empty version specifier would match every version; "
        "write one such as '>=2.44.1'",
    ),
    "specifier that is no text": (
        mark("vllm_version", 0.8),
        "@pytest.mark.vllm_version(0.8): write the specifier as text, such as '>=2.44.1'",
    ),
    "no GPU": (mark("gpus", 0), "@pytest.mark.gpus(0): write a whole number from 1, such as gpus(2)"),
    "half a GPU": (mark("gpus", 0.5), "@pytest.mark.gpus(0.5): write a whole number from 1, such as gpus(2)"),
    "true GPUs": (mark("gpus", True), "@pytest.mark.gpus(True): write a whole number from 1, such as gpus(2)"),
    "no memory": (
        mark("gpus", 1, min_memory_gb=0),
        "@pytest.mark.gpus(min_memory_gb=0): write GiB as a number above 0, such as 40",
    ),
    "memory as text": (
        mark("gpus", 1, min_memory_gb="40GB"),
        "@pytest.mark.gpus(min_memory_gb='40GB'): write GiB as a number above 0, such as 40",
    ),
    "true memory": (
        mark("gpus", 1, min_memory_gb=True),
        "@pytest.mark.gpus(min_memory_gb=True): write GiB as a number above 0, such as 40",
    ),
    "alone as text": (
        mark("gpus", 1, alone="yes"),
        "@pytest.mark.gpus(alone='yes'): write True or False",
    ),
    "nodes as text": (mark("nodes", "2"), "@pytest.mark.nodes('2'): write a whole number from 1, such as nodes(2)"),
}


def test_what_a_test_asks_of_each_gpu() -> None:
    assert asked_of_gpus([]) == asked_of_gpus([Nodes(2)]) == Asked(0.0, alone=False)
    assert asked_of_gpus([Gpus(2, 40), Gpus(1, 20), Nodes(2)]) == Asked(40, alone=False)
    assert asked_of_gpus([Gpus(2, 40), Gpus(1, None, alone=True)]) == Asked(40, alone=True)


@pytest.mark.parametrize(("given", "problem"), WRONG.values(), ids=WRONG)
def test_wrong_arguments_are_refused(given: pytest.Mark, problem: str) -> None:
    with pytest.raises(MarkError) as caught:
        requirement_from(given)
    assert str(caught.value) == problem


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (mark("known_gap"), "@pytest.mark.known_gap: argument 'id' is missing, write known_gap(id)"),
        (mark("known_gap", 7), "@pytest.mark.known_gap(7): write the id of a gap as text"),
        (mark("known_gap", "a", "b"), "@pytest.mark.known_gap: 2 arguments given, write known_gap(id)"),
    ],
    ids=str,
)
def test_a_wrong_id_of_a_gap_is_refused(given: pytest.Mark, problem: str) -> None:
    with pytest.raises(MarkError) as caught:
        gap_id_from(given)
    assert str(caught.value) == problem


@pytest.mark.parametrize(
    ("requirement", "reason"),
    [
        (Version("ray", "Ray", ">=2.35"), None),
        (Version("ray", "Ray", ">=2.44.1"), "needs Ray >=2.44.1, found 2.35.0+corp.3"),
        (Version("vllm", "vLLM", ">=0.33"), None),
        (Version("vllm", "vLLM", "<0.33"), "needs vLLM <0.33, found 0.33.0.dev7"),
        (Gpus(2, None), None),
        (Gpus(3, None), "needs 3 GPUs, found 2"),
        (Gpus(2, 24), None),
        (Gpus(1, 59.1), None),
        (Gpus(2, 40), "needs 2 GPUs with 40 GiB free, found 1"),
        (Gpus(1, 80), "needs 1 GPU with 80 GiB free, found 0"),
        (
            Gpus(1, 79.6),
            "needs 1 GPU with 79.6 GiB free, found 0; "
            "GPU 1 has 59.1 of 79.6 GiB free, held by VLLM::EngineCore (pid 71, 20.0 GiB)",
        ),
        (Nodes(1), None),
        (Nodes(2), "needs 2 Ray nodes, found 1"),
    ],
    ids=str,
)
def test_needs_are_compared_with_what_there_is(requirement: Any, reason: str | None) -> None:
    assert requirement.unmet(FACTS) == reason


@pytest.mark.parametrize(
    ("requirement", "reason"),
    [
        (Version("ray", "Ray", ">=0"), "needs Ray >=0, found none"),
        (Version("vllm", "vLLM", ">=0"), "needs vLLM >=0, found none"),
        (Gpus(1, None), "needs 1 GPU, found 0"),
        (Nodes(1), "needs 1 Ray node, found 0"),
    ],
    ids=str,
)
def test_what_is_not_there_does_not_meet_a_need(requirement: Any, reason: str) -> None:
    assert requirement.unmet(Facts(None, None, 0, 0, "this machine")) == reason


def test_gpus_without_memory_of_their_own_do_not_meet_a_need_for_it() -> None:
    stand_ins = dataclasses.replace(FACTS, gpu_use=None)
    assert Gpus(2, None).unmet(stand_ins) is None
    assert Gpus(1, 40).unmet(stand_ins) == "needs 1 GPU with 40 GiB free, found 2 without memory of their own"


def test_one_reason_names_all_unmet_needs_and_what_was_looked_at() -> None:
    needs: list[Requirement] = [Version("ray", "Ray", ">=2.44.1"), Gpus(2, None), Gpus(4, None), Nodes(2)]
    assert unmet_needs(needs, FACTS) == (
        "needs Ray >=2.44.1, found 2.35.0+corp.3; needs 4 GPUs, found 2; needs 2 Ray nodes, found 1 "
        "(local cluster of 1 node with 2 GPUs)"
    )


def test_there_is_no_reason_where_all_needs_are_met() -> None:
    assert unmet_needs([Gpus(2, 24), Nodes(1)], FACTS) is None


def test_every_marker_is_declared_with_the_signature_that_its_errors_name() -> None:
    declared = {text.partition("(")[0]: text.partition(":")[0] for text in MARKERS}
    assert declared.keys() == {"ray_version", "vllm_version", "gpus", "nodes", "known_gap"}
    for name, signature in declared.items():
        with pytest.raises(MarkError) as caught:
            (gap_id_from if name == "known_gap" else requirement_from)(mark(name, 1, 2, 3, 4))
        assert str(caught.value) == f"@pytest.mark.{name}: 4 arguments given, write {signature}"


@pytest.mark.parametrize(("count", "text"), [(0, "0 nodes"), (1, "1 node"), (2, "2 nodes")])
def test_a_count_agrees_with_its_noun(count: int, text: str) -> None:
    assert plural(count, "node") == text
