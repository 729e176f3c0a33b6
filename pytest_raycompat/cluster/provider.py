"""Gives the run its cluster: decides which, starts it when it is first needed, and replaces one that lost its trust."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pytest_raycompat.cluster.attached import AttachedCluster
from pytest_raycompat.cluster.ending import Ending
from pytest_raycompat.cluster.fitting import covers, covers_in_part, described, each_of
from pytest_raycompat.cluster.local import LocalCluster
from pytest_raycompat.cluster.network import lacking_namespaces
from pytest_raycompat.cluster.protocol import ClusterError, NodeShape, RayCluster
from pytest_raycompat.cluster.resolving import resolve, variables_of_attaching
from pytest_raycompat.cluster.spec import ClusterSpec, Shape
from pytest_raycompat.environment import describe_versions
from pytest_raycompat.gpu_lease import Enough, GpuLeases
from pytest_raycompat.gpus import Gpu
from pytest_raycompat.markers import plural
from pytest_raycompat.processes.children import Children
from pytest_raycompat.records import Environment

START_LIMIT_S = 90.0
STAND_INS = 2
"""How many GPUs a local cluster declares where there is none: enough for tensor_parallel_size=2."""
MOST_ALIVE = 2
"""How many clusters stay up for further flows; each costs about 0.5 GB, and one in twenty seconds of a core."""


class ClusterProvider:
    """The run's cluster, and further ones for tests that break theirs.

    Args:
        spec: what the user asked for; not ``off``.
        children: starts and ends processes.
        environment: the environment under test.
        python: its interpreter.
        device: what flows run on.
        leases: the real GPUs that may be used, and those of them that this process holds; None on a CPU.
        variables: base environment of its processes.
        token: file with the token of this run's clusters. One for all: Ray keeps the first token that a process has
            shown (ray 2.60.0), and tests of the user's own connect to several clusters from the pytest process.
        log_folder: where logs go.

    Raises:
        ClusterError: what was asked for cannot be had here.
    """

    def __init__(
        self,
        spec: ClusterSpec,
        *,
        children: Children,
        environment: Environment,
        python: str,
        device: Literal["cpu", "cuda"],
        leases: GpuLeases | None,
        variables: Mapping[str, str],
        token: Path,
        log_folder: Path,
    ) -> None:
        self.spec, self.note = resolve(spec, os.environ)
        self._children = children
        self._environment = environment
        self._python = python
        self.device = device
        self._leases = leases
        self._variables = variables
        self._token = token
        self._log_folder = log_folder
        self.shape = self._default_shape() if self.spec.kind == "local" else None
        self._attached: AttachedCluster | None = None
        self._running: dict[Shape, LocalCluster] = {}  # the one used last is the last
        self._further: list[LocalCluster] = []
        self._started = 0
        self._ending = Ending()
        self._notes: tuple[str, ...] = ()
        self.handed_out = False
        """Whether tests may be connected to the run's own cluster, and so keep it."""

    def _default_shape(self) -> Shape:
        shape = self.spec.shape
        if shape is None:
            shape = Shape((len(self._leases.gpus) if self._leases is not None else STAND_INS,))
        problem = self.lacking(shape)
        if problem is not None:
            raise ClusterError(problem)
        return shape

    def lacking(self, shape: Shape) -> str | None:
        """Say what a local cluster of ``shape`` would need that is not here; None where it can be had."""
        if self._leases is not None and sum(shape.gpus) > len(self._leases.gpus):
            nodes = plural(len(shape.gpus), "node")
            return f"{nodes} with {each_of(shape)} GPUs were asked for, {len(self._leases.gpus)} GPUs are here"
        return lacking_namespaces() if shape.namespaces else None

    def unsuited(self, shape: Shape) -> str | None:
        """Say why a flow that needs nodes of ``shape`` cannot have them here; None where it can.

        Without a shape in ``--ray-cluster`` a local cluster of any shape is started; with one, and attached, there is
        what there is.
        """
        if self.shape is not None and self.spec.shape is None:
            return self.lacking(shape)
        wanted = f"needs nodes with {each_of(shape)} GPUs, the head first"
        if self.shape is not None:
            return None if covers(self.shape, shape) else f"{wanted}, and --ray-cluster is {self.shape.written}"
        if shape.late or shape.namespaces or self.node_gpus != shape.gpus:
            return f"{wanted}, as {shape.written} has them; {self.describe()} has {self.node_gpus}"
        return None

    @property
    def node_gpus(self) -> tuple[int, ...]:
        """The GPUs of each node that the cluster has, or will have once it runs; the head first."""
        return self.shape.gpus if self.shape is not None else tuple(node.gpus for node in self.get().nodes)

    @property
    def gpus(self) -> int:
        """How many GPUs these are together."""
        return sum(self.node_gpus)

    @property
    def nodes(self) -> int:
        """How many nodes these are."""
        return len(self.node_gpus)

    @property
    def written(self) -> str:
        """What ``--ray-cluster`` says of a cluster like this one."""
        return self.shape.written if self.shape is not None else self.spec.address or ""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know about the clusters that were started or reached; empty before."""
        return self._notes

    def describe(self) -> str:
        """Say what it is: ``local cluster of 1 node with 2 stand-in GPUs``."""
        if self.shape is None:
            return f"cluster at {self.spec.address}"
        return f"local cluster of {described(self.shape, 'GPU' if self.device == 'cuda' else 'stand-in GPU')}"

    def get(
        self,
        shape: Shape | None = None,
        *,
        gpus: int = 0,
        shared: bool = False,
        enough: Enough = lambda use: True,
    ) -> RayCluster:
        """Return a running cluster: the run's own, or one of the ``shape`` that a flow needs.

        It is started or reached on the first call, and again after a flow has cost it its trust, or after it was given
        up for a process that waited for its GPUs.

        Args:
            shape: its nodes; by default those of the run's own cluster.
            gpus: how many GPUs are needed of the run's own cluster, where these are real and the user has not said how
                many it is to have; 0 for all. Then a smaller one will do, so that others have the rest.
            shared: whether others may be on its GPUs too.
            enough: whether the memory that a GPU has free will do.

        Raises:
            ClusterError: it cannot be had; says why.
            LeaseError: it has real GPUs, and other processes have them.
        """
        if self.shape is None:
            if self._attached is None:
                self._attached = self._attach()
                self._notes = self._attached.notes
            return self._attached
        wanted = shape or self.shape
        smallest = self._smallest(wanted, gpus)
        for there, running in self._running.items():
            alone = shared or self._leases is None or self._leases.has_alone(running.real_gpus)
            if alone and (covers(there, wanted) or covers_in_part(there, wanted, smallest)):
                self._running[there] = self._running.pop(there)
                return self._running[there]
        held = self._hold(smallest, sum(wanted.gpus), shared=shared, enough=enough)
        if smallest < sum(wanted.gpus):
            wanted = dataclasses.replace(wanted, gpus=(min(len(held), wanted.gpus[0]),))
        others = [there for there in self._running if there != self.shape]  # tests may be connected to the run's own
        for there in others[: max(0, len(self._running) + 1 - MOST_ALIVE)]:
            self._end(self._running.pop(there))
        self._ending.collect()
        nodes = [NodeShape(gpus=gpus) for gpus in wanted.gpus]
        cluster = self.start(nodes, held, late=wanted.late, namespaces=wanted.namespaces, dashboard=wanted.dashboard)
        self._running[wanted] = cluster
        self._notes = cluster.notes
        return cluster

    def _smallest(self, wanted: Shape, gpus: int) -> int:
        """How many GPUs a cluster where ``wanted`` is asked for must have at least."""
        assert self.shape is not None
        free_size = self._leases is not None and self.spec.shape is None and not wanted.late and not wanted.namespaces
        own = free_size and wanted.gpus == self.shape.gpus
        return min(gpus, wanted.gpus[0]) if own and gpus else sum(wanted.gpus)

    def _hold(
        self, count: int, most: int, *, shared: bool = False, enough: Enough = lambda use: True
    ) -> tuple[Gpu, ...]:
        """Hold the GPUs for a cluster that is to start; all clusters of this process are on the same ones, in turns."""
        if self._leases is None or not most:
            return ()
        return self._leases.hold(count, most=most, shared=shared, enough=enough, give_up=self.give_up)

    def give_up(self) -> str | None:
        """End the clusters that no test is connected to; say why some GPUs are in use all the same, if they are."""
        if self.handed_out or self._further:
            return "a test uses a cluster on them"
        while self._running:
            self._ending.begin(self._running.popitem()[1])
        self._ending.finish()
        return None

    def _end(self, cluster: LocalCluster) -> None:
        """End a cluster, while the next one starts already; not where what is left of it could be on real GPUs."""
        self._ending.begin(cluster)
        if self.device == "cuda":
            self._ending.finish()

    def make_way(self) -> None:
        """Between tests: where another process waits for GPUs that this one holds, give them back."""
        if self._leases is not None and self._leases.wanted() and self.give_up() is None:
            self._leases.release()

    def completed(self, cluster: RayCluster) -> None:
        """Note that the late nodes of a cluster have joined: from now on it has another shape."""
        for shape, running in list(self._running.items()):
            if running is cluster and shape.late and not running.late:
                del self._running[shape]
                self._running[dataclasses.replace(shape, late=0)] = running

    def distrust(self, cluster: RayCluster) -> None:
        """End a cluster on which a flow failed, if it is ours: the next flow gets a fresh one.

        After an engine failed, the next engine's actors on the same cluster can die at once (seen).
        """
        for shape, running in list(self._running.items()):
            if running is cluster:
                with contextlib.suppress(OSError):  # a full disk is no reason to go on with it
                    running.keep_logs("after-failure")
                del self._running[shape]
                self._end(running)

    def make(self, shape: Sequence[NodeShape]) -> LocalCluster:
        """Start one more local cluster; :meth:`release` or the end of the run ends it.

        Raises:
            ClusterError: it did not start.
        """
        count = sum(node.gpus for node in shape)
        self._further.append(self.start(shape, self._hold(count, count)))
        return self._further[-1]

    def release(self, cluster: LocalCluster) -> None:
        """End a cluster that :meth:`make` started."""
        self._further.remove(cluster)
        cluster.close()

    def start(
        self,
        shape: Sequence[NodeShape],
        held: Sequence[Gpu] = (),
        *,
        late: int = 0,
        namespaces: bool = False,
        dashboard: bool = False,
    ) -> LocalCluster:
        """Start a local cluster, which the caller closes; the last ``late`` nodes are left to its ``join``.

        Of the GPUs that are ``held`` it has as many as its nodes declare.

        Raises:
            ClusterError: it did not start.
        """
        assert self._environment.ray is not None
        self._started += 1
        return LocalCluster(
            self._children,
            python=self._python,
            ray=self._environment.ray,
            ray_client=self._environment.ray_client,
            shape=shape,
            late=late,
            namespaces=namespaces,
            dashboard=dashboard,
            device=self.device,
            environment=self._variables,
            token=self._token,
            real_gpus=held[: sum(node.gpus for node in shape)],
            log_folder=self._log_folder / f"cluster-{self._started:02}",
            limit_s=START_LIMIT_S,
        )

    def _attach(self) -> AttachedCluster:
        assert self.spec.address is not None
        return AttachedCluster(
            self._children,
            address=self.spec.address,
            python=self._python,
            versions=describe_versions(self._environment),
            device=self.device,
            environment={**self._variables, **variables_of_attaching(os.environ)},
            log_folder=self._log_folder,
            limit_s=START_LIMIT_S,
        )

    def close(self) -> None:
        """End what this run started."""
        for cluster in (*self._further, *self._running.values()):
            self._ending.begin(cluster)
        self._further.clear()
        self._running.clear()
        self._ending.finish()
        if self._attached is not None:
            self._attached.close()
