"""Runs flows for a session: what each needs, its cluster, its control, and that each runs once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from pytest_raycompat.cluster.protocol import ClusterError, RayCluster
from pytest_raycompat.flows import proof
from pytest_raycompat.flows.registry import Flow, find_flow, reproduction
from pytest_raycompat.flows.runner import FlowRunner
from pytest_raycompat.judgement import applicable
from pytest_raycompat.markers import plural
from pytest_raycompat.records import FlowResult
from pytest_raycompat.report.terminal import write_parameters

if TYPE_CHECKING:
    from pytest_raycompat.session import Session

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


class FlowRuns:
    """The flows of a run.

    Args:
        session: the environment under test and its cluster.
        display: shown what goes on.
        finished: called with what each flow gave.
    """

    def __init__(self, session: Session, display: Display, finished: Callable[[FlowResult], None]) -> None:
        self._session = session
        self._display = display
        self._finished = finished
        self._title = ""
        self._results: dict[str, FlowResult] = {}

    @cached_property
    def _runner(self) -> FlowRunner:
        session = self._session
        return FlowRunner(
            session.children,
            python=session.settings.python,
            log_folder=session.log_folder,
            progress=lambda phase, seconds, left: self._display.show(self._title, phase, seconds, left),
        )

    def run(
        self,
        name: str,
        parameters: Mapping[str, Any],
        deadline_s: float | None = None,
        *,
        fresh: bool = False,
        retry: bool = False,
    ) -> FlowResult:
        """Run a flow on the cluster, or return what it gave before with the same parameters, unless it is to be fresh.

        With ``retry`` it is run again if it failed before.
        A failure that no gap explains is followed by its control, the same work without Ray.

        Raises:
            NeedsNotMet: it needs what is not there.
            ClusterError: there is no cluster to run it on.
            ValueError: there is no such flow.
        """
        flow = find_flow(name)
        if flow.needs_vllm and "executor" not in parameters and self._session.environment.default_executor is not None:
            parameters = {"executor": self._session.environment.default_executor, **parameters}
        key = f"{flow.name} {sorted(parameters.items())}"
        held = self._results.get(key)
        if held is not None and not fresh and not (retry and held.failure is not None):
            return held
        self._check_needs(flow, parameters)
        self._title = f"{flow.name} {write_parameters(parameters)}".rstrip()
        on_ray = flow.on_ray(parameters)
        cluster = self._prepared_cluster(parameters) if on_ray else None
        result = self._run_once(flow, parameters, cluster, deadline_s)
        if on_ray and result.failure is not None:
            self._session.clusters.distrust(f"{flow.name} ended with {result.outcome}")
            if not flow.always_on_ray and not applicable(self._session.gaps, result, self._session.environment):
                result = self._with_control(result, name, parameters, deadline_s)
        self._results[key] = result
        return result

    def run_control(
        self, name: str, parameters: Mapping[str, Any], deadline_s: float | None = None, *, retry: bool = False
    ) -> FlowResult:
        """Run the same work without Ray: vLLM's ``mp`` executor, or ``uni`` for one rank.

        Raises:
            NeedsNotMet: it needs what is not there.
        """
        executor = "mp" if proof.ranks(parameters) > 1 else "uni"
        return self.run(name, {**parameters, "executor": executor}, deadline_s, retry=retry)

    def _with_control(
        self, result: FlowResult, name: str, parameters: Mapping[str, Any], deadline_s: float | None
    ) -> FlowResult:
        try:
            control = self.run_control(name, parameters, deadline_s)
        except NeedsNotMet:  # a control needs GPUs of this machine, which a cluster elsewhere does not
            return result
        return msgspec.structs.replace(result, control=control)

    def _run_once(
        self, flow: Flow, parameters: Mapping[str, Any], cluster: RayCluster | None, deadline_s: float | None
    ) -> FlowResult:
        try:
            result = self._runner.run(
                flow,
                parameters,
                extra={"model": self._session.tiny_model, "device": self._session.device},
                environment=cluster.environment if cluster is not None else self._session.variables,
                cluster=cluster,
                device=self._session.device,
                deadline_s=deadline_s or self._session.settings.deadline_s,
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
            device=self._session.device,
            cluster=self._session.clusters.written if cluster is not None else None,
            python=self._session.settings.python if self._session.settings.python_given else None,
        )

    def _check_needs(self, flow: Flow, parameters: Mapping[str, Any]) -> None:
        """Decide in a moment what vLLM waits half an hour for (``PG_WAIT_TIMEOUT``, vllm/v1/executor/ray_utils.py)."""
        if flow.needs_vllm and self._session.environment.vllm is None:
            raise NeedsNotMet(f"vLLM is not installed for {self._session.settings.python}")
        executor = parameters.get("executor")
        if flow.needs_vllm and executor is not None and executor not in self._session.environment.executors:
            has = ", ".join(self._session.environment.executors)
            raise NeedsNotMet(f"vLLM {self._session.environment.vllm} has no executor {executor}; it has {has}")
        ranks = proof.ranks(parameters)
        needs = f"needs {plural(ranks, 'GPU')}"
        if flow.on_ray(parameters) and not self._session.settings.active:
            raise NeedsNotMet("it runs on Ray, and there is no cluster: use --ray-cluster=auto")
        if flow.on_ray(parameters) and ranks > self._session.clusters.gpus:
            raise NeedsNotMet(
                f"{needs}, found {self._session.clusters.gpus} ({self._session.clusters.describe()}); "
                f"try --ray-cluster=local:1x{ranks}"
            )
        if not flow.on_ray(parameters) and self._session.device == "cuda" and ranks > len(self._session.visible_gpus):
            raise NeedsNotMet(f"{needs}, found {len(self._session.visible_gpus)} on this machine")

    def _prepared_cluster(self, parameters: Mapping[str, Any]) -> RayCluster:
        """Return the cluster once it has the GPUs free that the flow needs."""
        cluster = self._session.clusters.get()
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
            self._display.show(self._title, "waiting for GPUs", waited, FREE_LIMIT_S - waited)
            time.sleep(1.0)
