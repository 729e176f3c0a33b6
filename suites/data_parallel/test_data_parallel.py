"""``data_parallel_size=2`` with ``data_parallel_backend="ray"``, offline and behind the server."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture(params=["data_parallel", "serve"], ids=["offline", "served"])
def ran(request: pytest.FixtureRequest, run_flow: Any) -> Any:
    """What makes the flow run in the test itself."""
    return lambda: run_flow(request.param, executor="ray-v2", data_parallel_size=2)


def test_each_engine_is_an_actor_with_a_worker_and_a_gpu(ran: Any) -> None:
    """Ray lists two engines, and for each a worker that holds a GPU."""
    evidence = ran().evidence
    classes = [actor["class_name"] for actor in evidence["actors"]]
    assert classes.count("EngineCoreActor") == 2
    assert classes.count("RayWorkerProc") == 2
    assert evidence["free_gpus_before"] - evidence["free_gpus_during"] >= 2


def test_same_texts_as_without_ray(ran: Any, run_flow: Any) -> None:
    """Whichever engine answers, the answer is that of one engine without Ray."""
    control = run_flow.control("generate", tensor_parallel_size=1).outputs["completions"]
    assert [one["text"] for one in ran().outputs["completions"]] == [one["text"] for one in control]


def test_lets_go_of_everything(ran: Any) -> None:
    """Ray has actors and GPUs back soon after."""
    assert ran().evidence["released_after_s"] < 30


@pytest.mark.ray_version("<2.43")
def test_the_compiled_graph_executor(run_flow: Any) -> None:
    """It refuses such an old Ray, and the client waits for it: the gap ``cgraph-version-guard-data-parallel``."""
    run_flow("data_parallel", executor="ray-v1")
