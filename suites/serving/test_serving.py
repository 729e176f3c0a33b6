"""vLLM's OpenAI-compatible server on Ray, and the official client against it."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_raycompat.flows.parity import LOGPROB_TOLERANCE, assert_same_texts

on_every_server = pytest.mark.parametrize(
    ("executor", "entry_point"),
    [
        ("ray-v2", "api-server"),
        ("ray-v1", "api-server"),
        pytest.param("ray-v0", "api-server", marks=pytest.mark.vllm_version("<0.11")),
        ("ray-v2", "vllm-serve"),
    ],
)


@pytest.fixture
def served(run_flow: Any, executor: str, entry_point: str) -> Any:
    """What makes the flow run in the test itself."""
    how = {"executor": executor, "tensor_parallel_size": run_flow.up_to(2), "entry_point": entry_point}
    return lambda: run_flow.with_control("generate", tensor_parallel_size=1)("serve", **how)


@on_every_server
class TestServing:
    """One server for each executor, and one started as ``vllm serve``, serves every test."""

    def test_models(self, served: Any) -> None:
        """The model is listed by the name it is served under."""
        assert served().outputs["models"] == ["tiny"]

    def test_completions_are_those_of_the_offline_engine(self, served: Any, run_flow: Any) -> None:
        """Texts and log-probabilities are the ones that the same model gives offline, without Ray."""
        result = served()
        outputs = result.outputs
        offline = run_flow.control("generate", tensor_parallel_size=1).outputs
        assert outputs["prompts"] == offline["prompts"]
        assert_same_texts(outputs["completions"], offline["completions"])
        for online, expected in zip(outputs["completions"], offline["completions"], strict=True):
            chosen = [step[str(token)] for token, step in zip(expected["token_ids"], expected["logprobs"], strict=True)]
            assert online["logprobs"] == pytest.approx(chosen, abs=LOGPROB_TOLERANCE[result.device])

    def test_streams_join_to_the_whole(self, served: Any) -> None:
        """The pieces of a stream are several, and joined they are the answer."""
        outputs = served().outputs
        assert len(outputs["streamed"]) > 1
        assert "".join(outputs["streamed"]) == outputs["completions"][0]["text"]
        assert len(outputs["streamed_chat"]) > 1
        assert "".join(outputs["streamed_chat"]) == outputs["chat"] != ""

    def test_sixteen_at_once(self, served: Any) -> None:
        """Requests at the same time get the answers that they get one by one."""
        outputs = served().outputs
        texts = [one["text"] for one in outputs["completions"]]
        assert outputs["at_once"] == [texts[number % len(texts)] for number in range(16)]

    def test_bad_requests_are_refused_and_the_server_lives(self, served: Any) -> None:
        """What the client got wrong is its own error (4xx), and nobody else's."""
        outputs = served().outputs
        assert outputs["refused"].keys() == {"unknown model", "too long", "bad parameter", "malformed JSON"}
        assert {name: status for name, status in outputs["refused"].items() if not 400 <= status < 500} == {}
        assert outputs["healthy_afterwards"] is True

    def test_sigterm_ends_it_and_the_gpus_are_free_again(self, served: Any) -> None:
        """The server ends within a minute of SIGTERM, and Ray has its GPUs back."""
        result = served()
        evidence = result.evidence
        assert evidence["free_gpus_before"] - evidence["free_gpus_during"] >= result.parameters["tensor_parallel_size"]
        assert evidence["stopped"]["seconds"] < 60
        assert evidence["released_after_s"] < 30
