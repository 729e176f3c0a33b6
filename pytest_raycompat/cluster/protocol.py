"""What a Ray cluster is to the rest of the plugin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from pytest_raycompat.cluster.observation import Actor, Observer, ObserverError
from pytest_raycompat.gpus import Gpu


class ClusterError(Exception):
    """A cluster cannot be started or reached; says why, what was last seen, and where its logs are."""


@dataclass(frozen=True)
class Node:
    """One node, as Ray sees it."""

    node_id: str
    address: str
    gpus: int


@dataclass(frozen=True)
class NodeShape:
    """A node of a local cluster to be.

    ``gpus`` are declared to Ray; without real ones vLLM's CPU platform runs in their place. ``cpus`` are logical: they
    bound how many tasks Ray places, not what the machine has.
    """

    gpus: int = 0
    cpus: int = 16
    labels: Mapping[str, str] = field(default_factory=dict)


class RayCluster(Protocol):
    """A running cluster, ready for ``ray.init(address=cluster.address)``."""

    @property
    def address(self) -> str:
        """``HOST:PORT`` of the cluster's GCS."""

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The nodes that are alive, the head first."""

    @property
    def gpus(self) -> int:
        """How many GPUs the nodes declare together."""

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables with which a process reaches this cluster (address, token, addresses of the driver)."""

    @property
    def owned(self) -> bool:
        """Whether this run started it, and so may end it."""

    @property
    def device(self) -> Literal["cpu", "cuda"]:
        """What its GPUs are: real, or CPUs that stand in for them."""

    @property
    def real_gpus(self) -> tuple[Gpu, ...]:
        """The GPUs of this machine on which it runs; none for stand-ins, and for a cluster of somebody else."""

    @property
    def observer(self) -> Observer:
        """What looks at the cluster from outside the flows."""

    @property
    def driver_command(self) -> tuple[str, ...]:
        """The command that runs what follows it where a driver must be; empty where that is anywhere."""

    def carried(self) -> dict[str, int]:
        """Return how many bytes the link of each node has carried, by its address; empty without links."""

    @property
    def late(self) -> int:
        """How many of its nodes have yet to join."""

    def join(self) -> None:
        """Let the late nodes join, and wait until they are alive."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know about it, such as that it is not protected by a token."""

    def keep_logs(self, destination: str) -> str | None:
        """Copy Ray's logs into ``<log folder>/destination`` and return the path; None where they are not ours."""

    def close(self) -> None:
        """Let go of it: end what this run started, and nothing else."""


__all__ = [
    "Actor",
    "ClusterError",
    "Node",
    "NodeShape",
    "Observer",
    "ObserverError",
    "RayCluster",
]
