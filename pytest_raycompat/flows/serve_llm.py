"""What Ray Serve LLM is called and how it is driven: its names by version, its application, its states, its end."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pytest_raycompat.processes.ports import free_port

APPLICATION = "raycompat"
BUILDER = "build_openai_app"
FAILED = ("DEPLOY_FAILED", "UNHEALTHY")
TELEMETRY = "llm_serve_telemetry"
"""Name and namespace of a detached actor that Serve LLM starts and ``serve.shutdown`` leaves
(ray/llm/_internal/serve/observability/usage_telemetry/usage.py, 2.60.0)."""
COMMAND_LIMIT_S = 120.0
SERVE_COMMAND = "from ray.serve.scripts import cli; cli()"
"""With ``-m``, that module does nothing and says nothing in Ray 2.50.1 and older."""
LOOK_EVERY_S = 0.5


class DeploymentFailed(RuntimeError):
    """Serve says that a deployment failed; the message has the error of its replica."""


def modules_of(ray_version: str) -> tuple[str, str]:
    """Name the modules of ``LLMConfig`` and of ``build_openai_app``.

    Known: Ray 2.43.0, and 2.44.0 to 2.60.0, by their wheels. Before 2.43 there is no Serve LLM; a newer one is taken
    to be like the newest known. ``VLLMService`` (2.43), ``LLMServer`` (2.44 on) and ``LLMRouter`` (to 2.58) are not
    needed with these two.
    """
    if ray_version.startswith("2.43."):
        return "ray.serve.llm.configs", "ray.serve.llm.builders"
    return "ray.serve.llm", "ray.serve.llm"


def is_there(ray_version: str) -> bool:
    """Whether that Ray has a Serve LLM at all, without importing it: that takes seconds, as it imports vLLM."""
    return importlib.util.find_spec(modules_of(ray_version)[0]) is not None


def import_path(ray_version: str) -> str:
    """Return the import path of ``build_openai_app``."""
    return f"{modules_of(ray_version)[1]}:{BUILDER}"


def import_config(ray_version: str) -> Any:
    """Import Serve LLM, and return ``LLMConfig``.

    Raises:
        ImportError: that Ray has no Serve LLM, or one that does not fit its vLLM.
    """
    config_module, builder_module = modules_of(ray_version)
    config = importlib.import_module(config_module).LLMConfig
    getattr(importlib.import_module(builder_module), BUILDER)
    return config


def retry_options() -> dict[str, int]:
    """Return the deployment option that makes Serve give up at the first failure, where that Ray has it.

    Without it a replica is started three times (ray/serve/_private/constants.py): three engines.
    """
    from ray import serve

    name = "max_constructor_retry_count"
    return {name: 1} if name in inspect.signature(serve.deployment).parameters else {}


def http_options() -> dict[str, Any]:
    """Choose where Serve's proxy listens: the head's own address, and a free port of it."""
    host = os.environ["RAY_ADDRESS"].rpartition(":")[0].strip("[]")
    return {"host": host, "port": free_port()}  # where the head is another machine it is likely to be free there too


def deploy(settings: Mapping[str, Any]) -> None:
    """Hand a config to ``serve run``, which leaves Serve running.

    ``serve.run`` of the Python API gives each deployment a new version each time, and so restarts the engine
    (ray/serve/_private/client.py, 2.60.0). With a config Serve changes in place what needs no restart.

    Raises:
        subprocess.SubprocessError: the command failed, or was not over after ``COMMAND_LIMIT_S``.
    """
    with tempfile.TemporaryDirectory(prefix="raycompat-serve-") as folder:
        file = Path(folder, "serve.yaml")
        file.write_text(json.dumps(settings))  # JSON is YAML
        command = [sys.executable, "-c", SERVE_COMMAND, "run", "--non-blocking", f"--app-dir={folder}", str(file)]
        subprocess.run(command, stdin=subprocess.DEVNULL, check=True, timeout=COMMAND_LIMIT_S)


def await_running(limit_s: float) -> dict[str, str]:
    """Wait until the application runs; return the state of each of its deployments.

    Raises:
        DeploymentFailed: it failed; has what Serve says about it.
        TimeoutError: it was neither after ``limit_s`` seconds; has the same.
    """
    from ray import serve

    began = time.monotonic()
    while True:
        application = serve.status().applications.get(APPLICATION)
        if application is None:
            raise DeploymentFailed(f"Serve has no application {APPLICATION!r}: `serve run` failed, see its log")
        states = {name: str(one.status.value) for name, one in application.deployments.items()}
        if application.status.value == "RUNNING":
            return states
        if any(state in FAILED for state in (application.status.value, *states.values())):
            raise DeploymentFailed(describe(application))
        if time.monotonic() - began > limit_s:
            raise TimeoutError(f"not running after {limit_s:.0f} s; last seen: {describe(application)}")
        time.sleep(LOOK_EVERY_S)


def describe(application: Any) -> str:
    """Say the state of an application and of its deployments, with the messages that Serve has for them."""
    told = [("application", application), *application.deployments.items()]
    return "\n".join(f"{name} is {one.status.value}: {one.message or 'no message'}" for name, one in told)


def ingress_of(deployments: Iterable[str]) -> str:
    """Name the deployment that takes the requests: the one that is not named after a model (``LLMServer:tiny``)."""
    (name,) = [name for name in deployments if ":" not in name]
    return name


def shut_down(actors: Callable[[], list[Any]], limit_s: float) -> dict[str, Any]:
    """Shut Serve down, and end what Serve LLM leaves behind.

    Args:
        actors: lists those of this flow's job that are alive.
        limit_s: how long they may take to end.

    Returns:
        ``seconds`` until Serve's own were gone, ``left_by_serve``, the classes of the others, and ``actors_left``, the
        classes of those that are alive in the end: none.

    Raises:
        TimeoutError: some are alive after ``limit_s`` seconds; Serve's controller and replicas outlive the driver.
    """
    import ray
    from ray import serve

    began = time.monotonic()
    serve.shutdown()  # waits up to 30 s for its controller (ray/serve/_private/client.py, 2.60.0)
    await_end(lambda: [actor for actor in actors() if actor["name"] != TELEMETRY], limit_s)
    seconds = round(time.monotonic() - began, 3)
    left = actors()
    if left:
        ray.kill(ray.get_actor(TELEMETRY, namespace=TELEMETRY))
        await_end(actors, limit_s)
    return {"seconds": seconds, "left_by_serve": classes_of(left), "actors_left": classes_of(actors())}


def await_end(actors: Callable[[], list[Any]], limit_s: float) -> None:
    """Wait until none of ``actors`` is alive.

    Raises:
        TimeoutError: some are after ``limit_s`` seconds.
    """
    began = time.monotonic()
    while left := actors():
        if time.monotonic() - began > limit_s:
            names = ", ".join(f"{actor['class_name']} (pid {actor['pid']})" for actor in left)
            raise TimeoutError(f"alive {limit_s:.0f} s after serve.shutdown(): {names}")
        time.sleep(0.1)


def classes_of(actors: Iterable[Any]) -> list[str]:
    """List the classes of actors."""
    return [str(actor["class_name"]) for actor in actors]
