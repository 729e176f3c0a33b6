"""The fixtures, for the suites and for tests of the user's own."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import pytest

from pytest_raycompat.state import FLOWS, GAP_IDS, LEFT_OUT, REQUIREMENTS, is_rerun, session_of

if TYPE_CHECKING:
    from pytest_raycompat.cluster.spec import Shape
    from pytest_raycompat.flows.described import Request, Setting
    from pytest_raycompat.judgement import Judgement

NO_CLUSTER = "no Ray cluster: run pytest with --ray-cluster=auto"


class FlowFailed(Exception):
    """A flow did not end ``ok``; carries what it did, for the verdict."""

    def __init__(self, result: Any, *, is_control: bool) -> None:
        super().__init__(f"{result.flow} ended with {result.outcome} in phase {result.phase!r}")
        self.result = result
        self.is_control = is_control


class RunFlow(Protocol):
    """What the fixture ``run_flow`` is."""

    @property
    def gpus(self) -> int:
        """How many GPUs a flow on Ray can have here, or stand-ins for them; asking starts nothing."""

    @property
    def device(self) -> Literal["cpu", "cuda"]:
        """What flows run on."""

    def up_to(self, gpus: int) -> int:
        """Return ``gpus``, or as many as a flow on Ray can have here where these are fewer, but at least 1."""

    def __call__(
        self,
        flow: str,
        /,
        *,
        nodes: Sequence[int] | None = None,
        late_nodes: int = 0,
        namespaces: bool = False,
        variables: Mapping[str, str] | None = None,
        deadline_s: float | None = None,
        **parameters: Any,
    ) -> Any:
        """Run a flow and return its :class:`~pytest_raycompat.records.FlowResult`.

        With the same parameters it runs once a session. A flow that does not end ``ok`` ends the test with its verdict.

        Args:
            flow: name of a flow, or a module of your own.
            nodes: the GPUs of each node that it needs, the head first; by default it runs on the run's own cluster.
            late_nodes: how many of these, at the end, join only once the flow waits for their GPUs.
            namespaces: whether each of them is in a network namespace of its own, so that traffic crosses a link.
            variables: environment variables of its process, beside those that every flow has.
            deadline_s: when it is ended, in seconds; by default as ``--raycompat-deadline`` says.
            parameters: become the flow's command line.
        """

    def repeat(
        self,
        times: int,
        flow: str,
        /,
        *,
        nodes: Sequence[int] | None = None,
        deadline_s: float | None = None,
        **parameters: Any,
    ) -> list[Any]:
        """Run a flow so many times anew, whatever is known of it, and return the results.

        What the runs measured is put together in the report. Arguments are those of a call.
        """

    def control(self, flow: str, /, *, deadline_s: float | None = None, **parameters: Any) -> Any:
        """Run the same work without Ray and return its result."""

    def with_control(self, flow: str, /, *, deadline_s: float | None = None, **parameters: Any) -> RunFlow:
        """Name the control that a flow is going to be compared with, and return ``run_flow`` itself.

        Workers of pytest-xdist share controls. Where none has begun this one, it runs before the flow, if that has what
        it needs, so that nobody waits for it once all flows are done; in one process it runs when it is asked for.
        Arguments are those of :meth:`control`.
        """

    def workaround(self, gap: str, flow: str, /, *, nodes: Sequence[int] | None = None, **parameters: Any) -> Any:
        """Run a flow that has a known gap with the gap's workaround, and return its result.

        Where the gap is not recorded for the run, the test is skipped. Where the flow fails all the same, so does it.

        Args:
            gap: id of a gap whose workaround has environment variables.
            flow: name of a flow that has the gap.
            nodes: as for a flow without it.
            parameters: as for a flow without it; ``executor`` is the gap's, unless the variables say another.
        """


def leave_out(stash: pytest.Stash, verdict: Judgement | None) -> None:
    """Skip a test that ``--raycompat-gaps-mode`` leaves out, and note its verdict; go on where there is none."""
    if verdict is not None:
        stash[LEFT_OUT] = verdict
        raise pytest.skip.Exception(verdict.reason, _use_item_location=True)


class _RunFlow:
    """Runs flows for one test, and notes them for its verdict."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        from pytest_raycompat.markers import asked_of_gpus

        self._session = session_of(request.config)
        self._stash = request.node.stash
        self._flows = request.node.stash.setdefault(FLOWS, [])
        self._retry = is_rerun(request.node)
        self.device = self._session.device
        self._asked = asked_of_gpus(request.node.stash.get(REQUIREMENTS, []))
        self._ahead: Request | None = None

    @property
    def gpus(self) -> int:
        return self._session.clusters.gpus

    def up_to(self, gpus: int) -> int:
        return max(1, min(gpus, self.gpus))

    def __call__(
        self,
        flow: str,
        /,
        *,
        nodes: Sequence[int] | None = None,
        late_nodes: int = 0,
        namespaces: bool = False,
        variables: Mapping[str, str] | None = None,
        deadline_s: float | None = None,
        **parameters: Any,
    ) -> Any:
        from pytest_raycompat.cluster.spec import shape_of
        from pytest_raycompat.flows.described import Setting

        shape = shape_of(nodes, late_nodes, namespaces=namespaces) if nodes is not None else None
        self._leave_out(flow, parameters, shape)
        setting = Setting(shape=shape, variables=variables or {}, deadline_s=deadline_s, asked=self._asked)
        return self._run(flow, parameters, setting)

    def repeat(
        self,
        times: int,
        flow: str,
        /,
        *,
        nodes: Sequence[int] | None = None,
        deadline_s: float | None = None,
        **parameters: Any,
    ) -> list[Any]:
        from pytest_raycompat.cluster.spec import shape_of
        from pytest_raycompat.flows.described import Setting

        shape = shape_of(nodes) if nodes is not None else None
        self._leave_out(flow, parameters, shape)
        setting = Setting(shape=shape, deadline_s=deadline_s, asked=self._asked)
        run = self._session.flows.run
        again = [lambda: run(flow, parameters, setting, fresh=True)] * times
        return [self._finish(one, is_control=False) for one in again]

    def _leave_out(self, flow: str, parameters: Mapping[str, Any], shape: Shape | None) -> None:
        if self._session.settings.gaps_mode != "run":
            plan = self._session.flows.plan(flow, parameters, shape)
            leave_out(self._stash, self._session.judge.choose_flow(plan, self._stash.get(GAP_IDS, ())))

    def control(self, flow: str, /, *, deadline_s: float | None = None, **parameters: Any) -> Any:
        from pytest_raycompat.flows.described import Setting

        setting = Setting(deadline_s=deadline_s, asked=self._asked)
        run = self._session.flows.run_control
        return self._finish(lambda: run(flow, parameters, setting, retry=self._retry), is_control=True)

    def with_control(self, flow: str, /, *, deadline_s: float | None = None, **parameters: Any) -> RunFlow:
        from pytest_raycompat.flows.described import Setting, control_of

        self._ahead = control_of(flow, parameters, Setting(deadline_s=deadline_s, asked=self._asked))
        return self

    def workaround(self, gap: str, flow: str, /, *, nodes: Sequence[int] | None = None, **parameters: Any) -> Any:
        from pytest_raycompat.cluster.spec import shape_of
        from pytest_raycompat.flows.workarounds import applying

        shape = shape_of(nodes) if nodes is not None else None
        parameters, setting = applying(self._session, gap, flow, parameters, shape)
        if setting is None:
            pytest.skip(f"{gap} is not recorded for this run, so there is nothing to work around")
        return self._run(flow, parameters, setting)

    def _run(self, flow: str, parameters: Mapping[str, Any], setting: Setting) -> Any:
        run, ahead = self._session.flows.run, self._ahead
        return self._finish(lambda: run(flow, parameters, setting, retry=self._retry, ahead=ahead), is_control=False)

    def _finish(self, run: Callable[[], Any], *, is_control: bool) -> Any:
        from pytest_raycompat.flows.needs import NeedsNotMet

        try:
            result = run()
        except NeedsNotMet as error:
            pytest.skip(str(error))
        self._flows.append(result)
        if result.failure is not None:
            raise FlowFailed(result, is_control=is_control)
        return result


