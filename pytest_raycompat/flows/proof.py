"""Whether a flow that says ``ok`` really ran on Ray: a silent fallback to another executor is a failure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

EXECUTOR_CLASSES: Mapping[str, tuple[str, ...]] = {
    "ray-v2": ("RayExecutorV2",),
    "ray-v1": ("RayDistributedExecutor",),
    "ray-v0": ("RayDistributedExecutor",),
    "ray": ("RayExecutorV2", "RayDistributedExecutor"),
}
"""Names of vLLM's executor classes; ``ray`` is whichever of them that vLLM takes."""
V0_MODULES = "vllm.executor."
"""Where the V0 engine (vLLM up to 0.10) has its executors; a class of the same name is in ``vllm.v1.executor``."""
WORKER_CLASSES: Mapping[str, tuple[str, ...]] = {
    "ray-v2": ("RayWorkerProc",),
    "ray-v1": ("RayWorkerWrapper",),
    "ray-v0": ("RayWorkerWrapper",),
    "ray": ("RayWorkerProc", "RayWorkerWrapper"),
}
"""Names of vLLM's actor classes; a flow without an engine has actors of its own."""


SIZES = ("engines", "tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "concurrency")
"""Parameters of flows that multiply the workers that they start."""


def ranks(parameters: Mapping[str, Any]) -> int:
    """How many workers the engines with these parameters have."""
    return math.prod(int(parameters.get(name, 1)) for name in SIZES)


def gpus(parameters: Mapping[str, Any]) -> int:
    """How many GPUs a flow with these parameters takes: one for each worker, and what its trainer has alone.

    Workers that take a share of a GPU do so in a placement group that holds whole ones.
    """
    return ranks(parameters) + int(parameters.get("trainer_gpus", 0))


def runs_on_ray(parameters: Mapping[str, Any]) -> bool:
    """Whether an engine with these parameters is to run on Ray."""
    return str(parameters.get("executor", "")).startswith("ray")


def missing_proof(parameters: Mapping[str, Any], evidence: Mapping[str, Any]) -> tuple[str, ...]:
    """Say what is missing from ``evidence`` to prove that the engine's ranks were live actors on the cluster.

    Args:
        parameters: of the flow.
        evidence: ``executor_class`` and ``workers`` as the engine tells them, ``actors`` as Ray tells them while the
            engine was up, ``nodes`` of the cluster, ``free_gpus_before`` and ``free_gpus_during``.
    """
    executor = str(parameters.get("executor", ""))
    missing = []
    qualified = str(evidence.get("executor_class", ""))
    name = qualified.rsplit(".", 1)[-1]
    if executor in EXECUTOR_CLASSES and name not in EXECUTOR_CLASSES[executor]:
        missing.append(f"the executor is {name or 'unknown'}, not {EXECUTOR_CLASSES[executor][0]}")
    elif executor in ("ray-v0", "ray-v1") and qualified.startswith(V0_MODULES) != (executor == "ray-v0"):
        missing.append(f"the executor is {qualified}, which is not that of the {executor[-2:].upper()} engine")
    workers = evidence.get("workers", [])
    wanted = list(range(ranks(parameters)))
    answered = sorted(worker["rank"] for worker in workers)
    if answered != wanted:
        missing.append(f"ranks {answered} answered, not {wanted}")
    named = [worker["actor_id"] for worker in workers if worker["actor_id"] is not None]
    if len(set(named)) < len(named):
        missing.append("ranks share an actor")
    actors = {actor["actor_id"]: actor for actor in evidence.get("actors", [])}
    for worker in workers:
        actor = around = actors.get(worker["actor_id"])
        elsewhere = around is not None and executor == "ray-v0" and around["class_name"] not in WORKER_CLASSES[executor]
        if worker["actor_id"] is None or elsewhere:
            actor = place_holder(worker["pid"], around, workers, evidence)
        if actor is None:
            missing.append(f"rank {worker['rank']} (pid {worker['pid']}) is not a live actor of this engine in Ray")
        elif executor in WORKER_CLASSES and actor["class_name"] not in WORKER_CLASSES[executor]:
            missing.append(f"rank {worker['rank']} is an actor of class {actor['class_name']}")
        elif actor["node_id"] not in evidence.get("nodes", ()):
            missing.append(f"rank {worker['rank']} is on node {actor['node_id']}, which is not one of the cluster's")
    return (*missing, *missing_gpus(parameters, evidence))


def place_holder(
    pid: int,
    around: Mapping[str, Any] | None,
    workers: Sequence[Mapping[str, Any]],
    evidence: Mapping[str, Any],
) -> Mapping[str, Any] | None:
    """Find the actor that holds a GPU for a rank in the engine's own process; None where there is none.

    vLLM's V0 engine runs one rank there, and keeps an idle actor of the worker's class so that Ray counts its GPU
    (``driver_dummy_worker``, vllm/executor/ray_distributed_executor.py, 0.10.0).

    Args:
        pid: of the engine's process.
        around: the actor whose process that is; None for a driver.
        workers: what every rank says of itself.
        evidence: as for :func:`missing_proof`.
    """
    taken = {other["actor_id"] for other in workers}
    idle: list[Mapping[str, Any]] = [
        actor
        for actor in evidence.get("actors", [])
        if actor["class_name"] in WORKER_CLASSES["ray"] and actor["actor_id"] not in taken
    ]
    if around is not None:
        return next((actor for actor in idle if actor["job_id"] == around["job_id"]), None)
    return next((actor for actor in idle if actor.get("driver_pid") == pid), None)


def missing_actors(parameters: Mapping[str, Any], evidence: Mapping[str, Any]) -> tuple[str, ...]:
    """Say what is missing to prove that an engine which nobody can ask had a live actor for each rank.

    Args:
        parameters: of the flow.
        evidence: as for :func:`missing_proof`, without ``executor_class`` and ``workers``.
    """
    classes = WORKER_CLASSES[str(parameters["executor"])]
    found = [actor for actor in evidence.get("actors", []) if actor["class_name"] in classes]
    missing = []
    if len(found) != ranks(parameters):
        missing.append(f"{len(found)} actors of class {classes[0]} were alive in Ray, not {ranks(parameters)}")
    missing += [
        f"actor {actor['actor_id']} is on node {actor['node_id']}, which is not one of the cluster's"
        for actor in found
        if actor["node_id"] not in evidence.get("nodes", ())
    ]
    return (*missing, *missing_gpus(parameters, evidence))


def missing_gpus(parameters: Mapping[str, Any], evidence: Mapping[str, Any]) -> tuple[str, ...]:
    """Say whether fewer GPUs were held in Ray than the flow takes."""
    held = evidence.get("free_gpus_before", 0) - evidence.get("free_gpus_during", 0)
    return () if held >= gpus(parameters) else (f"{held:g} GPUs were held in Ray, not {gpus(parameters)}",)
