"""Clusters that have been asked to end and are not waited for: the next one starts meanwhile."""

from __future__ import annotations

from pytest_raycompat.cluster.local import LocalCluster


class Ending:
    """The clusters of a run that are on their way out."""

    def __init__(self) -> None:
        self._clusters: list[LocalCluster] = []

    def begin(self, cluster: LocalCluster) -> None:
        """Ask a cluster to end, and take away those that have done so since."""
        cluster.ask_to_end()
        self._clusters.append(cluster)
        self.collect()

    def collect(self) -> None:
        """Take away what is left of the clusters that have ended by themselves."""
        for cluster in [one for one in self._clusters if one.has_ended]:
            self._clusters.remove(cluster)
            cluster.close()

    def finish(self) -> None:
        """Wait until all have ended."""
        while self._clusters:
            self._clusters.pop().close()