@pytest.fixture(scope="session")
def ray_cluster(request: pytest.FixtureRequest) -> Any:
    """A Ray cluster as ``--ray-cluster`` says: ``.address``, ``.nodes``, ``.gpus``, ``.environment``.

    It is ready for ``ray.init(address=ray_cluster.address)`` in a test; processes of your own take ``.environment``.
    """
    session = session_of(request.config)
    if not session.settings.active:
        pytest.skip(NO_CLUSTER)
    from pytest_raycompat.cluster.current import CurrentCluster

    return CurrentCluster(session.clusters)


@pytest.fixture
def make_ray_cluster(request: pytest.FixtureRequest) -> Generator[Callable[..., Any]]:
    """Start further local clusters, for tests that break theirs: ``make_ray_cluster(nodes=2, gpus=1, labels={…})``.

    They end with the test.
    """
    from pytest_raycompat.cluster.protocol import NodeShape

    session = session_of(request.config)
    if not session.settings.active:
        pytest.skip(NO_CLUSTER)
    made = []

    def make(nodes: int = 1, gpus: int = 1, labels: Mapping[str, str] | None = None) -> Any:
        made.append(session.clusters.make([NodeShape(gpus=gpus, labels=labels or {})] * nodes))
        return made[-1]

    yield make
    for cluster in made:
        session.clusters.release(cluster)


@pytest.fixture
def run_flow(request: pytest.FixtureRequest) -> RunFlow:
    """Run a flow in the environment under test: ``run_flow("generate", executor="ray-v2", tensor_parallel_size=2)``."""
    if not session_of(request.config).settings.active:
        pytest.skip(NO_CLUSTER)
    return _RunFlow(request)


@pytest.fixture(scope="session")
def tiny_model(request: pytest.FixtureRequest) -> Path:
    """The folder of a small model with random weights, made on the spot; the flows use it."""
    return session_of(request.config).tiny_model


@pytest.fixture
def free_port() -> int:
    """A TCP port on 127.0.0.1 that nothing listens on right now."""
    from pytest_raycompat.processes.ports import free_port as find

    return find()
