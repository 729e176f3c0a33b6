"""Tensor-parallel generate on Ray: the same tokens as without Ray, and proof that Ray ran it."""

from __future__ import annotations

from typing import Any

import pytest

LOGPROB_TOLERANCE = 1e-3
"""Absolute, in float32: sums are taken in another order with another number of ranks."""

CONTROL_SIZE = 1
"""One control for every size: in float32 the tokens do not depend on it. A flow that fails gets its own."""

on_every_engine = pytest.mark.parametrize(
    ("executor", "tensor_parallel_size"),
    [
        ("ray-v2", 1),
        ("ray-v2", 2),
        ("ray-v1", 2),
        pytest.param("ray-v2", 4, marks=pytest.mark.gpus(4)),
        pytest.param("ray-v1", 4, marks=pytest.mark.gpus(4)),
    ],
)


@pytest.fixture
def generated(run_flow: Any, executor: str, tensor_parallel_size: int) -> Any:
    """What makes the flow run in the test itself: a function, so that its end is the test's own."""
    return lambda: run_flow("generate", executor=executor, tensor_parallel_size=tensor_parallel_size)


@on_every_engine
class TestGenerate:
    """One engine for each executor and size serves every test."""

    def test_runs_on_ray(self, generated: Any, tensor_parallel_size: int) -> None:
        """Each rank is a live Ray actor with a GPU of its own on a node of the cluster, and lets go of it."""
        evidence = generated().evidence
        workers, actors = evidence["workers"], {actor["actor_id"]: actor for actor in evidence["actors"]}
        assert [worker["rank"] for worker in workers] == list(range(tensor_parallel_size))
        assert len({worker["actor_id"] for worker in workers}) == tensor_parallel_size
        assert {worker["node_id"] for worker in workers} <= set(evidence["nodes"])
        assert all(actors[worker["actor_id"]]["pid"] == worker["pid"] for worker in workers)
        held = [(worker["node_id"], gpu) for worker in workers for gpu in worker["gpu_ids"]]
        assert len(set(held)) == len(held) == tensor_parallel_size
        assert evidence["free_gpus_before"] - evidence["free_gpus_during"] >= tensor_parallel_size
        assert evidence["released_after_s"] < 30

    def test_same_tokens_as_without_ray(self, generated: Any, run_flow: Any) -> None:
        """Greedy decoding in float32 gives the control's tokens, token for token."""
        on_ray = generated().outputs["completions"]
        control = run_flow.control("generate", tensor_parallel_size=CONTROL_SIZE).outputs["completions"]
        assert [one["token_ids"] for one in on_ray] == [one["token_ids"] for one in control]
        assert [one["text"] for one in on_ray] == [one["text"] for one in control]

    def test_same_logprobs_as_without_ray(self, generated: Any, run_flow: Any) -> None:
        """The log-probabilities of the candidates of each step are the control's, within the tolerance."""
        on_ray = generated().outputs["completions"]
        control = run_flow.control("generate", tensor_parallel_size=CONTROL_SIZE).outputs["completions"]
        for ours, theirs in zip(on_ray, control, strict=True):
            assert len(ours["logprobs"]) == len(theirs["logprobs"]) == len(ours["token_ids"])
            for step, expected in zip(ours["logprobs"], theirs["logprobs"], strict=True):
                assert step == pytest.approx(expected, abs=LOGPROB_TOLERANCE)

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
