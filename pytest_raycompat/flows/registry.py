"""Which flows there are, and how one is started."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_raycompat.flows.proof import runs_on_ray


@dataclass(frozen=True)
class Flow:
    """A standalone program that reports through :mod:`pytest_raycompat.flows.reporting`."""

    name: str
    module: str
    phases: tuple[str, ...] = ()
    needs_vllm: bool = True
    always_on_ray: bool = False
    """Whether it runs on Ray whatever its parameters, and so has no control."""
    tells_workers: bool = True
    """Whether every rank of its engine says where it runs; a server's ranks do not, so Ray alone is asked."""
    control: str | None = None
    """The flow that does the same work without Ray, where it is another one: it gets the sizes of the engine."""
    dashboard: bool = False
    """Whether it needs Ray's dashboard, which has the jobs API."""
    takes_share: bool = False
    """Whether it leaves the rest of its GPUs to others where it is told to (:data:`~.engine.SHARES_VARIABLE`)."""
    alone_until: str = ""
    """The phase from which on others may be on GPUs that it has had alone: it takes its share of them then."""

    def on_ray(self, parameters: Mapping[str, Any]) -> bool:
        """Whether it runs on Ray with these parameters."""
        return self.always_on_ray or runs_on_ray(parameters)

    def shares(self, parameters: Mapping[str, Any]) -> bool:
        """Whether other flows may be on its GPUs.

        Not where it measures their memory, as engines that sleep do.
        """
        return self.may_share(parameters) and not parameters.get("sleep")

    def may_share(self, parameters: Mapping[str, Any]) -> bool:
        """Whether its engines can be told how much of a GPU they take.

        Not the V0 engine, which measures what is left for its KV cache whatever it is told.
        """
        return self.takes_share and parameters.get("executor") != "ray-v0"

    def proves(self, parameters: Mapping[str, Any]) -> bool:
        """Whether it must prove that it ran on Ray; a flow of the user's own may say ``ray`` and prove nothing."""
        return self.on_ray(parameters) and (self.needs_vllm or self.always_on_ray or parameters["executor"] != "ray")


MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")

FLOWS: Mapping[str, Flow] = {
    flow.name: flow
    for flow in (
        Flow(
            "generate",
            "pytest_raycompat.flows.generate",
            ("import", "start", "generate", "inspect", "shutdown"),
            takes_share=True,
        ),
        Flow(
            "performance",
            "pytest_raycompat.flows.performance",
            ("import", "start", "warm", "single", "batch", "idle", "inspect", "shutdown"),
        ),
        Flow(
            "serve",
            "pytest_raycompat.flows.serve",
            ("start", "request", "refuse", "inspect", "stop"),
            tells_workers=False,
            takes_share=True,
        ),
        Flow(
            "ray_data",
            "pytest_raycompat.flows.ray_data",
            ("import", "start", "process", "inspect", "read", "shutdown"),
            tells_workers=False,
            takes_share=True,
        ),
        Flow(
            "jobs",
            "pytest_raycompat.flows.jobs",
            ("connect", "submit", "import", "start", "generate", "inspect", "shutdown", "stop"),
            control="generate",
            dashboard=True,
            takes_share=True,
        ),
        Flow(
            "data_parallel",
            "pytest_raycompat.flows.data_parallel",
            ("import", "start", "generate", "inspect", "shutdown"),
            tells_workers=False,
            control="generate",
            takes_share=True,
        ),
        Flow(
            "ray_serve",
            "pytest_raycompat.flows.ray_serve",
            ("import", "start", "deploy", "request", "refuse", "inspect", "redeploy", "stop"),
            always_on_ray=True,
            tells_workers=False,
            takes_share=True,
        ),
        Flow(
            "compiled_graph",
            "pytest_raycompat.flows.compiled_graph",
            ("import", "start", "compile", "execute", "inspect", "teardown", "shutdown"),
            needs_vllm=False,
            always_on_ray=True,
            takes_share=True,
        ),
        Flow(
            "rlhf",
            "pytest_raycompat.flows.rlhf",
            ("start", "connect", "generate", "sleep", "train", "wake", "send", "inspect", "shutdown", "compare"),
            takes_share=True,
            alone_until="compare",
        ),
    )
}


def find_flow(name: str) -> Flow:
    """Return the flow ``name``, or the one of a module of the caller's own (``package.module``).

    Raises:
        ValueError: there is none; lists those there are.
    """
    if name in FLOWS:
        return FLOWS[name]
    if MODULE.fullmatch(name) and importlib.util.find_spec(name.partition(".")[0]) is not None:
        return Flow(name, name, needs_vllm=False)
    raise ValueError(f"{name!r} is not a flow: choose one of {', '.join(sorted(FLOWS))}, or name a module (pkg.module)")


def arguments_for(parameters: Mapping[str, Any]) -> list[str]:
    """Turn parameters into the flow's command line: ``tensor_parallel_size=2`` is ``--tensor-parallel-size 2``."""
    arguments: list[str] = []
    for name, value in parameters.items():
        option = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            arguments += [option] if value else []
        elif isinstance(value, str | int | float | Path):
            arguments += [option, str(value)]
        else:
            arguments += [option, json.dumps(value)]
    return arguments


def reproduction(
    flow: Flow,
    parameters: Mapping[str, Any],
    *,
    device: str,
    cluster: str | None,
    python: str | None,
    variables: Mapping[str, str] | None = None,
) -> str:
    """Return the command that runs the flow again, alone, with a cluster of the same shape.

    Args:
        flow: what ran.
        parameters: with what.
        device: ``cpu`` or ``cuda``.
        cluster: what ``--ray-cluster`` says of the cluster; None for a flow without one.
        python: the interpreter under test, where it is not the one that runs pytest.
        variables: environment variables that it was given, beside those that every flow has.
    """
    given = [f"{name}={value}" for name, value in (variables or {}).items()]
    command = [
        *(["env", *given] if given else []),
        "raycompat",
        "run",
        flow.name,
        f"--ray-cluster={cluster or 'off'}",
        f"--raycompat-device={device}",
    ]
    if python is not None:
        command.append(f"--raycompat-python={python}")
    return shlex.join([*command, "--", *arguments_for(parameters)])
