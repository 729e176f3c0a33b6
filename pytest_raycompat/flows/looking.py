"""What Ray says of a flow: before it, while its engine is up, and after it."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Any

import msgspec
import psutil

from pytest_raycompat.cluster.protocol import ObserverError, RayCluster
from pytest_raycompat.flows.belonging import actors_of

RELEASE_LIMIT_S = 30.0
"""How long Ray may take to have a flow's GPUs and actors back after its process has ended."""
LOOK_EVERY_S = 0.2


class Look:
    """Looks at the cluster on which one flow runs.

    Args:
        cluster: where it runs.
        session: the session that the flow's processes are in.
    """

    def __init__(self, cluster: RayCluster, session: int) -> None:
        self.cluster = cluster
        self._session = session
        self._processes: dict[str, list[psutil.Process]] = {}

    def before(self) -> dict[str, Any]:
        """Note what the cluster is like before the flow's engine is up."""
        nodes = [node for node in self.cluster.observer.nodes() if node.alive]
        return {
            "nodes": [node.node_id for node in nodes],
            "head": next((node.node_id for node in nodes if node.head), None),
            "gpus_in_cluster": sum(node.gpus for node in nodes),
            "free_gpus_before": sum(node.free_gpus for node in nodes),
            "carried_before": self.cluster.carried(),
        }

    def during(self, jobs: Collection[str]) -> dict[str, Any]:
        """Note, while the flow's engine is up, which actors it has and which GPUs are held.

        Args:
            jobs: ids of jobs that are known to be the flow's.
        """
        actors = actors_of(self.cluster.observer.actors(), self._session, jobs)
        nodes = [node for node in self.cluster.observer.nodes() if node.alive]
        if self.cluster.owned:  # on machines that are not this one, process ids mean nothing here
            self._processes = {actor.actor_id: with_children(actor.pid) for actor in actors}
        return {
            "actors": msgspec.to_builtins(actors),
            "jobs": sorted({actor.job_id for actor in actors}),
            "free_gpus_during": sum(node.free_gpus for node in nodes),
            "carried_during": self.cluster.carried(),
        }

    def after(self, jobs: Collection[str], kept: Collection[str] = ()) -> dict[str, Any]:
        """Wait until Ray has back what the flow held, and the processes of its actors are gone.

        That they stay is the subject of https://github.com/vllm-project/vllm/issues/20860.

        Args:
            jobs: ids of jobs that are known to be the flow's.
            kept: ids of actors that are not to end: Ray's libraries share some for the lifetime of a cluster.

        Returns:
            ``released_after_s``, or ``not_released`` with what is still held after the limit.
        """
        began = time.monotonic()
        held = "Ray did not answer"
        while time.monotonic() - began < RELEASE_LIMIT_S:
            try:
                nodes = [node for node in self.cluster.observer.nodes() if node.alive]
                actors = actors_of(self.cluster.observer.actors(), self._session, jobs)
                actors = [actor for actor in actors if actor.actor_id not in kept]
            except ObserverError as error:
                return {"not_released": str(error)}
            busy = sum(node.gpus - node.free_gpus for node in nodes) if self.cluster.owned else 0
            processes = [one for actor, theirs in self._processes.items() if actor not in kept for one in theirs]
            running = [process for process in processes if is_running(process)]
            if not actors and not busy and not running:
                return {"released_after_s": round(time.monotonic() - began, 3)}
            held = f"{busy:g} GPUs held, {len(actors)} actors alive"
            if running:
                held += f", processes running: {', '.join(map(described, running))}"
            time.sleep(LOOK_EVERY_S)
        return {"not_released": f"after {RELEASE_LIMIT_S:.0f} s: {held}"}


def with_children(pid: int) -> list[psutil.Process]:
    """Return a process, and those that it has started."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def is_running(process: psutil.Process) -> bool:
    """Whether a process, not another one with its number, is still there and more than its exit status."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def described(process: psutil.Process) -> str:
    """Name a process as ``ps`` does: ``ray::RayWorkerProc (4711)``."""
    try:
        written = " ".join(" ".join(process.cmdline()).split())  # Ray's processes pad their titles
        return f"{written[:60] or process.name()} ({process.pid})"
    except psutil.NoSuchProcess:
        return f"({process.pid})"
