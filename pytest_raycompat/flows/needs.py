"""What a flow needs, against what there is: decided in a moment, before anything is started."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pytest_raycompat.cluster.spec import Shape
from pytest_raycompat.flows import proof
from pytest_raycompat.flows.engine import UTILIZATION
from pytest_raycompat.flows.registry import Flow
from pytest_raycompat.gpu_lease import Enough
from pytest_raycompat.gpus import Use
from pytest_raycompat.markers import plural
from pytest_raycompat.versions import is_version, satisfies

if TYPE_CHECKING:
    from pytest_raycompat.session import Session


WITHOUT_VLLM_GB = 1.0
SHARE_GB = 4.0
"""What a flow that shares its GPUs is to have of each: its KV cache, the model, and CUDA's and NCCL's own memory."""
SHARING_VLLM = ">=0.10.2"
"""The vLLM that can be told how much its KV cache takes (``kv_cache_memory_bytes``, vllm/config/cache.py, 0.10.2)."""


class NeedsNotMet(Exception):
    """A flow needs what is not there; says what, and what was found."""


def shape_for(session: Session, flow: Flow, parameters: Mapping[str, Any], shape: Shape | None) -> Shape | None:
    """Check what a flow needs, and return the shape of the local cluster for it.

    vLLM itself waits half an hour for GPUs that never come (``PG_WAIT_TIMEOUT``, vllm/v1/executor/ray_utils.py).

    Args:
        session: the environment under test, its cluster and its GPUs.
        flow: what is to run.
        parameters: with what.
        shape: the nodes that it asks for, if any.

    Returns:
        None for a cluster that is somebody else's, or without Ray.

    Raises:
        NeedsNotMet: something is not there.
        ClusterError: a cluster that must be asked cannot be reached.
    """
    check_engine(session, flow, parameters)
    needed = proof.gpus(parameters)
    needs = f"needs {plural(needed, 'GPU')}"
    if not flow.on_ray(parameters):
        if session.device == "cuda" and needed > len(session.visible_gpus):
            raise NeedsNotMet(f"{needs}, found {len(session.visible_gpus)} on this machine")
        return None
    if not session.settings.active:
        raise NeedsNotMet("it runs on Ray, and there is no cluster: use --ray-cluster=auto")
    unsuited = session.clusters.unsuited(shape) if shape is not None else None
    if unsuited is not None:
        raise NeedsNotMet(unsuited)
    there = sum(shape.gpus) if shape is not None else session.clusters.gpus
    if needed > there:
        raise NeedsNotMet(f"{needs}, found {there} ({session.clusters.describe()}); try --ray-cluster=local:1x{needed}")
    if session.clusters.shape is None:
        return None
    return dataclasses.replace(shape or session.clusters.shape, dashboard=flow.dashboard)


def enough_memory(flow: Flow, parameters: Mapping[str, Any], memory_gb: float, shares: int = 1) -> Enough:
    """Return what tells whether a GPU has enough memory free for a flow.

    Args:
        flow: what is to run.
        parameters: with what; ``gpu_memory_utilization`` counts.
        memory_gb: what must be free whatever the flow takes, in GiB.
        shares: how many flows may be on the GPU, this one among them.
    """
    share = float(parameters.get("gpu_memory_utilization", UTILIZATION)) / shares if flow.needs_vllm else 0.0

    def enough(use: Use) -> bool:
        return use.free_gb >= max(share * use.gpu.memory_gb, memory_gb, WITHOUT_VLLM_GB)

    return enough


def may_share(vllm: str) -> bool:
    """Tell whether engines of this vLLM can be on a GPU together without measuring each other's memory."""
    return not is_version(vllm) or satisfies(vllm, SHARING_VLLM)


def check_engine(session: Session, flow: Flow, parameters: Mapping[str, Any]) -> None:
    """Check that there is a vLLM with the executor that is asked for.

    Raises:
        NeedsNotMet: there is not.
    """
    if not flow.needs_vllm:
        return
    environment = session.environment
    if environment.vllm is None:
        raise NeedsNotMet(f"vLLM is not installed for {session.settings.python}")
    executor = parameters.get("executor")
    if executor not in (None, "ray", *environment.executors):
        has = ", ".join(environment.executors)
        raise NeedsNotMet(f"vLLM {environment.vllm} has no executor {executor}; it has {has}")
