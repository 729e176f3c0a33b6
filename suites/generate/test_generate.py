"""Tensor-parallel generate on Ray: the same tokens as without Ray, and proof that Ray ran it."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_raycompat.flows.parity import (
    LOGPROB_TOLERANCE,
    assert_same_answers,
    assert_same_texts,
    assert_same_tokens,
    common_start,
    largest_difference,
)

CONTROL_SIZE = 1
"""One control for every size: in float32 the tokens do not depend on it. A flow that fails gets its own."""

on_every_engine = pytest.mark.parametrize(
    ("executor", "tensor_parallel_size"),
    [
        ("ray-v2", 1),
        ("ray-v2", 2),
        ("ray-v1", 2),
        pytest.param("ray-v0", 2, marks=pytest.mark.vllm_version("<0.11")),
        pytest.param("ray-v2", 4, marks=pytest.mark.gpus(4)),
        pytest.param("ray-v1", 4, marks=pytest.mark.gpus(4)),
    ],
)


on_real_gpus = pytest.mark.parametrize(
    ("executor", "tensor_parallel_size"),
    [
        pytest.param(executor, size, marks=pytest.mark.gpus(size, min_memory_gb=1))
        for executor in ("ray-v2", "ray-v1")
        for size in (1, 2)
    ],
)


@pytest.fixture
def generated(run_flow: Any, executor: str, tensor_parallel_size: int) -> Any:
    """What makes the flow run in the test itself: a function, so that its end is the test's own."""
    sizes = {"executor": executor, "tensor_parallel_size": tensor_parallel_size}
    return lambda: run_flow.with_control("generate", tensor_parallel_size=CONTROL_SIZE)("generate", **sizes)


@on_every_engine
class TestGenerate:
    """One engine for each executor and size serves every test."""

    def test_runs_on_ray(self, generated: Any, executor: str, tensor_parallel_size: int) -> None:
        """Each rank is a live Ray actor with a GPU of its own on a node of the cluster, and lets go of it."""
        evidence = generated().evidence
        workers, actors = evidence["workers"], {actor["actor_id"]: actor for actor in evidence["actors"]}
        assert [worker["rank"] for worker in workers] == list(range(tensor_parallel_size))
        assert len({worker["actor_id"] for worker in workers}) == tensor_parallel_size
        assert {worker["node_id"] for worker in workers} <= set(evidence["nodes"])
        if executor == "ray-v0":  # one rank is in the driver; an idle actor has its GPU
            workers = [worker for worker in workers if worker["actor_id"] is not None]
        assert all(actors[worker["actor_id"]]["pid"] == worker["pid"] for worker in workers)
        held = [(worker["node_id"], gpu) for worker in workers for gpu in worker["gpu_ids"]]
        assert len(set(held)) == len(held) == len(workers) >= tensor_parallel_size - 1
        assert evidence["free_gpus_before"] - evidence["free_gpus_during"] >= tensor_parallel_size
        assert evidence["released_after_s"] < 30

    def test_same_tokens_as_without_ray(self, generated: Any, run_flow: Any) -> None:
        """Greedy decoding in float32 gives the control's tokens, token for token."""
        on_ray = generated().outputs["completions"]
        control = run_flow.control("generate", tensor_parallel_size=CONTROL_SIZE).outputs["completions"]
        assert_same_tokens(on_ray, control)
        assert_same_texts(on_ray, control)

    def test_same_logprobs_as_without_ray(self, generated: Any, run_flow: Any) -> None:
        """The log-probabilities of the candidates of each step are the control's, within the tolerance."""
        result = generated()
        assert all(len(one["logprobs"]) == len(one["token_ids"]) > 0 for one in result.outputs["completions"])
        assert_same_answers(result, run_flow.control("generate", tensor_parallel_size=CONTROL_SIZE))

    def test_prompts_give_different_answers(self, generated: Any) -> None:
        """The comparison means something: the model does not answer everything alike."""
        texts = [one["text"] for one in generated().outputs["completions"]]
        assert len(set(texts)) == len(texts)

    def test_quickstart(self, generated: Any) -> None:
        """The offline example of vLLM's quickstart: four prompts, each answered."""
        outputs = generated().outputs["quickstart"]
        assert [one["prompt"] for one in outputs][:1] == ["Hello, my name is"]
        assert len(outputs) == 4
        assert all(one["text"] for one in outputs)


@pytest.mark.gpus(4)
class TestPipelineParallel:
    """tensor_parallel_size=2 and pipeline_parallel_size=2 on one node."""

    @pytest.fixture
    def generated(self, run_flow: Any) -> Any:
        """What makes the flow run in the test itself."""
        sizes = {"tensor_parallel_size": 2, "pipeline_parallel_size": 2}
        control = {"tensor_parallel_size": CONTROL_SIZE}
        return lambda: run_flow.with_control("generate", **control)("generate", executor="ray-v2", **sizes)

    def test_runs_on_ray(self, generated: Any) -> None:
        """Four ranks, each with a GPU of its own."""
        evidence = generated().evidence
        assert [worker["rank"] for worker in evidence["workers"]] == [0, 1, 2, 3]
        assert len({gpu for worker in evidence["workers"] for gpu in worker["gpu_ids"]}) == 4
        assert evidence["released_after_s"] < 30

    def test_same_tokens_as_without_ray(self, generated: Any, run_flow: Any) -> None:
        """The answers do not depend on how the model is cut."""
        assert_same_answers(generated(), run_flow.control("generate", tensor_parallel_size=CONTROL_SIZE))


@on_real_gpus
class TestGraphs:
    """Compiled, and with CUDA graphs: what a user gets who asks for nothing. The tests above run eagerly."""

    @pytest.fixture
    def compiled(self, run_flow: Any, executor: str, tensor_parallel_size: int) -> Any:
        """What makes the flow run in the test itself."""
        sizes = {"executor": executor, "tensor_parallel_size": tensor_parallel_size}
        control = {"graphs": True, "tensor_parallel_size": tensor_parallel_size}
        return lambda: run_flow.with_control("generate", **control)("generate", graphs=True, **sizes)

    def test_same_tokens_as_without_ray(self, compiled: Any, run_flow: Any, tensor_parallel_size: int) -> None:
        """The tokens are those of an engine without Ray that is compiled in the same way."""
        result = compiled()
        control = run_flow.control("generate", graphs=True, tensor_parallel_size=tensor_parallel_size)
        assert_same_answers(result, control)

    def test_same_logprobs_as_eagerly(self, compiled: Any, run_flow: Any) -> None:
        """As long as the tokens agree, so do the log-probabilities with those of an eager engine."""
        on_ray = compiled().outputs["completions"]
        eager = run_flow.control("generate", tensor_parallel_size=CONTROL_SIZE).outputs["completions"]
        pairs = [common_start(ours, theirs) for ours, theirs in zip(on_ray, eager, strict=True)]
        assert all(len(ours["logprobs"]) > 0 for ours, _ in pairs)
        assert largest_difference(*zip(*pairs, strict=True)) < LOGPROB_TOLERANCE["cuda"]
