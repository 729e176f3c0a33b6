"""One run: the environment under test, its cluster, and the flows that were run in it."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec

from pytest_raycompat.cluster.authentication import Shown, variables_for, write_token
from pytest_raycompat.cluster.protocol import ClusterError, RayCluster
from pytest_raycompat.cluster.provider import ClusterProvider
from pytest_raycompat.environment import cache_name, child_environment, describe_versions, examine, stage_package
from pytest_raycompat.flows import proof
from pytest_raycompat.flows.registry import Flow, find_flow, reproduction
from pytest_raycompat.flows.runner import FlowRunner
from pytest_raycompat.gaps import Gap
from pytest_raycompat.gpus import Gpu, installed_gpus, visible_gpus
from pytest_raycompat.judgement import applicable
from pytest_raycompat.markers import Facts, plural
from pytest_raycompat.models.tiny import write_tiny_model
from pytest_raycompat.processes.children import Children
from pytest_raycompat.records import Environment, FlowResult
from pytest_raycompat.settings import Settings

FREE_LIMIT_S = 30.0
"""How long a flow waits for GPUs that somebody else holds in Ray."""


class NeedsNotMet(Exception):
    """A flow needs what is not there; says what, and what was found."""


class Display(Protocol):
    """Shows a user what is going on."""

    def show(self, title: str, phase: str, seconds: float, left: float) -> None:
        """Show that ``title`` is in ``phase``, for how many seconds, and how many are left."""

    def clear(self) -> None:
        """Take it away again."""


class Session:
    """What the fixtures and the hooks share.

    Args:
        settings: what the user asked for.
        gaps: the recorded gaps.
        display: shown what goes on.
        finished: called with what each flow gave.
    """

    def __init__(
        self,
        settings: Settings,
        gaps: tuple[Gap, ...],
        display: Display,
        finished: Callable[[FlowResult], None] = lambda result: None,
    ) -> None:
        self.settings = settings
        self.gaps = gaps
        self.children = Children()
        self._display = display
        self._finished = finished
        self._title = ""
        self._shown: Shown | None = None
        self._results: dict[str, FlowResult] = {}

    @cached_property
    def environment(self) -> Environment:
        """The environment under test."""
        return examine(self.settings.python)

    @cached_property
    def visible_gpus(self) -> tuple[Gpu, ...]:
        """The real GPUs that this run may use."""
        return visible_gpus(installed_gpus(), os.environ)

    @cached_property
    def device(self) -> Literal["cpu", "cuda"]:
        """What flows run on."""
        if self.settings.device != "auto":
            return self.settings.device
        return "cuda" if self.visible_gpus and self.environment.vllm_build != "cpu" else "cpu"

    @cached_property
    def folder(self) -> Path:
        """A folder of this run, removed at its end."""
        return self.children.new_folder("raycompat-run-")

    @cached_property
    def log_folder(self) -> Path:
        """Where logs stay after the run; git does not see them."""
        worker = os.environ.get("PYTEST_XDIST_WORKER", "")  # each worker numbers its logs by itself
        logs = self._kept_folder / "logs" / worker
        logs.mkdir(parents=True, exist_ok=True)
        return logs

    @cached_property
    def _kept_folder(self) -> Path:
        folder = self.settings.folder
        folder.mkdir(exist_ok=True)
        (folder / ".gitignore").write_text("*\n")
        return folder

    @cached_property
    def variables(self) -> dict[str, str]:
        """The environment of everything that runs in the environment under test."""
        home = self.folder / "home"
        home.mkdir()
        return child_environment(
            os.environ,
            staged=stage_package(self.folder),
            home=home,
            cache=self._kept_folder / "cache" / cache_name(self.environment),
            device=self.device,
        )

    @cached_property
    def clusters(self) -> ClusterProvider:
        """The cluster that was asked for.

        Raises:
            ClusterError: it cannot be had here.
        """
        if self.environment.ray is None:
            raise ClusterError(
                f"Ray is not installed for {self.settings.python}: install it there, "
                "or name another interpreter with --raycompat-python"
            )
        return ClusterProvider(
            self.settings.cluster,
            children=self.children,
            environment=self.environment,
            python=self.settings.python,
            device=self.device,
            gpus=self.visible_gpus if self.device == "cuda" else (),
            variables=self.variables,
            token=self._token,
            log_folder=self.log_folder,
        )

    @cached_property
    def _token(self) -> Path:
        return write_token(self.folder / "token")

    def show_token(self) -> None:
        """Let this process connect to the clusters of this run, until :meth:`close`."""
        if self.clusters.spec.kind == "local" and self.environment.ray is not None:
            self._shown = Shown(os.environ, variables_for(self.environment.ray, self._token))

    @cached_property
    def tiny_model(self) -> Path:
        """The small model, written on first use."""
        return write_tiny_model(self.folder / "tiny-model")

    @cached_property
    def _runner(self) -> FlowRunner:
        return FlowRunner(
            self.children, python=self.settings.python, log_folder=self.log_folder, progress=self._progress
        )

    def facts(self) -> Facts:
        """Tell what there is, without starting anything."""
        memory = tuple(gpu.memory_gb for gpu in self.visible_gpus) if self.device == "cuda" else None
        ray, vllm = self.environment.ray, self.environment.vllm
        if not self.settings.active:
            return Facts(ray, vllm, len(self.visible_gpus), 0, "this machine, no Ray cluster", memory)
        clusters = self.clusters
        if clusters.spec.kind == "address":
            memory = None  # of machines that are not this one
        return Facts(ray, vllm, clusters.gpus, clusters.nodes, clusters.describe(), memory)

    def headline(self) -> str:
        """Say what was found, for pytest's header."""
        found = plural(len(self.visible_gpus), "GPU") if self.visible_gpus else "no GPU"
        cluster = "no cluster"
        if self.settings.active:
            note = f" ({self.clusters.note})" if self.clusters.note else ""
            cluster = f"{self.clusters.describe()}{note}"
        return f"{describe_versions(self.environment)}; {self.device}, {found}; {cluster}"

    def run_flow(
        self, name: str, parameters: Mapping[str, Any], deadline_s: float | None = None, *, fresh: bool = False
    ) -> FlowResult:
        """Run a flow on the cluster, or return what it gave before with the same parameters, unless it is to be fresh.

        A failure that no gap explains is followed by its control, the same work without Ray.

        Raises:
            NeedsNotMet: it needs what is not there.
            ClusterError: there is no cluster to run it on.
            ValueError: there is no such flow.
        """
        flow = find_flow(name)
        if flow.needs_vllm and "executor" not in parameters and self.environment.default_executor is not None:
            parameters = {"executor": self.environment.default_executor, **parameters}
        key = f"{flow.name} {sorted(parameters.items())}"
        if key in self._results and not fresh:
            return self._results[key]
        self._check_needs(flow, parameters)
        self._title = f"{flow.name} {' '.join(f'{name}={value}' for name, value in parameters.items())}"
        on_ray = proof.runs_on_ray(parameters)
        cluster = self._prepared_cluster(parameters) if on_ray else None
        result = self._run(flow, parameters, cluster, deadline_s)
        if on_ray and result.failure is not None:
            self.clusters.distrust(f"{flow.name} ended with {result.outcome}")
            if not applicable(self.gaps, result, self.environment):
                result = self._with_control(result, name, parameters, deadline_s)
        self._results[key] = result
        return result

    def run_control(self, name: str, parameters: Mapping[str, Any], deadline_s: float | None = None) -> FlowResult:
        """Run the same work without Ray: vLLM's ``mp`` executor, or ``uni`` for one rank.

        Raises:
            NeedsNotMet: it needs what is not there.
        """
        executor = "mp" if proof.ranks(parameters) > 1 else "uni"
        return self.run_flow(name, {**parameters, "executor": executor}, deadline_s)

    def _with_control(
        self, result: FlowResult, name: str, parameters: Mapping[str, Any], deadline_s: float | None
    ) -> FlowResult:
        try:
            control = self.run_control(name, parameters, deadline_s)
        except NeedsNotMet:  # a control needs GPUs of this machine, which a cluster elsewhere does not
            return result
        return msgspec.structs.replace(result, control=control)

    def _run(
        self, flow: Flow, parameters: Mapping[str, Any], cluster: RayCluster | None, deadline_s: float | None
    ) -> FlowResult:
        try:
            result = self._runner.run(
                flow,
                parameters,
                extra={"model": self.tiny_model, "device": self.device},
                environment=cluster.environment if cluster is not None else self.variables,
                cluster=cluster,
                device=self.device,
                deadline_s=deadline_s or self.settings.deadline_s,
                reproduce=self._reproduction(flow, parameters, cluster),
            )
        finally:
            self._display.clear()
        self._finished(result)
        return result

    def _reproduction(self, flow: Flow, parameters: Mapping[str, Any], cluster: RayCluster | None) -> str:
        return reproduction(
            flow,
            parameters,
            device=self.device,
            cluster=self.clusters.written if cluster is not None else None,
            python=self.settings.python if self.settings.python_given else None,
        )

    def _progress(self, phase: str, seconds: float, left: float) -> None:
        self._display.show(self._title, phase, seconds, left)

    def _check_needs(self, flow: Flow, parameters: Mapping[str, Any]) -> None:
        """Decide in a moment what vLLM waits half an hour for (``PG_WAIT_TIMEOUT``, vllm/v1/executor/ray_utils.py)."""
        if flow.needs_vllm and self.environment.vllm is None:
            raise NeedsNotMet(f"vLLM is not installed for {self.settings.python}")
        executor = parameters.get("executor")
        if flow.needs_vllm and executor is not None and executor not in self.environment.executors:
            has = ", ".join(self.environment.executors)
            raise NeedsNotMet(f"vLLM {self.environment.vllm} has no executor {executor}; it has {has}")
        ranks = proof.ranks(parameters)
        if proof.runs_on_ray(parameters) and ranks > self.clusters.gpus:
            raise NeedsNotMet(
                f"needs {plural(ranks, 'GPU')}, found {self.clusters.gpus} ({self.clusters.describe()}); "
                f"try --ray-cluster=local:1x{ranks}"
            )
        if not proof.runs_on_ray(parameters) and self.device == "cuda" and ranks > len(self.visible_gpus):
            raise NeedsNotMet(f"needs {plural(ranks, 'GPU')}, found {len(self.visible_gpus)} on this machine")

    def _prepared_cluster(self, parameters: Mapping[str, Any]) -> RayCluster:
        """Return the cluster once it has the GPUs free that the flow needs."""
        cluster = self.clusters.get()
        began = time.monotonic()
        needed = proof.ranks(parameters)
        while True:
            free = sum(node.free_gpus for node in cluster.observer.nodes() if node.alive)
            waited = time.monotonic() - began
            if free >= needed:
                return cluster
            if waited > FREE_LIMIT_S:
                holders = ", ".join(f"{actor.class_name} (pid {actor.pid})" for actor in cluster.observer.actors())
                raise ClusterError(
                    f"{plural(needed, 'GPU')} are needed, {free:g} of {cluster.gpus} are free after {waited:.0f} s; "
                    f"actors alive: {holders or 'none'}"
                )
            self._progress("waiting for GPUs", waited, FREE_LIMIT_S - waited)
            time.sleep(1.0)

    def close(self) -> None:
        """End everything that this run started."""
        if "clusters" in self.__dict__:
            self.clusters.close()
        self.children.close()
        if self._shown is not None:
            self._shown.restore()


def git_revision(folder: Path) -> str | None:
    """Return the revision of the git checkout that ``folder`` is in; None where it is in none."""
    try:
        finished = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return finished.stdout.strip() or None
