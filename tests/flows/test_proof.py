from __future__ import annotations

import copy
from typing import Any

import pytest

from pytest_raycompat.flows.proof import gpus, missing_proof, ranks, runs_on_ray

TWO_RANKS = {"executor": "ray-v2", "tensor_parallel_size": 2}


def actor(name: str, node: str = "node-a", class_name: str = "RayWorkerProc") -> dict[str, Any]:
    return {"actor_id": name, "class_name": class_name, "node_id": node}


EVIDENCE: dict[str, Any] = {
    "executor_class": "vllm.v1.executor.ray_executor_v2.RayExecutorV2",
    "workers": [{"rank": 0, "pid": 11, "actor_id": "first"}, {"rank": 1, "pid": 12, "actor_id": "second"}],
    "actors": [actor("first"), actor("second", "node-b"), actor("another", class_name="Observer")],
    "nodes": ["node-a", "node-b"],
    "gpus_in_cluster": 4,
    "free_gpus_before": 4,
    "free_gpus_during": 2,
}


def missing(changes: dict[str, Any] | None = None, parameters: dict[str, Any] = TWO_RANKS) -> tuple[str, ...]:
    return missing_proof(parameters, EVIDENCE | (changes or {}))


def test_what_proves_that_a_flow_ran_on_ray() -> None:
    assert missing() == ()


def test_what_proves_it_for_the_older_executor() -> None:
    changes = {
        "executor_class": "vllm.v1.executor.ray_distributed_executor.RayDistributedExecutor",
        "actors": [actor(name, class_name="RayWorkerWrapper") for name in ("first", "second")],
    }
    assert missing(changes, {"executor": "ray-v1", "tensor_parallel_size": 2}) == ()


V0_EVIDENCE: dict[str, Any] = {
    "executor_class": "vllm.executor.ray_distributed_executor.RayDistributedExecutor",
    "workers": [{"rank": 0, "pid": 10, "actor_id": None}, {"rank": 1, "pid": 12, "actor_id": "second"}],
    "actors": [
        {**actor("idle", class_name="RayWorkerWrapper"), "driver_pid": 10},
        {**actor("second", class_name="RayWorkerWrapper"), "driver_pid": 10},
    ],
}


def test_a_rank_in_the_driver_has_an_actor_that_holds_its_gpu() -> None:
    assert missing(V0_EVIDENCE, {"executor": "ray-v0", "tensor_parallel_size": 2}) == ()


def test_a_rank_in_an_actor_of_another_class_has_one_of_the_same_job() -> None:
    engine = {**actor("engine", class_name="RolloutEngine"), "job_id": "01"}
    idle, second = ({**one, "driver_pid": 9, "job_id": "01"} for one in V0_EVIDENCE["actors"])
    workers = [{"rank": 0, "pid": 10, "actor_id": "engine"}, V0_EVIDENCE["workers"][1]]
    evidence = {**V0_EVIDENCE, "workers": workers, "actors": [engine, idle, second]}
    parameters = {"executor": "ray-v0", "tensor_parallel_size": 2}
    assert missing(evidence, parameters) == ()
    other = {**evidence, "actors": [engine, {**idle, "job_id": "02"}, second]}
    assert missing(other, parameters) == ("rank 0 (pid 10) is not a live actor of this engine in Ray",)
    v1 = {**evidence, "executor_class": "vllm.v1.executor.ray_distributed_executor.RayDistributedExecutor"}
    assert missing(v1, {**parameters, "executor": "ray-v1"}) == ("rank 0 is an actor of class RolloutEngine",)


def test_the_engine_of_the_other_generation_is_not_the_one_that_was_asked_for() -> None:
    v0 = str(V0_EVIDENCE["executor_class"])
    parameters = {"executor": "ray-v1", "tensor_parallel_size": 2}
    assert missing(V0_EVIDENCE, parameters) == (f"the executor is {v0}, which is not that of the V1 engine",)
    v1 = v0.replace("vllm.executor", "vllm.v1.executor")
    parameters["executor"] = "ray-v0"
    assert missing({**V0_EVIDENCE, "executor_class": v1}, parameters) == (
        f"the executor is {v1}, which is not that of the V0 engine",
    )


@pytest.mark.parametrize(
    "idle", [{}, {"driver_pid": 11}, {"class_name": "Observer"}], ids=["none", "of another driver", "of another class"]
)
def test_a_rank_in_the_driver_without_one(idle: dict[str, Any]) -> None:
    first, second = V0_EVIDENCE["actors"]
    actors = [{**first, **idle}, second] if idle else [second]
    why = ("rank 0 (pid 10) is not a live actor of this engine in Ray",)
    assert missing({**V0_EVIDENCE, "actors": actors}, {"executor": "ray-v0", "tensor_parallel_size": 2}) == why


def test_a_silent_fallback_to_another_executor_is_named() -> None:
    changes = {"executor_class": "vllm.v1.executor.multiproc_executor.MultiprocExecutor"}
    assert missing(changes) == ("the executor is MultiprocExecutor, not RayExecutorV2",)


