"""Runs flows for a session: what each needs, its cluster, its control, and that each runs once."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from pytest_raycompat.cluster.protocol import ClusterError, RayCluster
from pytest_raycompat.cluster.spec import Shape
from pytest_raycompat.flows import proof
from pytest_raycompat.flows.registry import Flow, find_flow, reproduction
from pytest_raycompat.flows.runner import FlowRunner
from pytest_raycompat.judgement import applicable
from pytest_raycompat.lease import hold_machine, lease_path
from pytest_raycompat.markers import plural
from pytest_raycompat.records import FlowResult

if TYPE_CHECKING:
    from pytest_raycompat.session import Session

ENGINE_SIZES = ("tensor_parallel_size", "pipeline_parallel_size")
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
            progress=self._show,
        )

    def _show(self, phase: str, seconds: float, left: float) -> None:
        self._display.show(self._title, phase, seconds, left)

    def run(
        self,
        name: str,
        parameters: Mapping[str, Any],
        deadline_s: float | None = None,
        *,
        shape: Shape | None = None,
        fresh: bool = False,
    ) -> FlowResult:
        """Run a flow on the cluster, or return what it gave before with the same parameters, unless it is to be fresh.

        A failure that no gap explains is followed by its control, the same work without Ray.

        Args:
            name: of the flow.
            parameters: become its command line.
            deadline_s: when it is ended, in seconds; by default as the settings say.
            shape: the nodes that it needs; by default it runs on the run's own cluster.
            fresh: run it even if its result is known.

        Raises:
            NeedsNotMet: it needs what is not there.
            ClusterError: there is no cluster to run it on.
            ValueError: there is no such flow.
        """
        flow = find_flow(name)
        if flow.needs_vllm and "executor" not in parameters and self._session.environment.default_executor is not None:
            parameters = {"executor": self._session.environment.default_executor, **parameters}
        on_ray = flow.on_ray(parameters)
        key = f"{flow.name} {sorted(parameters.items())} {shape if on_ray else None}"
        if key in self._results and not fresh:
            return self._results[key]
        shape = self._checked_needs(flow, parameters, shape)
        self._title = " ".join([flow.name, *(f"{name}={value}" for name, value in parameters.items())])
        with self._machine(flow, on_ray=on_ray):
            cluster = self._prepared_cluster(parameters, shape) if on_ray else None
            result = self._run_once(flow, parameters, cluster, shape, deadline_s)
            if cluster is not None:
                self._session.clusters.completed(cluster)
            if cluster is not None and result.failure is not None:
                self._session.clusters.distrust(cluster)
        unexplained = result.failure is not None and not applicable(
            self._session.gaps, result, self._session.environment
        )
        if on_ray and not flow.always_on_ray and unexplained:
            result = self._with_control(result, name, parameters, deadline_s)
        self._results[key] = result
        return result

    def run_control(self, name: str, parameters: Mapping[str, Any], deadline_s: float | None = None) -> FlowResult:
        """Run the same work without Ray: vLLM's ``mp`` executor, or ``uni`` for one rank.

        Raises:
            NeedsNotMet: it needs what is not there.
        """
        control = find_flow(name).control
        if control is not None:
            name, parameters = control, {key: value for key, value in parameters.items() if key in ENGINE_SIZES}
        executor = "mp" if proof.ranks(parameters) > 1 else "uni"
        return self.run(name, {**parameters, "executor": executor}, deadline_s)

    @contextlib.contextmanager
    def _machine(self, flow: Flow, *, on_ray: bool) -> Iterator[None]:
        """Keep the machine from the flows of other processes; one without vLLM and Ray does not ask for it."""
        if not on_ray and not flow.needs_vllm:
            yield
            return
        with hold_machine(lease_path(), lambda by, gone, left: self._show(f"waiting for {by}", gone, left)):
            yield

    def _with_control(
        self, result: FlowResult, name: str, parameters: Mapping[str, Any], deadline_s: float | None
    ) -> FlowResult:
        try:
            control = self.run_control(name, parameters, deadline_s)
        except NeedsNotMet:  # a control needs GPUs of this machine, which a cluster elsewhere does not
            return result
        return msgspec.structs.replace(result, control=control)

    def _run_once(
        self,
        flow: Flow,
        parameters: Mapping[str, Any],
        cluster: RayCluster | None,
        shape: Shape | None,
        deadline_s: float | None,
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
                reproduce=self._reproduction(flow, parameters, cluster, shape),
            )
        finally:
            self._display.clear()
        self._finished(result)
        return result

    def _reproduction(
        self, flow: Flow, parameters: Mapping[str, Any], cluster: RayCluster | None, shape: Shape | None
    ) -> str:
        written = None
        if cluster is not None:
            written = shape.written if shape is not None else self._session.clusters.written
        return reproduction(
            flow,
            parameters,
            device=self._session.device,
            cluster=written,
            python=self._session.settings.python if self._session.settings.python_given else None,
        )

    def _checked_needs(self, flow: Flow, parameters: Mapping[str, Any], shape: Shape | None) -> Shape | None:
        """Decide in a moment what vLLM waits half an hour for (``PG_WAIT_TIMEOUT``, vllm/v1/executor/ray_utils.py).

        Returns:
            The shape of the local cluster that it needs; None for one that is somebody else's, or without Ray.

        Raises:
            NeedsNotMet: something is not there.
        """
        session = self._session
        if flow.needs_vllm and session.environment.vllm is None:
            raise NeedsNotMet(f"vLLM is not installed for {session.settings.python}")
        executor = parameters.get("executor")
        has = session.environment.executors
        if flow.needs_vllm and executor not in (None, "ray", *has):
            raise NeedsNotMet(f"vLLM {session.environment.vllm} has no executor {executor}; it has {', '.join(has)}")
        ranks = proof.ranks(parameters)
        needs = f"needs {plural(ranks, 'GPU')}"
        if not flow.on_ray(parameters):
            if session.device == "cuda" and ranks > len(session.visible_gpus):
                raise NeedsNotMet(f"{needs}, found {len(session.visible_gpus)} on this machine")
            return None
        if not session.settings.active:
            raise NeedsNotMet("it runs on Ray, and there is no cluster: use --ray-cluster=auto")
        unsuited = session.clusters.unsuited(shape) if shape is not None else None
        if unsuited is not None:
            raise NeedsNotMet(unsuited)
        gpus = sum(shape.gpus) if shape is not None else session.clusters.gpus
        if ranks > gpus:
            raise NeedsNotMet(
                f"{needs}, found {gpus} ({session.clusters.describe()}); try --ray-cluster=local:1x{ranks}"
            )
        if session.clusters.shape is None:
            return None
        return dataclasses.replace(shape or session.clusters.shape, dashboard=flow.dashboard)

    def _prepared_cluster(self, parameters: Mapping[str, Any], shape: Shape | None) -> RayCluster:
        """Return the cluster once it has the GPUs free that the flow needs."""
        cluster = self._session.clusters.get(shape)
        began = time.monotonic()
        needed = min(proof.ranks(parameters), cluster.gpus)  # late nodes bring the rest
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
            self._show("waiting for GPUs", waited, FREE_LIMIT_S - waited)
            time.sleep(1.0)
