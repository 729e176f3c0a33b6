"""The ray_serve flow: a model on Ray Serve LLM, the official client against it, a redeployment, and a clean end.

By hand, with ``RAY_ADDRESS`` set::

    python -m pytest_raycompat.flows.ray_serve --model PATH --executor ray-v2 --tensor-parallel-size 2
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pytest_raycompat.cluster import observer_program
from pytest_raycompat.flows import engine, proof, serve_llm
from pytest_raycompat.flows.generate import PROMPTS
from pytest_raycompat.flows.openai_client import AT_ONCE, MODEL_NAME, ask, ask_wrongly, at_once, connect, status_of
from pytest_raycompat.flows.reporting import Reporter, run_program

START_LIMIT_S = 480.0
REDEPLOY_LIMIT_S = 60.0
STOP_LIMIT_S = 60.0
BURST_TOKENS = 64
"""Tokens of each request of a burst: enough for all to be there at the same time."""
NARROW = {"max_ongoing_requests": 1, "max_queued_requests": 1}
"""What the redeployment changes: of a burst, one request is served, one waits, and the others get 503."""
SERVE_CONTROLLER = "ServeController"


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m pytest_raycompat.flows.ray_serve")
    engine.add_arguments(parser)
    parser.add_argument("--accelerator-type", help="accelerator_type of LLMConfig, such as L4")
    parser.add_argument("--max-tokens", type=int, default=16, help="tokens to generate for each prompt")
    read = parser.parse_args(arguments)
    if read.executor not in proof.EXECUTOR_CLASSES:
        parser.error(f"--executor {read.executor}: Serve LLM always runs on Ray, with ray-v2 or ray-v1")
    return read


def model_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the keyword arguments of ``LLMConfig``: the seed's, for this model."""
    settings = engine.engine_arguments(arguments)
    passed_on = ("dtype", "max_model_len", "tensor_parallel_size", "pipeline_parallel_size", "enforce_eager", "seed")
    return {
        "model_loading_config": {"model_id": MODEL_NAME, "model_source": arguments.model},
        "engine_kwargs": {
            **{name: settings[name] for name in passed_on},
            **engine.memory_arguments(),
            "max_num_batched_tokens": arguments.max_model_len,
            "max_num_seqs": 64,
            "trust_remote_code": True,
            "distributed_executor_backend": "ray",
        },
        # left out where it is not given: Ray 2.44 to 2.46 take a None for the name of a type that they do not know
        **({} if arguments.accelerator_type is None else {"accelerator_type": arguments.accelerator_type}),
        "deployment_config": {
            "autoscaling_config": {"target_ongoing_requests": 32, "min_replicas": 1, "max_replicas": 1},
            "max_ongoing_requests": 64,
            **serve_llm.retry_options(),
        },
        # a replica has the environment of its node, not that of this process
        "runtime_env": {"env_vars": engine.variables_for_actors()},
    }


def connect_to_ray() -> None:
    """Become a driver of the cluster.

    Raises:
        RuntimeError: Serve runs there already; it is somebody's, and this flow would shut it down.
    """
    import ray

    ray.init(address=os.environ["RAY_ADDRESS"], log_to_driver=True)
    if any(actor["class_name"] == SERVE_CONTROLLER for actor in observer_program.actors()):
        raise RuntimeError("Serve runs on this cluster already: shut it down, or use another cluster")


def start_serve(http: dict[str, Any]) -> list[str]:
    """Start Serve with its proxy on the head, and return the classes of its actors."""
    from ray import serve

    os.environ["NO_PROXY"] = ",".join(filter(None, (os.environ.get("NO_PROXY"), http["host"])))
    serve.start(proxy_location="HeadOnly", http_options=http)
    return serve_llm.classes_of(own_actors())


def own_actors() -> list[Any]:
    """List the live actors of this driver's job: Serve's controller, proxy and replicas."""
    import ray

    job = ray.get_runtime_context().get_job_id()
    return [actor for actor in observer_program.actors() if actor["job_id"] == job]


def engine_actors(arguments: argparse.Namespace) -> dict[str, int]:
    """Return the process of each live worker of an engine, by its actor's id."""
    classes = proof.WORKER_CLASSES[arguments.executor]
    return {actor["actor_id"]: actor["pid"] for actor in observer_program.actors() if actor["class_name"] in classes}


def burst(address: str) -> list[int]:
    """Send requests at the same time and return the HTTP status of each."""
    create = connect(address).completions.create
    settings: dict[str, Any] = {"model": MODEL_NAME, "max_tokens": BURST_TOKENS, "extra_body": {"ignore_eos": True}}
    prompts = [PROMPTS[0]] * AT_ONCE
    return list(at_once(lambda prompt: status_of(lambda: create(prompt=prompt, **settings)), prompts))