def test_the_other_ray_executor_is_not_the_one_that_was_asked_for() -> None:
    changes = {"executor_class": "vllm.v1.executor.ray_distributed_executor.RayDistributedExecutor"}
    assert missing(changes) == ("the executor is RayDistributedExecutor, not RayExecutorV2",)


@pytest.mark.parametrize(
    ("workers", "found"), [([], "[]"), ([0], "[0]"), ([0, 1, 2], "[0, 1, 2]"), ([1, 2], "[1, 2]"), ([0, 0], "[0, 0]")]
)
def test_every_rank_must_answer(workers: list[int], found: str) -> None:
    names = [f"actor-{number}" for number in range(len(workers))]
    answers = [{"rank": rank, "pid": 11, "actor_id": name} for rank, name in zip(workers, names, strict=True)]
    assert missing({"workers": answers, "actors": list(map(actor, names))}) == (f"ranks {found} answered, not [0, 1]",)


def test_a_rank_must_not_answer_twice() -> None:
    workers = [*EVIDENCE["workers"], EVIDENCE["workers"][1]]
    assert missing({"workers": workers})[:1] == ("ranks [0, 1, 1] answered, not [0, 1]",)


def test_ranks_must_not_share_an_actor() -> None:
    workers = copy.deepcopy(EVIDENCE["workers"])
    workers[1]["actor_id"] = "first"
    assert missing({"workers": workers}) != ()


def test_a_rank_outside_ray_is_named() -> None:
    workers = copy.deepcopy(EVIDENCE["workers"])
    workers[1]["actor_id"] = None
    assert missing({"workers": workers}) == ("rank 1 (pid 12) is not a live actor of this engine in Ray",)


def test_an_actor_that_ray_does_not_list_is_named() -> None:
    assert missing({"actors": [actor("second")]}) == ("rank 0 (pid 11) is not a live actor of this engine in Ray",)


def test_an_actor_of_another_class_is_named() -> None:
    changes = {"actors": [actor("first", class_name="RayWorkerWrapper"), actor("second")]}
    assert missing(changes) == ("rank 0 is an actor of class RayWorkerWrapper",)


def test_an_actor_on_another_cluster_is_named() -> None:
    changes = {"actors": [actor("first"), actor("second", "node-z")]}
    assert missing(changes) == ("rank 1 is on node node-z, which is not one of the cluster's",)


@pytest.mark.parametrize(("free", "held"), [(3, "1"), (4, "0"), (2.5, "1.5")])
def test_gpus_that_ray_did_not_hold_are_named(free: float, held: str) -> None:
    assert missing({"free_gpus_during": free}) == (f"{held} GPUs were held in Ray, not 2",)


def test_gpus_that_somebody_else_holds_all_the_time_do_not_count() -> None:
    assert missing({"free_gpus_before": 2, "free_gpus_during": 0}) == ()
    assert missing({"free_gpus_before": 2, "free_gpus_during": 1}) == ("1 GPUs were held in Ray, not 2",)


def test_everything_is_missing_where_nothing_was_looked_at() -> None:
    assert missing_proof(TWO_RANKS, {}) == (
        "the executor is unknown, not RayExecutorV2",
        "ranks [] answered, not [0, 1]",
        "0 GPUs were held in Ray, not 2",
    )


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, 1),
        ({"tensor_parallel_size": 2}, 2),
        ({"pipeline_parallel_size": 2}, 2),
        ({"tensor_parallel_size": 2, "pipeline_parallel_size": 3}, 6),
    ],
)
def test_how_many_ranks_an_engine_has(parameters: dict[str, Any], expected: int) -> None:
    assert ranks(parameters) == expected


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"executor": "ray-v2"}, True),
        ({"executor": "ray-v1"}, True),
        ({"executor": "mp"}, False),
        ({"executor": "uni"}, False),
        ({}, False),
    ],
)
def test_which_flows_run_on_ray(parameters: dict[str, Any], expected: bool) -> None:
    assert runs_on_ray(parameters) is expected


@pytest.mark.parametrize(
    ("parameters", "of_engines", "of_flow"),
    [
        ({"tensor_parallel_size": 2}, 2, 2),
        ({"tensor_parallel_size": 2, "trainer_gpus": 1}, 2, 3),
        ({"engines": 2}, 2, 2),  # with shares of two whole GPUs, which a placement group holds
        ({"engines": 2, "tensor_parallel_size": 2, "pipeline_parallel_size": 2}, 8, 8),
    ],
)
def test_how_many_ranks_and_gpus_a_flow_takes(parameters: dict[str, int], of_engines: int, of_flow: int) -> None:
    assert (ranks(parameters), gpus(parameters)) == (of_engines, of_flow)


def test_the_trainers_gpu_must_be_held_too() -> None:
    assert missing({"free_gpus_during": 1}, TWO_RANKS | {"trainer_gpus": 1}) == ()
    assert missing({}, TWO_RANKS | {"trainer_gpus": 1}) == ("2 GPUs were held in Ray, not 3",)


def test_ranks_are_counted_through_the_engines() -> None:
    assert missing({}, {"executor": "ray-v2", "engines": 2}) == ()
    assert missing({}, TWO_RANKS | {"engines": 2})[0] == "ranks [0, 1] answered, not [0, 1, 2, 3]"
