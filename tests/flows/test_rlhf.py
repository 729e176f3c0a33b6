from __future__ import annotations

import os
from typing import Any

import pytest

from pytest_raycompat.flows.rlhf import parameters, parse_arguments
from pytest_raycompat.flows.rlhf_engine import show_gpus
from pytest_raycompat.flows.rlhf_ways import NotColocated, check_places

MODEL = ["--model", "/models/tiny"]


def test_what_tells_one_run_from_another() -> None:
    read = parse_arguments([*MODEL, "--way", "colocate", "--engines", "2"])
    assert parameters(read) == {
        "executor": "ray-v2",
        "tensor_parallel_size": 1,
        "pipeline_parallel_size": 1,
        "way": "colocate",
        "engines": 2,
        "trainer_gpus": 0,
    }


def test_sleep_tells_one_run_from_another() -> None:
    read = parse_arguments([*MODEL, "--way", "colocate", "--device", "cuda", "--sleep"])
    assert parameters(read)["sleep"] is True


@pytest.mark.parametrize(
    ("mask", "given", "seen"), [("1", "0", "1"), ("", "0", ""), (None, "0", None), (None, None, None)]
)
def test_an_engine_sees_the_gpus_of_its_node(
    mask: str | None, given: str | None, seen: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("RAYCOMPAT_VISIBLE_DEVICES", mask), ("CUDA_VISIBLE_DEVICES", given)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    show_gpus()
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == seen


@pytest.mark.parametrize(
    "words",
    [
        ["--tensor-parallel-size", "2"],
        ["--device", "cuda", "--trainer-gpus", "1"],
        ["--device", "cuda", "--way", "colocate"],
        ["--device", "cuda", "--way", "colocate", "--sleep"],
        ["--way", "weight-transfer", "--pipeline-parallel-size", "2"],
    ],
)
def test_what_can_be_asked_for(words: list[str]) -> None:
    parse_arguments([*MODEL, *words])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--way", "colocate", "--tensor-parallel-size", "2"],
            "--way colocate is for engines of one rank, and the trainer has no GPU alone: it shares theirs",
        ),
        (
            ["--way", "colocate", "--trainer-gpus", "1"],
            "--way colocate is for engines of one rank, and the trainer has no GPU alone: it shares theirs",
        ),
        (["--engines", "2"], "--engines above 1 needs --way colocate"),
        (
            ["--way", "rpc", "--device", "cuda"],
            "--way rpc on cuda needs --trainer-gpus 1: NCCL takes one rank for each GPU",
        ),
        (
            ["--way", "colocate", "--sleep"],
            "--sleep needs --device cuda, where there is memory to give back, and --way colocate",
        ),
        (
            ["--way", "rpc", "--device", "cuda", "--trainer-gpus", "1", "--sleep"],
            "--sleep needs --device cuda, where there is memory to give back, and --way colocate",
        ),
    ],
)
def test_what_cannot(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        parse_arguments([*MODEL, *words])
    assert raised.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())


def at(*gpus: str, node: str = "a") -> list[dict[str, Any]]:
    return [{"node_id": node, "gpu_ids": [gpu]} for gpu in gpus]


def test_each_trainer_beside_its_engine() -> None:
    check_places(at("0", "1"), at("0", "1"))
    check_places([*at("0"), *at("0", node="b")], [*at("0"), *at("0", node="b")])


@pytest.mark.parametrize(
    ("workers", "trainers"),
    [
        (at("1", "1"), at("0", "0")),
        (at("0", "0"), at("0", "0")),
        (at("0", "1"), at("1", "0")),
        (at("0"), at("0", node="b")),
    ],
)
def test_who_is_not_beside_its_engine(workers: list[dict[str, Any]], trainers: list[dict[str, Any]]) -> None:
    with pytest.raises(NotColocated):
        check_places(workers, trainers)


def test_it_says_who_has_which_gpu() -> None:
    with pytest.raises(NotColocated) as raised:
        check_places(at("1", "1"), at("0", "0"))
    assert str(raised.value) == (
        "engines and trainers in one bundle do not share its GPU; "
        "bundle 0: engine ['1'], trainer ['0']; bundle 1: engine ['1'], trainer ['0']"
    )
