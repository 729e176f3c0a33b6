"""Nodes that join while a flow waits for them."""

from __future__ import annotations

import time
from typing import Any

from pytest_raycompat.cluster.protocol import RayCluster

LOOK_EVERY_S = 1.0


class LateNodes:
    """Lets the late nodes of a cluster join once a placement group waits for their GPUs.

    Args:
        cluster: where the flow runs; None for a control.
    """

    def __init__(self, cluster: RayCluster | None) -> None:
        self._cluster = cluster if cluster is not None and cluster.late else None
        self._looked_at = 0.0

    def look(self) -> dict[str, Any]:
        """Look whether they are waited for, at most once a second, and let them join.

        Returns:
            The evidence: ``waited_for``, the bundles that no node could place, and ``joined_after_s``.

        Raises:
            ClusterError: they did not join.
            ObserverError: Ray did not answer.
        """
        if self._cluster is None or time.monotonic() - self._looked_at < LOOK_EVERY_S:
            return {}
        self._looked_at = time.monotonic()
        waiting = self._cluster.observer.pending()
        if not waiting:
            return {}
        cluster, self._cluster = self._cluster, None
        before = len(cluster.nodes)
        cluster.join()
        return {
            "waited_for": waiting,
            "nodes_before": before,
            "joined_after_s": round(time.monotonic() - self._looked_at, 3),
            "nodes": [node.node_id for node in cluster.nodes],
            "gpus_in_cluster": cluster.gpus,
            "free_gpus_before": cluster.gpus,
        }
