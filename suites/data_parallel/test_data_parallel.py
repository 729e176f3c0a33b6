"""``data_parallel_size=2`` with ``data_parallel_backend="ray"``, offline and served; with four GPUs two ranks each."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_raycompat.flows.parity import assert_same_texts

FLOWS = {"offline": "data_parallel", "served": "serve"}
TWO_RANKS = {"tensor_parallel_size": 2}


@pytest.fixture(
    params=[
        *(pytest.param((flow, {}), id=name) for name, flow in FLOWS.items()),
        *(pytest.param((flow, TWO_RANKS), id=f"{name}-2x2", marks=pytest.mark.gpus(4)) for name, flow in FLOWS.items()),
    ]
)
def ran(request: pytest.FixtureRequest, run_flow: Any) -> Any:
    """What makes the flow run in the test itself."""
    flow, sizes = request.param
    sizes = {"data_parallel_size": 2, **sizes}
    return lambda: run_flow.with_control("generate", tensor_parallel_size=1)(flow, executor="ray-v2", **sizes)


def test_each_engine_is_an_actor_with_a_worker_and_a_gpu(ran: Any) -> None:
    """Ray lists two engines, and for each rank of theirs a worker that holds a GPU."""
    result = ran()
    evidence, ranks = result.evidence, 2 * result.parameters.get("tensor_parallel_size", 1)
    classes = [actor["class_name"] for actor in evidence["actors"]]
    assert classes.count("EngineCoreActor") == 2
    assert classes.count("RayWorkerProc") == ranks
    assert evidence["free_gpus_before"] - evidence["free_gpus_during"] >= ranks


def test_same_texts_as_without_ray(ran: Any, run_flow: Any) -> None:
    """Whichever engine answers, the answer is that of one engine without Ray."""
    control = run_flow.control("generate", tensor_parallel_size=1).outputs["completions"]
    assert_same_texts(ran().outputs["completions"], control)


def test_lets_go_of_everything(ran: Any) -> None:
    """Ray has actors and GPUs back soon after."""
    assert ran().evidence["released_after_s"] < 30


@pytest.mark.ray_version("<2.43")
def test_the_compiled_graph_executor(run_flow: Any) -> None:
    """It refuses such an old Ray, and the client waits for it: the gap ``cgraph-version-guard-data-parallel``."""
    run_flow("data_parallel", executor="ray-v1")
