from __future__ import annotations

import enum
import socket
import types
from typing import Any

import pytest

from pytest_raycompat.flows import engine, ray_serve, serve_llm


@pytest.mark.parametrize(
    ("version", "config", "builder"),
    [
        ("2.43.0", "ray.serve.llm.configs", "ray.serve.llm.builders"),
        ("2.44.1", "ray.serve.llm", "ray.serve.llm"),
        ("2.60.0", "ray.serve.llm", "ray.serve.llm"),
        ("2.430.0", "ray.serve.llm", "ray.serve.llm"),
    ],
)
def test_names_by_version(version: str, config: str, builder: str) -> None:
    assert serve_llm.modules_of(version) == (config, builder)


@pytest.mark.parametrize(
    ("version", "path"),
    [("2.43.0", "ray.serve.llm.builders:build_openai_app"), ("2.60.0", "ray.serve.llm:build_openai_app")],
)
def test_what_serve_imports_by_version(version: str, path: str) -> None:
    assert serve_llm.import_path(version) == path


@pytest.mark.parametrize(("modules", "there"), [("json.tool", True), ("json.no_tool", False)])
def test_whether_there_is_a_serve_llm(modules: str, there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve_llm, "modules_of", lambda version: (modules, modules))
    assert serve_llm.is_there("2.60.0") is there


def test_the_proxy_listens_on_a_free_port_of_the_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.5:6379")
    options = serve_llm.http_options()
    assert options["host"] == "127.0.0.5"
    with socket.socket() as probe:
        probe.bind((options["host"], options["port"]))


def test_a_head_that_is_another_machine_gets_a_port_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.1:6379")
    options = serve_llm.http_options()
    assert (options["host"], options["port"] > 0) == ("192.0.2.1", True)


def test_the_ingress_is_not_named_after_a_model() -> None:
    assert serve_llm.ingress_of(["LLMServer:tiny", "OpenAiIngress"]) == "OpenAiIngress"


class Status(enum.Enum):
    DEPLOY_FAILED = "DEPLOY_FAILED"
    HEALTHY = "HEALTHY"


def stated(status: Status, message: str) -> Any:
    return types.SimpleNamespace(status=status, message=message)


def test_a_failed_application_is_described_with_every_message() -> None:
    application = stated(Status.DEPLOY_FAILED, "deployments failed")
    application.deployments = {
        "LLMServer:tiny": stated(Status.DEPLOY_FAILED, "ValueError: no such model"),
        "OpenAiIngress": stated(Status.HEALTHY, ""),
    }
    assert serve_llm.describe(application).splitlines() == [
        "application is DEPLOY_FAILED: deployments failed",
        "LLMServer:tiny is DEPLOY_FAILED: ValueError: no such model",
        "OpenAiIngress is HEALTHY: no message",
    ]


def test_actors_that_do_not_end_are_named() -> None:
    left = [{"class_name": "ServeController", "pid": 7}]
    with pytest.raises(TimeoutError) as raised:
        serve_llm.await_end(lambda: left, 0.0)
    assert str(raised.value) == "alive 0 s after serve.shutdown(): ServeController (pid 7)"


@pytest.mark.parametrize("executor", ["mp", "uni"])
def test_an_executor_without_ray_is_refused(executor: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        ray_serve.parse_arguments(["--model", "m", "--executor", executor])
    assert f"--executor {executor}: Serve LLM always runs on Ray, with ray-v2 or ray-v1" in capsys.readouterr().err


def test_an_engine_in_an_actor_gets_what_vllm_reads_but_no_secret_and_no_address_of_another_node(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    monkeypatch.setenv("VLLM_HOST_IP", "127.0.0.2")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("VLLM_API_KEY", "secret")
    monkeypatch.setenv("OTHER", "1")
    variables = engine.variables_for_actors()
    assert variables["VLLM_CPU_KVCACHE_SPACE"] == variables["HF_HUB_OFFLINE"] == "1"
    assert {"VLLM_HOST_IP", "VLLM_API_KEY", "OTHER"} & set(variables) == set()
