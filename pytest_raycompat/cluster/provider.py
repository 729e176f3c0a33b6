"""Gives the run its cluster: decides which, starts it when it is first needed, and replaces one that lost its trust."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pytest_raycompat.cluster.attached import AttachedCluster
from pytest_raycompat.cluster.local import LocalCluster, accepts
from pytest_raycompat.cluster.observation import Observer
from pytest_raycompat.cluster.protocol import ClusterError, Node, NodeShape, RayCluster
from pytest_raycompat.cluster.spec import ClusterSpec, parse_cluster_spec
from pytest_raycompat.environment import describe_versions
from pytest_raycompat.gpus import Gpu
from pytest_raycompat.markers import plural
from pytest_raycompat.processes.children import Children
from pytest_raycompat.records import Environment

START_LIMIT_S = 90.0
STAND_INS = 2
"""How many GPUs a local cluster declares where there is none: enough for tensor_parallel_size=2."""


def resolve(spec: ClusterSpec, environ: Mapping[str, str]) -> tuple[ClusterSpec, str | None]:
    """Decide what ``auto`` means here; return it with a note on what was looked at, if anything."""
    if spec.kind != "auto":
        return spec, None
    address = environ.get("RAY_ADDRESS")
    if not address:
        return ClusterSpec("local"), None
    try:
        found = parse_cluster_spec(address)
    except ValueError as error:
        return ClusterSpec("local"), f"RAY_ADDRESS is not used: {error}"
    if found.kind != "address":
        return ClusterSpec("local"), f"RAY_ADDRESS={address} is not an address"
    host, _, port = address.rpartition(":")
    if accepts(host.strip("[]"), int(port)):
        return found, "from RAY_ADDRESS"
    return ClusterSpec("local"), f"nothing listens at RAY_ADDRESS={address}"


class ClusterProvider:
    """The run's cluster, and further ones for tests that break theirs.

    Args:
        spec: what the user asked for; not ``off``.
        children: starts and ends processes.
        environment: the environment under test.
        python: its interpreter.
        device: what flows run on.
        gpus: the real GPUs that may be used.
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
        gpus: Sequence[Gpu],
        variables: Mapping[str, str],
        token: Path,
        log_folder: Path,
    ) -> None:
        self.spec, self.note = resolve(spec, os.environ)
        self._children = children
        self._environment = environment
        self._python = python
        self._device = device
        self._gpus = tuple(gpus)
        self._variables = variables
        self._token = token
        self._log_folder = log_folder
        self._shape = self._default_shape() if self.spec.kind == "local" else ()
        self._current: RayCluster | None = None
        self._further: list[RayCluster] = []
        self._distrusted: str | None = None

    def _default_shape(self) -> tuple[NodeShape, ...]:
        real = len(self._gpus)
        nodes = self.spec.nodes or 1
        each = self.spec.gpus_per_node
        if each is None:
            each = real if self._device == "cuda" else STAND_INS
        if self._device == "cuda" and nodes * each > real:
            raise ClusterError(f"{plural(nodes, 'node')} of {plural(each, 'GPU')} were asked for, {real} GPUs are here")
        return (NodeShape(gpus=each),) * nodes

    @property
    def gpus(self) -> int:
        """How many GPUs the cluster has, or will have once it runs."""
        if self._shape:
            return sum(node.gpus for node in self._shape)
        return self.get().gpus

    @property
    def nodes(self) -> int:
        """How many nodes it has, or will have once it runs."""
        return len(self._shape) or len(self.get().nodes)

    @property
    def written(self) -> str:
        """What ``--ray-cluster`` says of a cluster like this one."""
        if not self._shape:
            return self.spec.address or ""
        return f"local:{len(self._shape)}x{self._shape[0].gpus}"

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know about the cluster that was started or reached; empty before."""
        return self._current.notes if self._current is not None else ()

    def describe(self) -> str:
        """Say what it is: ``local cluster of 1 node with 2 stand-in GPUs``."""
        if not self._shape:
            return f"cluster at {self.spec.address}"
        kind = "GPU" if self._device == "cuda" else "stand-in GPU"
        return f"local cluster of {plural(self.nodes, 'node')} with {plural(self._shape[0].gpus, kind)}" + (
            " each" if self.nodes > 1 else ""
        )

    def get(self) -> RayCluster:
        """Return the cluster, started or reached on the first call, or after a flow has cost it its trust.

        Raises:
            ClusterError: it cannot be had; says why.
        """
        if self._distrusted is not None and self._current is not None and self._current.owned:
            self._end_current()
        self._distrusted = None
        if self._current is None:
            self._current = self._attach() if self.spec.kind == "address" else self.start(self._shape)
        return self._current

    def _end_current(self) -> None:
        if self._current is None:
            return
        if self._distrusted is not None:
            self._current.keep_logs("cluster-after-failure")
        self._current.close()
        self._current = None

    def distrust(self, reason: str) -> None:
        """Give the next flow a fresh cluster, if this one is ours.

        After an engine failed, the next engine's actors on the same cluster can die at once (seen).
        """
        self._distrusted = reason

    def make(self, shape: Sequence[NodeShape]) -> RayCluster:
        """Start one more local cluster; :meth:`release` or the end of the run ends it.

        Raises:
            ClusterError: it did not start.
        """
        cluster = self.start(shape)
        self._further.append(cluster)
        return cluster

    def release(self, cluster: RayCluster) -> None:
        """End a cluster that :meth:`make` started."""
        self._further.remove(cluster)
        cluster.close()

    def start(self, shape: Sequence[NodeShape]) -> LocalCluster:
        """Start a local cluster, which the caller closes.

        Raises:
            ClusterError: it did not start.
        """
        assert self._environment.ray is not None
        return LocalCluster(
            self._children,
            python=self._python,
            ray=self._environment.ray,
            ray_client=self._environment.ray_client,
            shape=shape,
            device=self._device,
            environment=self._variables,
            token=self._token,
            gpu_ids=[gpu.id for gpu in self._gpus],
            log_folder=self._log_folder,
            limit_s=START_LIMIT_S,
        )

    def _attach(self) -> AttachedCluster:
        assert self.spec.address is not None
        theirs = {key: value for key, value in os.environ.items() if key.startswith("RAY_") or key == "VLLM_HOST_IP"}
        return AttachedCluster(
            self._children,
            address=self.spec.address,
            python=self._python,
            versions=describe_versions(self._environment),
            device=self._device,
            environment={**self._variables, **theirs},
            log_folder=self._log_folder,
            limit_s=START_LIMIT_S,
        )

    def close(self) -> None:
        """End what this run started."""
        for cluster in self._further:
            cluster.close()
        self._further.clear()
        self._end_current()


class CurrentCluster:
    """The run's cluster as a fixture may keep it: whichever it is by now, after a failed flow a fresh one."""

    def __init__(self, provider: ClusterProvider) -> None:
        self._provider = provider
        provider.get()

    @property
    def address(self) -> str:
        """``HOST:PORT`` of its GCS."""
        return self._provider.get().address

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The nodes that are alive, the head first."""
        return self._provider.get().nodes

    @property
    def gpus(self) -> int:
        """How many GPUs the nodes declare together."""
        return self._provider.get().gpus

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables with which a process reaches it."""
        return self._provider.get().environment

    @property
    def owned(self) -> bool:
        """Whether this run started it."""
        return self._provider.get().owned

    @property
    def device(self) -> Literal["cpu", "cuda"]:
        """What its GPUs are."""
        return self._provider.get().device

    @property
    def observer(self) -> Observer:
        """What looks at it from outside the flows."""
        return self._provider.get().observer

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know about it."""
        return self._provider.get().notes
