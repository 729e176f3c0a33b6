"""Where a flow runs: the machine to itself, or GPUs and a cluster on them that no other flow has."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pytest_raycompat.cluster.protocol import ClusterError, RayCluster
from pytest_raycompat.cluster.spec import Shape
from pytest_raycompat.flows import proof
from pytest_raycompat.flows.needs import enough_memory
from pytest_raycompat.flows.registry import Flow
from pytest_raycompat.gpus import Gpu
from pytest_raycompat.lease import hold_machine, lease_path
from pytest_raycompat.markers import NOTHING_ASKED, Asked, plural

if TYPE_CHECKING:
    from pytest_raycompat.session import Session

FREE_LIMIT_S = 30.0
"""How long a flow waits for GPUs that somebody else holds in Ray."""


class Places:
    """Finds flows a place.

    Args:
        session: the environment under test, its cluster and its GPUs.
        show: told what is waited for, and the seconds that have gone and are left.
    """

    def __init__(self, session: Session, show: Callable[[str, float, float], None]) -> None:
        self._session = session
        self._show = show

    @contextlib.contextmanager
    def machine(self, flow: Flow, *, on_ray: bool) -> Iterator[None]:
        """Keep the machine from the flows of other processes.

        Not for a flow without vLLM and Ray, nor where GPUs of this machine are leased one by one. Those of an attached
        cluster are not: nothing tells which of them Ray will give.
        """
        session = self._session
        alone = session.leases is None or (on_ray and session.clusters.shape is None)
        if not alone or not (on_ray or flow.needs_vllm):
            yield
            return
        with hold_machine(lease_path(), lambda by, gone, left: self._show(f"waiting for {by}", gone, left)):
            yield

    def shares(self, flow: Flow, parameters: Mapping[str, Any], asked: Asked = NOTHING_ASKED) -> int:
        """Say into how many shares a GPU is divided, of which a flow has one.

        It is 1 where the flow has its GPUs alone: also where it is to have more of the memory free than a share.
        """
        return 1 if asked.alone or not flow.shares(parameters) else self._divided(asked)

    def shares_later(self, flow: Flow, parameters: Mapping[str, Any], asked: Asked = NOTHING_ASKED) -> int:
        """Say the same of a flow that has its GPUs alone, for when it lets others onto them; 1 where it never does."""
        alone = self.shares(flow, parameters, asked) == 1
        return self._divided(asked) if alone and flow.alone_until and flow.may_share(parameters) else 1

    def _divided(self, asked: Asked) -> int:
        leases = self._session.leases
        if leases is None or not leases.gpus:
            return 1
        share_gb = min(gpu.memory_gb for gpu in leases.gpus) / leases.shares
        return leases.shares if asked.memory_gb <= share_gb else 1

    def gpus(self, flow: Flow, parameters: Mapping[str, Any], asked: Asked) -> tuple[Gpu, ...]:
        """Return the GPUs for a flow without Ray, which this process holds from now on; none where it needs none.

        Raises:
            LeaseError: they could not be had.
        """
        leases = self._session.leases
        if leases is None or not flow.needs_vllm:
            return ()
        count, shares = proof.gpus(parameters), self.shares(flow, parameters, asked)
        enough = enough_memory(flow, parameters, asked.memory_gb, shares)
        held = leases.hold(count, shared=shares > 1, enough=enough, give_up=self._session.give_up_clusters)[:count]
        leases.wait_for_memory(held, enough)
        return held

    def cluster(
        self, flow: Flow, parameters: Mapping[str, Any], shape: Shape | None, asked: Asked, *, own: bool
    ) -> RayCluster:
        """Return a cluster once it has the GPUs free that a flow needs.

        Args:
            flow: what is to run.
            parameters: with what.
            shape: the nodes that it is to have.
            asked: what each GPU must have.
            own: whether the run's own cluster will do, whatever its size, as the flow asks for none.

        Raises:
            ClusterError: it cannot be had.
            LeaseError: its GPUs cannot be had.
        """
        shares = self.shares(flow, parameters, asked)
        enough = enough_memory(flow, parameters, asked.memory_gb, shares)
        needed = proof.gpus(parameters) if own else 0
        cluster = self._session.clusters.get(shape, gpus=needed, shared=shares > 1, enough=enough)
        if self._session.leases is not None:
            self._session.leases.wait_for_memory(cluster.real_gpus, enough)
        self._wait_for_ray(cluster, min(proof.gpus(parameters), cluster.gpus))  # late nodes bring the rest
        return cluster

    def _wait_for_ray(self, cluster: RayCluster, needed: int) -> None:
        began = time.monotonic()
        while True:
            free = sum(node.free_gpus for node in cluster.observer.nodes() if node.alive)
            waited = time.monotonic() - began
            if free >= needed:
                return
            if waited > FREE_LIMIT_S:
                holders = ", ".join(f"{actor.class_name} (pid {actor.pid})" for actor in cluster.observer.actors())
                raise ClusterError(
                    f"{plural(needed, 'GPU')} are needed, {free:g} of {cluster.gpus} are free after {waited:.0f} s; "
                    f"actors alive: {holders or 'none'}"
                )
            self._show("waiting for GPUs", waited, FREE_LIMIT_S - waited)
            time.sleep(1.0)
