"""The generate flow as a Ray Job: submitted, followed, and stopped through the jobs API of the dashboard."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_raycompat.flows.parity import assert_same_tokens


@pytest.fixture
def submitted(run_flow: Any) -> Any:
    """What makes the flow run in the test itself."""
    sizes = {"executor": "ray-v2", "tensor_parallel_size": run_flow.up_to(2)}
    return lambda: run_flow("jobs", **sizes)


def test_status(submitted: Any) -> None:
    """The job ran, and succeeded; it keeps what it was submitted with."""
    outputs = submitted().outputs
    assert outputs["statuses"] == ["RUNNING"]
    assert outputs["job"]["status"] == "SUCCEEDED"
    assert outputs["job"]["metadata"]["flow"] == "generate"


def test_result_is_in_the_log(submitted: Any, run_flow: Any) -> None:
    """What the job printed can be fetched, and is what the same model gives without Ray."""
    outputs = submitted().outputs
    control = run_flow.control("generate", tensor_parallel_size=1).outputs["completions"]
    assert outputs["log_has_the_result"] is True
    assert_same_tokens(outputs["completions"], control)


def test_variables_of_the_runtime_environment_reach_every_rank(submitted: Any) -> None:
    """A variable of the job's runtime environment is set in its driver and in the workers of the engine."""
    result = submitted()
    evidence, size = result.evidence, result.parameters["tensor_parallel_size"]
    assert evidence["variables"]["RAYCOMPAT_JOB_VARIABLE"] == "set by the job"
    told = [worker["variables"]["RAYCOMPAT_JOB_VARIABLE"] for worker in evidence["workers"]]
    assert told == ["set by the job"] * size


def test_workers_belong_to_the_job(submitted: Any) -> None:
    """Ray lists the engine's workers as actors of the job that was submitted."""
    evidence = submitted().evidence
    assert len(evidence["submitted_jobs"]) == 1
    actors = {actor["actor_id"]: actor["job_id"] for actor in evidence["actors"]}
    assert {actors[worker["actor_id"]] for worker in evidence["workers"]} == set(evidence["submitted_jobs"])


def test_a_running_job_can_be_stopped(submitted: Any) -> None:
    """A job that sleeps is stopped within the limit, and can be deleted then."""
    outputs = submitted().outputs
    assert outputs["stopped"]["asked"] is True
    assert outputs["stopped"]["status"] == "STOPPED"
    assert outputs["stopped"]["seconds"] < 30
    assert outputs["deleted"] is True


@pytest.mark.vllm_version("<0.11")
def test_the_v0_engine(run_flow: Any) -> None:
    """The way of old vLLM to tensor-parallel generate in a job: one rank is in the job's driver."""
    outputs = run_flow("jobs", executor="ray-v0", tensor_parallel_size=2).outputs
    control = run_flow.control("generate", tensor_parallel_size=1).outputs["completions"]
    assert outputs["job"]["status"] == "SUCCEEDED"
    assert_same_tokens(outputs["completions"], control)


@pytest.mark.ray_version("<2.43")
def test_the_compiled_graph_executor(run_flow: Any) -> None:
    """It refuses such an old Ray in a job too: the gap ``cgraph-version-guard-elsewhere``."""
    run_flow("jobs", executor="ray-v1")
