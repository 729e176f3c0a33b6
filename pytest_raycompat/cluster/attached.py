"""A cluster of somebody else, at an address: looked at and used, never stopped."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pytest_raycompat.cluster.observation import Observer, ObserverError
from pytest_raycompat.cluster.protocol import ClusterError, Node
from pytest_raycompat.gpus import Gpu
from pytest_raycompat.processes.children import Children
from pytest_raycompat.processes.ports import accepts

MISMATCH = re.compile(r"The cluster was started with:\s+Ray: (\S+)\s+Python: (\S+)")
"""Ray's own check of both versions, which every driver makes first (ray/_private/utils.py, ``check_version_info``)."""


class AttachedCluster:
    """A running cluster that this run did not start.

    Raises:
        ClusterError: nothing answers at the address, or its Ray or Python is another than the environment's.
    """

    owned = False
    late = 0
    driver_command: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    real_gpus: tuple[Gpu, ...] = ()

    def __init__(
        self,
        children: Children,
        *,
        address: str,
        python: str,
        versions: str,
        device: Literal["cpu", "cuda"],
        environment: Mapping[str, str],
        log_folder: Path,
        limit_s: float,
    ) -> None:
        self.address = address
        self.device = device
        self.environment: dict[str, str] = {**environment, "RAY_ADDRESS": address}
        host, _, port = address.rpartition(":")
        if not accepts(host.strip("[]"), int(port)):
            raise ClusterError(f"nothing listens at {address}: start Ray there, or use --ray-cluster=local")
        self.observer = Observer(children, python, self.environment, log_folder / "observer.log")
        try:
            self.observer.connect(address, limit_s)
            alive = sorted((node for node in self.observer.nodes() if node.alive), key=lambda node: not node.head)
        except ObserverError as error:
            self.observer.close()
            raise ClusterError(explain(error, address, versions)) from None
        self.nodes = tuple(Node(node.node_id, node.address, int(node.gpus)) for node in alive)
        if "VLLM_HOST_IP" not in self.environment and self.nodes[0].address == host:
            self.environment["VLLM_HOST_IP"] = host  # vLLM places its first worker by the driver's address

    @property
    def gpus(self) -> int:
        """How many GPUs its nodes declare together."""
        return sum(node.gpus for node in self.nodes)

    def carried(self) -> dict[str, int]:
        """Nothing is known of its links."""
        return {}

    def join(self) -> None:
        """Nothing is late: its nodes are somebody else's."""

    def keep_logs(self, destination: str) -> str | None:
        """Its logs are on its own machines: nothing to keep."""
        return None

    def close(self) -> None:
        """Stop looking at it; the cluster itself goes on."""
        self.observer.close()


def explain(error: ObserverError, address: str, versions: str) -> str:
    """Say why a driver could not connect, and what would be right."""
    mismatch = MISMATCH.search(str(error))
    if mismatch:
        return (
            f"the cluster at {address} runs Ray {mismatch[1]} with Python {mismatch[2]}, the environment under test "
            f"has {versions}: both must be equal; choose another with --raycompat-python"
        )
    if error.type_name in ("AuthenticationError", "ConnectionError"):
        return (
            f"the cluster at {address} does not let us in ({error.type_name}: {error}); if it uses token "
            "authentication, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH"
        )
    return f"cannot connect to the cluster at {address}: {error.type_name}: {error}"