def redeploy(reporter: Reporter, settings: dict[str, Any], ingress: str, address: str) -> None:
    """Deploy the application with another setting, and report what a client notices of it.

    Raises:
        TimeoutError: the client noticed nothing.
    """
    before = burst(address)
    (application,) = settings["applications"]
    began = time.monotonic()
    changed = {**application, "deployments": [{"name": ingress, **NARROW}]}
    serve_llm.deploy({**settings, "applications": [changed]})
    serve_llm.await_running(REDEPLOY_LIMIT_S)
    while 503 not in (after := burst(address)):  # what changed reaches the proxy a moment later
        if time.monotonic() - began > REDEPLOY_LIMIT_S:
            raise TimeoutError(f"{ingress} with {NARROW} still takes every request: {after}")
        time.sleep(0.5)
    answer = connect(address).completions.create(
        model=MODEL_NAME, prompt=PROMPTS[0], temperature=0.0, max_tokens=BURST_TOKENS, extra_body={"ignore_eos": True}
    )
    reporter.output(
        "redeployed",
        {
            "changed": {ingress: NARROW},
            "burst_before": before,
            "burst_after": after,
            "text": answer.choices[0].text,
            "seconds": round(time.monotonic() - began, 3),
        },
    )


def is_healthy(address: str) -> bool:
    """Whether Serve's proxy says that it is well, and the application lists its model."""
    try:
        with urllib.request.urlopen(f"{address}/-/healthz", timeout=5) as answer:
            proxy_is_well = answer.status == 200
    except (urllib.error.URLError, OSError):
        return False
    return proxy_is_well and [model.id for model in connect(address).models.list()] == [MODEL_NAME]


def ray_serve(reporter: Reporter, arguments: argparse.Namespace) -> None:
    """Deploy, ask, redeploy, show on what it runs, and shut down."""
    engine.prepare_process(arguments)
    reporter.phase("import")
    version = importlib.metadata.version("ray")
    if not serve_llm.is_there(version):
        serve_llm.import_config(version)  # says so, before anything has been started
    import ray

    connect_to_ray()
    try:
        settings = deploy(reporter, arguments, version)
        http = settings["http_options"]
        use(reporter, arguments, settings, f"http://{http['host']}:{http['port']}")
        reporter.phase("stop")
    finally:  # also after a failure: Serve outlives this process
        stopped = serve_llm.shut_down(own_actors, STOP_LIMIT_S)
    reporter.evidence("stopped", stopped)
    ray.shutdown()


def deploy(reporter: Reporter, arguments: argparse.Namespace, version: str) -> dict[str, Any]:
    """Hand the application to Serve; return the config.

    Serve starts, and builds the application, in other processes, each of which takes its time to import vLLM. This one
    imports it meanwhile.
    """
    http = serve_llm.http_options()
    model = model_settings(arguments)
    application = {
        "name": serve_llm.APPLICATION,
        "route_prefix": "/",
        "import_path": serve_llm.import_path(version),
        "args": {"llm_configs": [model]},
    }
    settings = {"proxy_location": "HeadOnly", "http_options": http, "applications": [application]}

    def hand_over() -> None:
        started.result()
        serve_llm.deploy(settings)

    with ThreadPoolExecutor(max_workers=1) as beside:
        started = beside.submit(start_serve, http)
        deployed = beside.submit(hand_over)
        config_class = serve_llm.import_config(version)
        reporter.phase("start")
        config_class(**model)  # says what is wrong with it here, and not in the log of a replica
        reporter.evidence("serve_actors", started.result())
        reporter.phase("deploy")
        deployed.result()
    return settings


def use(reporter: Reporter, arguments: argparse.Namespace, settings: dict[str, Any], address: str) -> None:
    """Do what a user of Serve LLM does between its start and its end."""
    deployments = serve_llm.await_running(START_LIMIT_S)
    reporter.output("deployments", deployments)
    reporter.phase("request")
    ask(reporter, address, arguments.max_tokens)
    reporter.phase("refuse")
    ask_wrongly(reporter, address, lambda: is_healthy(address))
    reporter.phase("inspect")
    reporter.hold()
    reporter.phase("redeploy")
    before = engine_actors(arguments)
    redeploy(reporter, settings, serve_llm.ingress_of(deployments), address)
    reporter.evidence("engine_before", before)
    reporter.evidence("engine_after", engine_actors(arguments))


def main() -> int:
    """Run the flow and return its exit status."""
    arguments = parse_arguments()
    return run_program(
        "ray_serve",
        engine.parameters(arguments),
        lambda reporter: ray_serve(reporter, arguments),
        hold=arguments.hold,
    )


if __name__ == "__main__":
    sys.exit(main())
