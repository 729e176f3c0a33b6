"""What ``--ray-cluster`` may say."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

FORMS = "off, auto, local, local:NODESxGPUS (such as local:2x1) or HOST:PORT"


@dataclass(frozen=True)
class ClusterSpec:
    """A parsed ``--ray-cluster``."""

    kind: Literal["off", "auto", "local", "address"]
    nodes: int | None = None
    gpus_per_node: int | None = None
    address: str | None = None


def parse_cluster_spec(text: str) -> ClusterSpec:
    """Parse the value of ``--ray-cluster``.

    Raises:
        ValueError: says what is wrong and which forms are right.
    """
    if text == "off":
        return ClusterSpec("off")
    if text == "auto":
        return ClusterSpec("auto")
    if text == "local":
        return ClusterSpec("local")
    if text.startswith("local:"):
        shape = re.fullmatch(r"local:(\d+)x(\d+)", text)
        if shape is None:
            raise ValueError(f"{text!r} is not a shape: write local:NODESxGPUS, such as local:2x1 for 2 nodes of 1 GPU")
        nodes, gpus = int(shape[1]), int(shape[2])
        if not 1 <= nodes <= 64:
            raise ValueError(f"{text!r} asks for {nodes} nodes: write 1 to 64")
        return ClusterSpec("local", nodes=nodes, gpus_per_node=gpus)
    if text.startswith("ray://"):
        raise ValueError(f"{text!r} is a Ray Client address, which vLLM cannot use: write the HOST:PORT of the GCS")
    address = re.fullmatch(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:]+\]):(\d+)", text)
    if address is None:
        raise ValueError(f"{text!r} is not a cluster: write {FORMS}")
    if not 1 <= int(address[2]) <= 65535:
        raise ValueError(f"{text!r} has port {address[2]}: write 1 to 65535")
    return ClusterSpec("address", address=text)
