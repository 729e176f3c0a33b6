"""Ray Serve LLM (`ray.serve.llm`): a tensor-parallel model, the official client against it, a redeployment, the end."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_raycompat.flows.parity import LOGPROB_TOLERANCE, assert_same_texts


@pytest.fixture
def served(run_flow: Any) -> Any:
    """What makes the flow run in the test itself, with the default Ray executor of that vLLM."""
    size = run_flow.up_to(2)
    return lambda: run_flow("ray_serve", tensor_parallel_size=size)


class TestRayServe:
    """One application serves every test."""

    def test_every_deployment_is_healthy(self, served: Any) -> None:
        """The application has the engine's deployment, named after the model, and the one that takes requests."""
        deployments = served().outputs["deployments"]
        assert sorted(name.partition(":")[2] for name in deployments) == ["", "tiny"]
        assert set(deployments.values()) == {"HEALTHY"}

    def test_runs_on_ray(self, served: Any) -> None:
        """Each rank is a live worker of the engine on the cluster, beside Serve's own actors, and holds a GPU."""
        result = served()
        evidence, size = result.evidence, result.parameters["tensor_parallel_size"]
        found = {actor["actor_id"]: actor for actor in evidence["actors"]}
        assert len(evidence["engine_before"]) == size
        assert {name: found[name]["pid"] for name in evidence["engine_before"]} == evidence["engine_before"]
        assert "ServeController" in {actor["class_name"] for actor in evidence["actors"]}
        assert {actor["node_id"] for actor in evidence["actors"]} <= set(evidence["nodes"])
        assert evidence["free_gpus_before"] - evidence["free_gpus_during"] >= size

    def test_models(self, served: Any) -> None:
        """The model is listed by its ``model_id``."""
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

    def test_bad_requests_are_refused_and_the_application_lives(self, served: Any) -> None:
        """What the client got wrong is its own error (4xx), and nobody else's."""
        outputs = served().outputs
        assert outputs["refused"].keys() == {"unknown model", "too long", "bad parameter", "malformed JSON"}
        assert {name: status for name, status in outputs["refused"].items() if not 400 <= status < 500} == {}
        assert outputs["healthy_afterwards"] is True

    def test_a_client_notices_a_redeployment(self, served: Any) -> None:
        """With room for one request and a queue of one, Serve turns most of a burst away; before it took all."""
        redeployed = served().outputs["redeployed"]
        assert redeployed["burst_before"] == [200] * 16
        assert set(redeployed["burst_after"]) == {200, 503}
        assert redeployed["burst_after"].count(200) < 16

    def test_a_redeployment_keeps_the_engine(self, served: Any) -> None:
        """Serve changes the setting in place: the workers are the same processes, and answer the same."""
        result = served()
        assert result.evidence["engine_after"] == result.evidence["engine_before"] != {}
        assert result.outputs["redeployed"]["text"].startswith(result.outputs["completions"][0]["text"])

    def test_a_clean_shutdown(self, served: Any) -> None:
        """Within a minute of ``serve.shutdown`` none of Serve's actors is left, and Ray has the GPUs back."""
        evidence = served().evidence
        assert "ServeController" in evidence["serve_actors"]
        assert evidence["stopped"]["actors_left"] == []
        assert evidence["stopped"]["seconds"] < 60
        assert evidence["released_after_s"] < 30
