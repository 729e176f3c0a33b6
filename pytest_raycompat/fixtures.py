"""The fixtures, for the suites and for tests of the user's own."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any, Protocol

import pytest

from pytest_raycompat.state import FLOWS, is_rerun, session_of

NO_CLUSTER = "no Ray cluster: run pytest with --ray-cluster=auto"


class FlowFailed(Exception):
    """A flow did not end ``ok``; carries what it did, for the verdict."""

    def __init__(self, result: Any, *, is_control: bool) -> None:
        super().__init__(f"{result.flow} ended with {result.outcome} in phase {result.phase!r}")
        self.result = result
        self.is_control = is_control


class RunFlow(Protocol):
    """What the fixture ``run_flow`` is."""

    def __call__(self, flow: str, /, *, deadline_s: float | None = None, **parameters: Any) -> Any:
        """Run a flow and return its :class:`~pytest_raycompat.records.FlowResult`.

        With the same parameters it runs once a session. A flow that does not end ``ok`` ends the test with its verdict.
        """

    def control(self, flow: str, /, *, deadline_s: float | None = None, **parameters: Any) -> Any:
        """Run the same work without Ray and return its result."""


class _RunFlow:
    """Runs flows for one test, and notes them for its verdict."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._session = session_of(request.config)
        self._flows = request.node.stash.setdefault(FLOWS, [])
        self._again = is_rerun(request.node)

    def __call__(self, flow: str, /, *, deadline_s: float | None = None, **parameters: Any) -> Any:
        return self._finish(
            lambda: self._session.flows.run(flow, parameters, deadline_s, retry=self._again), is_control=False
        )

    def control(self, flow: str, /, *, deadline_s: float | None = None, **parameters: Any) -> Any:
        run = self._session.flows.run_control
        return self._finish(lambda: run(flow, parameters, deadline_s, retry=self._again), is_control=True)

    def _finish(self, run: Callable[[], Any], *, is_control: bool) -> Any:
        from pytest_raycompat.flows.runs import NeedsNotMet

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
    from pytest_raycompat.cluster.provider import CurrentCluster

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
    from pytest_raycompat.processes.children import free_port as find

    return find()
