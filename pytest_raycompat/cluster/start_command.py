"""How a node of a local cluster is started with ``ray start``: options, variables, and what it says."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from pytest_raycompat.cluster.protocol import NodeShape
from pytest_raycompat.processes.ports import free_port
from pytest_raycompat.versions import satisfies

PROGRAM = "pytest_raycompat.cluster.start_program"
"""The module that is run to start a node; the benchmark of the suites takes Ray's own."""
STARTED = "Ray runtime started."
"""What ``ray start`` prints once its raylet is up (Ray 2.35.0 to 2.60.0, ray/scripts/scripts.py)."""
LABELS_AS_PAIRS_SINCE = ">=2.46"
"""``ray start --labels`` takes ``key=value,…``; a JSON object before."""
PRESTART_VARIABLE = "RAY_prestart_worker_first_driver"
"""Whether a node starts a worker for each of its CPUs with the first driver, most of which would never work
(``prestart_worker_first_driver`` in src/ray/common/ray_config_def.h, Ray 2.35.0 to 2.60.0)."""
REPORTER_VARIABLE = "REPORTER_UPDATE_INTERVAL_MS"
"""How often a node's dashboard agent reads its processes and GPUs, each time with NVML started and stopped, every 5 s
by default (ray/dashboard/modules/reporter/reporter_consts.py, Ray 2.35.0 to 2.60.0). Nobody looks at the dashboard of
these clusters, and the GPUs' driver makes all others of the host wait meanwhile: see ``driver`` of ``gpus``."""
REPORTER_INTERVAL_MS = 60_000
OBJECT_STORE_BYTES = 256 * 1024**2


def head_options(address: str, folder: Path, dashboard: bool, ray_client: bool) -> list[str]:
    """Return the options of the head alone.

    Args:
        address: where its GCS is to listen.
        folder: what Ray writes goes there.
        dashboard: whether it is to run.
        ray_client: whether this Ray starts its client server with the head.
    """
    host, port = address.split(":")
    options = [
        "--head",
        f"--port={port}",
        f"--temp-dir={folder}",
        f"--include-dashboard={str(dashboard).lower()}",
        f"--dashboard-host={host}",
        f"--dashboard-port={free_port()}",
        "--disable-usage-stats",
    ]
    return [*options, f"--ray-client-server-port={free_port()}"] if ray_client else options


def node_options(shape: NodeShape, address: str, ray: str) -> list[str]:
    """Return the options of every node: what it declares, and ports that no other node has."""
    options = [
        f"--node-ip-address={address}",
        f"--num-gpus={shape.gpus}",
        f"--num-cpus={shape.cpus}",
        f"--object-store-memory={OBJECT_STORE_BYTES}",
        f"--dashboard-agent-listen-port={free_port()}",
        "--min-worker-port=0",  # any free one: fixed ranges of several nodes on a machine collide
        "--max-worker-port=0",
    ]
    return [*options, f"--labels={written(shape.labels, ray)}"] if shape.labels else options


def written(labels: Mapping[str, str], ray: str) -> str:
    """Write a node's labels as this Ray reads them."""
    if satisfies(ray, LABELS_AS_PAIRS_SINCE):
        return ",".join(f"{key}={value}" for key, value in labels.items())
    return json.dumps(dict(labels))


def node_variables(environment: Mapping[str, str], address: str) -> dict[str, str]:
    """Return the environment of a node, from that of the cluster's clients; its GPUs are not in it."""
    variables = {key: value for key, value in environment.items() if key != "RAY_ADDRESS"}
    variables["VLLM_HOST_IP"] = address
    variables[PRESTART_VARIABLE] = "0"
    variables.setdefault(REPORTER_VARIABLE, str(REPORTER_INTERVAL_MS))
    return variables


def reason_in(log: Path) -> str:
    """Find what a `ray start` that failed said last."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", log.read_text(errors="replace"))
    lines = [line.strip() for line in plain.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b", line)]
    return (errors or lines or ["it printed nothing"])[-1]
