"""RLHF on Ray: a trainer trains, an engine takes its weights and answers, three rounds; each way for weights to go."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from pytest_raycompat.flows.parity import LOGPROB_TOLERANCE, assert_same_tokens

# the engine sleeps while the trainer trains, which needs memory that can be given back: what others take meanwhile
# would count as its own
COLOCATE_SLEEP = pytest.param("colocate-sleep", marks=pytest.mark.gpus(1, min_memory_gb=1, alone=True))

on_every_way = pytest.mark.parametrize(
    "way",
    [
        "rpc",
        # the oldest version with which it was tried
        pytest.param("weight-transfer", marks=pytest.mark.vllm_version(">=0.32")),
        "colocate",
        COLOCATE_SLEEP,
    ],
)


def sizes_for(run_flow: Any, way: str) -> dict[str, int]:
    """Take two GPUs where there are no more.

    NCCL takes one rank for each GPU, so on GPUs the trainer has one of its own. On a CPU it needs none, and the engine
    has all stand-in GPUs: weights that are sharded over two ranks are the harder case.
    """
    if way == "colocate-sleep":
        return {"engines": 1}  # of two, each would sleep by itself, and two GPUs would be kept from others
    if way == "colocate":
        return {"engines": run_flow.up_to(2)}
    if run_flow.gpus >= 3:
        return {"tensor_parallel_size": 2, "trainer_gpus": 1}
    if run_flow.device == "cuda":
        return {"tensor_parallel_size": 1, "trainer_gpus": 1}
    return {"tensor_parallel_size": run_flow.up_to(2)}


@pytest.fixture
def sizes(run_flow: Any, way: str) -> dict[str, int]:
    """How large everything is."""
    return sizes_for(run_flow, way)


@pytest.fixture
def trained(run_flow: Any, way: str, sizes: dict[str, int]) -> Any:
    """What makes the flow run in the test itself."""
    sleep = {"sleep": True} if way.endswith("-sleep") else {}
    return lambda: run_flow("rlhf", executor="ray-v2", way=way.removesuffix("-sleep"), **sleep, **sizes)


def tokens_of(answers: list[dict[str, Any]]) -> list[list[int]]:
    """Return the tokens of each answer."""
    return [one["token_ids"] for one in answers]


class TestRlhf:
    """One trainer and its engines for each way serve every test."""

    @on_every_way
    def test_same_tokens_as_a_fresh_engine(self, trained: Any) -> None:
        """After each round every engine answers as one that loaded the trainer's weights from disk, token for token."""
        outputs = trained().outputs
        assert len(outputs["rounds"]) == len(outputs["fresh"]) == 3
        for one, fresh in zip(outputs["rounds"], outputs["fresh"], strict=True):
            for answers in one["engines"]:
                assert_same_tokens(answers, fresh)

    @on_every_way
    def test_same_logprobs_as_a_fresh_engine(self, trained: Any) -> None:
        """And with the same log-probabilities, within the tolerance."""
        result = trained()
        for one, fresh in zip(result.outputs["rounds"], result.outputs["fresh"], strict=True):
            for answers in one["engines"]:
                for ours, theirs in zip(answers, fresh, strict=True):
                    assert len(ours["logprobs"]) == len(ours["token_ids"])
                    for step, expected in zip(ours["logprobs"], theirs["logprobs"], strict=True):
                        assert step == pytest.approx(expected, abs=LOGPROB_TOLERANCE[result.device])

    @on_every_way
    def test_every_round_changes_the_answers(self, trained: Any) -> None:
        """The comparison means something: new weights give other tokens than those of the round before."""
        outputs = trained().outputs
        history = [outputs["before"], *(one["engines"] for one in outputs["rounds"])]
        for earlier, later in pairwise(history):
            for old, new in zip(earlier, later, strict=True):
                assert tokens_of(old) != tokens_of(new)

    @on_every_way
    def test_the_trainer_learns(self, trained: Any) -> None:
        """The steps are real: within each round the loss of every trainer falls."""
        for one in trained().outputs["rounds"]:
            for losses in one["losses"]:
                assert losses[-1] < losses[0]

    @on_every_way
    def test_runs_on_ray(self, trained: Any, sizes: dict[str, int]) -> None:
        """Trainers and ranks are live Ray actors on the cluster's nodes, and let go of their GPUs."""
        evidence = trained().evidence
        actors = {actor["actor_id"]: actor for actor in evidence["actors"]}
        everybody = [*evidence["workers"], *evidence["trainers"]]
        ranks = sizes.get("engines", 1) * sizes.get("tensor_parallel_size", 1)
        assert [worker["rank"] for worker in evidence["workers"]] == list(range(ranks))
        assert len({one["actor_id"] for one in everybody}) == len(everybody)
        assert all(actors[one["actor_id"]]["pid"] == one["pid"] for one in everybody)
        assert {one["node_id"] for one in everybody} <= set(evidence["nodes"])
        assert evidence["free_gpus_before"] - evidence["free_gpus_during"] >= ranks + sizes.get("trainer_gpus", 0)
        assert evidence["released_after_s"] < 30

    @on_every_way
    def test_who_shares_a_gpu(self, trained: Any, way: str) -> None:
        """With colocation each trainer is on the GPU of its engine; otherwise on none that an engine's rank has."""
        evidence = trained().evidence
        engines = [(worker["node_id"], gpu) for worker in evidence["workers"] for gpu in worker["gpu_ids"]]
        trainers = [(one["node_id"], gpu) for one in evidence["trainers"] for gpu in one["gpu_ids"]]
        assert len(set(engines)) == len(engines) == len(evidence["workers"])
        if way.startswith("colocate"):
            assert trainers == engines
        else:
            assert not set(trainers) & set(engines)

    @pytest.mark.parametrize("way", [COLOCATE_SLEEP])
    def test_engines_that_sleep_give_memory_back(self, trained: Any, sizes: dict[str, int]) -> None:
        """In every round, each rank's GPU has less in use once its engine sleeps: the trainer's is all that is left."""
        slept = [engine for one in trained().outputs["rounds"] for engine in one["slept"]]
        assert len(slept) == 3 * sizes["engines"]
        for engine in slept:
            for awake_gb, asleep_gb in zip(engine["awake_gb"], engine["asleep_gb"], strict=True):
                assert asleep_gb < awake_gb - 1


@pytest.mark.vllm_version("<0.11")
def test_the_v0_engine(run_flow: Any) -> None:
    """Old vLLM's engine, with a rank in the engine's own actor, takes weights too: its answers are a fresh engine's."""
    outputs = run_flow("rlhf", executor="ray-v0", way="rpc", **sizes_for(run_flow, "rpc")).outputs
    assert len(outputs["rounds"]) == len(outputs["fresh"]) == 3
    for one, fresh in zip(outputs["rounds"], outputs["fresh"], strict=True):
        assert [tokens_of(answers) for answers in one["engines"]] == [tokens_of(fresh)]
        assert tokens_of(fresh) != tokens_of(outputs["before"][0])


@pytest.mark.ray_version("<2.43")
def test_the_compiled_graph_executor(run_flow: Any) -> None:
    """It refuses such an old Ray in an actor too: the gap ``cgraph-version-guard-elsewhere``."""
    run_flow("rlhf", executor="ray-v1", trainer_gpus=1 if run_flow.device == "cuda" else 0)
