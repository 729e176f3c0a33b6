"""Looks at a Ray cluster for the runner: a small driver in the environment under test.

It imports Ray while the cluster is still starting, then answers one JSON line for each JSON line it reads:
``{"ask": "connect", "address": …}``, ``{"ask": "nodes"}``, ``{"ask": "actors"}``, ``{"ask": "pending"}``. A question
has a ``number``, which its answer has too: the one who asked may have given up on the answer before.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

NO_NODE_YET = "No node info found"
REGISTER_LIMIT_S = 120.0
"""The runner has a limit of its own, which is shorter on a machine that is not overloaded."""


def nodes() -> list[dict[str, Any]]:
    """List the nodes with what they declare and what of it is free."""
    import ray
    from ray._private.state import available_resources_per_node

    free = available_resources_per_node()
    return [
        {
            "node_id": node["NodeID"],
            "address": node["NodeManagerAddress"],
            "alive": node["Alive"],
            "head": "node:__internal_head__" in node["Resources"],
            "gpus": node["Resources"].get("GPU", 0),
            "free_gpus": free.get(node["NodeID"], {}).get("GPU", 0),
        }
        for node in ray.nodes()
    ]


def actors() -> list[dict[str, Any]]:
    """List the actors that are alive, with the driver whose job they belong to."""
    from ray._private import state

    jobs = {job["JobID"]: job for job in state.jobs()}
    found = []
    for actor in state.actors().values():
        if actor["State"] != "ALIVE":
            continue
        job = jobs.get(actor["JobID"], {})
        found.append(
            {
                "actor_id": actor["ActorID"],
                "class_name": actor["ActorClassName"],
                "name": actor["Name"],
                "node_id": actor["Address"]["NodeID"],
                "pid": actor["Pid"],
                "job_id": actor["JobID"],
                "driver_address": job.get("DriverIPAddress", ""),
                "driver_pid": job.get("DriverPid", 0),
            }
        )
    return found


def pending() -> list[dict[str, float]]:
    """List what the placement groups ask for that wait for resources."""
    import ray

    groups = ray.util.placement_group_table().values()
    return [bundle for group in groups if group["state"] == "PENDING" for bundle in group["bundles"].values()]


def connect(address: str) -> dict[str, Any]:
    """Become a driver of the cluster at ``address``.

    The head may not have registered yet: Ray 2.54.1 gives up at once then, where others wait for it
    (``get_node_to_connect_for_driver``, ray/_private/services.py).
    """
    import ray

    began = time.monotonic()
    while True:
        try:
            ray.init(address=address, log_to_driver=False, logging_level="ERROR", namespace="pytest-raycompat-observer")
            break
        except ConnectionError as error:
            if NO_NODE_YET not in str(error.__context__) or time.monotonic() - began > REGISTER_LIMIT_S:
                raise
        ray.shutdown()
        time.sleep(0.1)
    return {"ray": ray.__version__, "address": ray.get_runtime_context().gcs_address}


def answer(question: dict[str, Any]) -> Any:
    """Answer one question."""
    asked = question["ask"]
    if asked == "connect":
        return connect(question["address"])
    if asked == "nodes":
        return nodes()
    if asked == "actors":
        return actors()
    if asked == "pending":
        return pending()
    raise ValueError(f"unknown question {asked!r}")


def main() -> None:
    """Answer questions until standard input ends."""
    stream = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # Ray and its libraries print; the answers stay alone on their stream
    import ray  # noqa: F401  # slow, and wanted before the cluster is there

    stream.write(json.dumps({"number": 0, "answer": "imported"}) + "\n")
    for line in sys.stdin:
        question = json.loads(line)
        try:
            reply = {"answer": answer(question)}
        except Exception as error:  # told to the runner, which decides
            reply = {"error": {"type": type(error).__name__, "message": str(error)}}
        stream.write(json.dumps({"number": question["number"], **reply}) + "\n")


if __name__ == "__main__":
    main()
