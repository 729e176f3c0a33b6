"""Runs flows for a session: what each needs, its cluster, its control, and that each runs once."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from pytest_raycompat.cluster.protocol import RayCluster
from pytest_raycompat.cluster.spec import Shape
from pytest_raycompat.flows.described import PLAIN, Described, Request, Setting, control_of
from pytest_raycompat.flows.engine import SHARES_LATER_VARIABLE, SHARES_VARIABLE
from pytest_raycompat.flows.gpu_memory import GpuMemory
from pytest_raycompat.flows.needs import NeedsNotMet, shape_for
from pytest_raycompat.flows.places import Places
from pytest_raycompat.flows.registry import Flow, find_flow, reproduction
from pytest_raycompat.flows.runner import FlowRunner
from pytest_raycompat.flows.shared_results import SharedResults
from pytest_raycompat.gpus import Gpu, mask_of
from pytest_raycompat.models.model_class import find_out_beside
from pytest_raycompat.processes.children import Child
from pytest_raycompat.recorded import PlannedRun
from pytest_raycompat.records import FlowResult
from pytest_raycompat.workers import thread_limit, worker_count

if TYPE_CHECKING:
    from pytest_raycompat.session import Session


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
        self._places = Places(session, self._show)
        self._results: dict[str, tuple[FlowResult, float]] = {}  # and how long it was allowed to take
        self._of_all = SharedResults(session.shared_folder, session.makes_way, self._show_other)
        self._beside: Child | None = None

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

    def _show_other(self, seconds: float) -> None:
        self._show("waiting: another worker runs it", seconds, max(0.0, self._session.settings.deadline_s - seconds))

    def show_waiting(self, why: str, seconds: float, left: float) -> None:
        """Show for what it is waited, how long already, and how many seconds longer."""
        self._show(f"waiting: {why}", seconds, left)

    def run(
        self,
        name: str,
        parameters: Mapping[str, Any],
        setting: Setting = PLAIN,
        *,
        fresh: bool = False,
        retry: bool = False,
        ahead: Request | None = None,
    ) -> FlowResult:
        """Run a flow on the cluster, or return what it gave before with the same parameters and setting.

        A failure that no gap explains is followed by its control, the same work without Ray.

        Args:
            name: of the flow.
            parameters: become its command line.
            setting: what it runs with otherwise.
            fresh: run it even if its result is known.
            retry: run it, and its control, even if the result is known, where that is a failure.
            ahead: a control to prepare before it, where it has what it needs.

        Raises:
            NeedsNotMet: it needs what is not there.
            ClusterError: there is no cluster to run it on.
            ValueError: there is no such flow.
        """
        one = self._described(name, parameters, setting)
        held, held_s = self._results.get(one.key, (None, 0.0))
        deadline_s = self._deadline_s(setting)
        cut_off = held is not None and held.outcome == "timeout" and held_s < deadline_s
        if held is not None and not (fresh or cut_off or (retry and held.failure is not None)):
            written = setting.written(on_ray=one.on_ray)
            return msgspec.structs.replace(held, workaround=setting.workaround, setting=written)
        run = self._ready(one)
        if ahead is not None:
            self._run_ahead(*ahead)
        self._title = one.title
        with self._display_cleared():
            known_to_all = not (one.on_ray or fresh or retry or cut_off)
            result = self._of_all.once(self._known_as(one), run) if known_to_all else run()
        unexplained = result.failure is not None and not self._session.judge.expects(result)
        if one.on_ray and not one.flow.always_on_ray and unexplained:
            result = self._with_control(result, name, one.parameters, setting, retry=retry)
        self._results[one.key] = result, deadline_s
        return result

    def _deadline_s(self, setting: Setting) -> float:
        return setting.deadline_s or self._session.settings.deadline_s

    def _described(self, name: str, parameters: Mapping[str, Any], setting: Setting) -> Described:
        flow = find_flow(name)
        return Described(flow, self._completed(flow, parameters), setting)

    def _known_as(self, one: Described) -> str:
        """Name a run among those of all workers."""
        return f"{one.key} {self._session.settings.python}"

    def _ready(self, one: Described) -> Callable[[], FlowResult]:
        """Check what a run needs, and return what runs it.

        Raises:
            NeedsNotMet: something is not there.
            ClusterError: a cluster that must be asked cannot be reached.
        """
        shape = shape_for(self._session, one.flow, one.parameters, one.setting.shape)
        return partial(self._run_in_its_place, one.flow, one.parameters, shape, one.setting, on_ray=one.on_ray)

    def _run_in_its_place(
        self, flow: Flow, parameters: Mapping[str, Any], shape: Shape | None, setting: Setting, *, on_ray: bool
    ) -> FlowResult:
        with self._places.machine(flow, on_ray=on_ray):
            if flow.needs_vllm and self._beside is None:
                self._beside = find_out_beside(self._session)
            own = setting.shape is None
            cluster = self._places.cluster(flow, parameters, shape, setting.asked, own=own) if on_ray else None
            gpus = cluster.real_gpus if cluster is not None else self._places.gpus(flow, parameters, setting.asked)
            try:
                result = self._run_once(flow, parameters, cluster, gpus, setting)
            except BaseException:  # a test's own time limit, Ctrl-C, a cluster that does not answer
                if cluster is not None:
                    self._session.clusters.distrust(cluster)
                raise
            if self._beside is not None and self._beside.poll() is not None:
                self._beside.end()
                self._beside = None
            if cluster is not None:
                self._session.clusters.completed(cluster)
            if cluster is not None and result.failure is not None:
                self._session.clusters.distrust(cluster)
        return result

    def plan(self, name: str, parameters: Mapping[str, Any], shape: Shape | None = None) -> PlannedRun:
        """Say what :meth:`run` would run, starting nothing.

        Raises:
            ValueError: there is no such flow.
        """
        flow = find_flow(name)
        completed = self._completed(flow, parameters)
        gpus: tuple[int, ...] = ()
        if flow.on_ray(completed) and self._session.settings.active:
            gpus = shape.gpus if shape is not None else self._session.clusters.node_gpus
        return PlannedRun(flow.name, dict(completed), self._session.device, len(gpus), gpus)

    def _completed(self, flow: Flow, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        """Name the executor that vLLM takes by default, where none is given."""
        default = self._session.environment.default_executor
        if flow.needs_vllm and "executor" not in parameters and default is not None:
            return {"executor": default, **parameters}
        return parameters

    def run_control(
        self, name: str, parameters: Mapping[str, Any], setting: Setting = PLAIN, *, retry: bool = False
    ) -> FlowResult:
        """Run the same work without Ray: vLLM's ``mp`` executor, or ``uni`` for one rank.

        Raises:
            NeedsNotMet: it needs what is not there.
        """
        return self.run(*control_of(name, parameters, setting), retry=retry)

    def _run_ahead(self, name: str, parameters: Mapping[str, Any], setting: Setting) -> None:
        """Run a control before it is asked for, where workers share it and none has begun it; otherwise do nothing."""
        one = self._described(name, parameters, setting)
        self._title = one.title
        if one.key not in self._results:
            with contextlib.suppress(NeedsNotMet), self._display_cleared():
                self._of_all.ahead(self._known_as(one), self._ready(one))

    @contextlib.contextmanager
    def _display_cleared(self) -> Iterator[None]:
        """Take away in the end what was shown, also of a wait that was for nothing."""
        try:
            yield
        finally:
            self._display.clear()

    def _with_control(
        self, result: FlowResult, name: str, parameters: Mapping[str, Any], setting: Setting, *, retry: bool
    ) -> FlowResult:
        try:
            control = self.run_control(name, parameters, setting, retry=retry)
        except NeedsNotMet:  # a control needs GPUs of this machine, which a cluster elsewhere does not
            return result
        return msgspec.structs.replace(result, control=control)

    def _run_once(
        self,
        flow: Flow,
        parameters: Mapping[str, Any],
        cluster: RayCluster | None,
        gpus: Sequence[Gpu],
        setting: Setting,
    ) -> FlowResult:
        environment = cluster.environment if cluster is not None else self._session.variables
        if gpus and cluster is None:
            environment = {**environment, **mask_of(gpus)}
        shares = self._places.shares(flow, parameters, setting.asked) if gpus else 1
        later = self._places.shares_later(flow, parameters, setting.asked) if gpus else 1
        told = {SHARES_VARIABLE: shares, SHARES_LATER_VARIABLE: later}
        environment = {**environment, **{name: str(count) for name, count in told.items() if count > 1}}
        if gpus:  # without any, one flow runs at a time, and has all cores; actors have what Ray gives them
            environment = {**thread_limit(worker_count(os.environ)), **environment}
        memory = GpuMemory(gpus, self._session.children.mark, shared=shares > 1) if gpus else None

        def entered(phase: str) -> None:
            if later > 1 and phase == flow.alone_until:
                self._let_others_on(memory)

        result = self._runner.run(
            flow,
            parameters,
            extra=self._extra(flow, cluster),
            environment={**environment, **setting.variables},
            cluster=cluster,
            memory=memory,
            device=self._session.device,
            deadline_s=self._deadline_s(setting),
            reproduce=self._reproduction(flow, parameters, cluster, setting),
            entered=entered,
        )
        result = msgspec.structs.replace(
            result, workaround=setting.workaround, setting=setting.written(on_ray=cluster is not None)
        )
        self._finished(result)
        return result

    def _let_others_on(self, memory: GpuMemory | None) -> None:
        if memory is not None:
            memory.share()
        if self._session.leases is not None:
            self._session.leases.share()

    def _extra(self, flow: Flow, cluster: RayCluster | None) -> dict[str, Any]:
        """Return what goes onto a flow's command line beside its parameters."""
        extra: dict[str, Any] = {"model": self._session.tiny_model, "device": self._session.device}
        if flow.needs_vllm and self._session.device == "cuda" and cluster is not None and cluster.owned:
            # each of our nodes shows its ranks other GPUs of one machine, which vLLM takes for GPUs within reach and
            # then does not find ("Invalid peer device id", vLLM 0.20.2); across machines it does without by itself
            extra["disable_custom_all_reduce"] = len(cluster.nodes) + cluster.late > 1
        return extra

    def _reproduction(
        self, flow: Flow, parameters: Mapping[str, Any], cluster: RayCluster | None, setting: Setting
    ) -> str:
        written = None
        if cluster is not None:
            own = self._session.clusters.shape is not None
            written = setting.shape.written if setting.shape is not None and own else self._session.clusters.written
        return reproduction(
            flow,
            parameters,
            device=self._session.device,
            cluster=written,
            python=self._session.settings.python if self._session.settings.python_given else None,
            variables=setting.variables,
        )
