"""Starts the trainers and engines of the RLHF flow, on Ray or in this process, and ends them."""

from __future__ import annotations

import argparse
import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pytest_raycompat.flows import engine
from pytest_raycompat.flows.rlhf_engine import RolloutEngine
from pytest_raycompat.flows.rlhf_places import LocalPeer, Peer, RayGroups, together
from pytest_raycompat.flows.rlhf_trainer import Trainer

START_LIMIT_S = 480.0
"""How long engines and trainers may take to start."""
SHARE = 0.4
"""What a trainer and an engine's rank each hold of a GPU that they share; as in vLLM's example of colocation."""
EXTENSIONS = {
    "rpc": "pytest_raycompat.flows.rlhf_worker.TakesWeights",
    "weight-transfer": "pytest_raycompat.flows.rlhf_gloo.GlooWorker",
    "colocate": "pytest_raycompat.flows.rlhf_worker.TakesWeights",
}


@dataclass(frozen=True)
class Setup:
    """Trainers and engines that are up."""

    trainers: tuple[Peer, ...]
    """One, or with colocation on Ray one for each engine; the first speaks for all."""
    engines: tuple[Peer, ...]
    ranks: int
    """Of each engine."""
    end: Callable[[], None]

    def on_engines(self, method: str, *arguments: Any) -> list[Any]:
        """Call ``method`` of every engine at the same time."""
        return together([one.call(method, *arguments) for one in self.engines])

    def on_trainers(self, method: str, *arguments: Any) -> list[Any]:
        """Call ``method`` of every trainer at the same time."""
        return together([one.call(method, *arguments) for one in self.trainers])


def settings_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the keyword arguments of ``vllm.LLM`` for an engine that takes weights."""
    settings = engine.engine_arguments(arguments)
    if arguments.way == "weight-transfer":
        settings["weight_transfer_config"] = {"backend": "gloo" if arguments.device == "cpu" else "nccl"}
    if arguments.way != "weight-transfer" or arguments.device == "cpu":  # on GPUs vLLM has all that it needs
        settings["worker_extension_cls"] = EXTENSIONS[arguments.way]
    if arguments.way == "colocate":
        settings |= engine.memory_arguments(SHARE)
    if arguments.sleep:
        settings["enable_sleep_mode"] = True
    return settings


def set_up(arguments: argparse.Namespace) -> Setup:
    """Start everybody, and return once all are up."""
    ready = set_up_on_ray(arguments) if arguments.executor.startswith("ray") else set_up_here(arguments)
    _ = importlib.import_module("vllm").LLM  # loads all of it, for the fresh engines, while the actors start
    together([one.call("ready") for one in (*ready.trainers, *ready.engines)], START_LIMIT_S)
    return ready


def set_up_on_ray(arguments: argparse.Namespace) -> Setup:
    """Start actors in placement groups: one group for each, or with colocation one for all."""
    import ray

    ray.init(address=os.environ["RAY_ADDRESS"], log_to_driver=True)
    groups = RayGroups()
    carried = {**engine.variables_for_actors(), "RAY_ADDRESS": os.environ["RAY_ADDRESS"]}
    ranks = arguments.tensor_parallel_size * arguments.pipeline_parallel_size
    bundles = [{"GPU": 1.0, "CPU": 0.0}] * (ranks * arguments.engines)
    home = groups.reserve(bundles)
    settings = settings_of(arguments)
    if arguments.way == "colocate":
        count, gpus, school, extra = arguments.engines, SHARE, home, {"VLLM_RAY_PER_WORKER_GPUS": str(SHARE)}
    else:
        count, gpus, extra = 1, float(arguments.trainer_gpus), {}
        school = groups.reserve([{"CPU": 1.0, "GPU": gpus} if gpus else {"CPU": 1.0}])
    alike = {"model": arguments.model, "device": arguments.device}
    trainers = [
        groups.start(f"trainer {index}", Trainer, alike, school, index, gpus=gpus, variables=carried)
        for index in range(count)
    ]
    engines = []
    for index in range(arguments.engines):
        bundle = {"VLLM_RAY_BUNDLE_INDICES": str(index)} if arguments.way == "colocate" else {}
        variables = {**carried, **extra, **bundle}
        start = (f"engine {index}", RolloutEngine, {"settings": settings}, home, index)
        engines.append(groups.start(*start, variables=variables))

    def end() -> None:
        together([one.call("end") for one in engines])
        groups.close()
        ray.shutdown()

    return Setup(tuple(trainers), tuple(engines), ranks, end)


def set_up_here(arguments: argparse.Namespace) -> Setup:
    """Make the same in this process, for the control: one trainer, and vLLM's ``uni`` or ``mp`` executor."""
    engines = [
        LocalPeer(f"engine {index}", RolloutEngine(settings_of(arguments))) for index in range(arguments.engines)
    ]
    ranks = arguments.tensor_parallel_size * arguments.pipeline_parallel_size
    device = f"cuda:{ranks}" if arguments.trainer_gpus and arguments.device == "cuda" else arguments.device
    trainer = LocalPeer("trainer", Trainer(arguments.model, device))

    def end() -> None:
        together([one.call("end") for one in engines])

    return Setup((trainer,), tuple(engines), ranks, end)
