"""What ``--ray-cluster=auto`` means here, and what of the environment a running cluster is reached with."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_raycompat.cluster.spec import ClusterSpec, parse_cluster_spec
from pytest_raycompat.processes.ports import accepts


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


def variables_of_attaching(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that Ray and vLLM read to reach a running cluster."""
    return {key: value for key, value in environ.items() if key.startswith("RAY_") or key == "VLLM_HOST_IP"}
