"""A vLLM worker extension through which every rank says where it runs.

Named as ``worker_extension_cls``; vLLM adds the method to its worker class, and
``collective_rpc`` calls it on each rank.
"""

from __future__ import annotations

import os
from typing import Any


def own_variables() -> dict[str, str]:
    """Return the environment variables that were set to be found here."""
    return {name: value for name, value in os.environ.items() if name.startswith("RAYCOMPAT_")}


class WorkerEvidence:
    """Adds one method to vLLM's worker."""

    rank: int

    def raycompat_evidence(self) -> dict[str, Any]:
        """Tell this rank's process and, where it runs in one, its Ray actor, node and GPUs."""
        evidence: dict[str, Any] = {"rank": self.rank, "pid": os.getpid(), "actor_id": None}
        evidence["variables"] = own_variables()
        try:
            import ray
        except ImportError:
            return evidence
        if not ray.is_initialized():
            return evidence
        context = ray.get_runtime_context()
        evidence["actor_id"] = context.get_actor_id()
        evidence["node_id"] = context.get_node_id()
        evidence["gpu_ids"] = [str(gpu) for gpu in context.get_accelerator_ids().get("GPU", [])]
        return evidence
