"""What ``--ray-cluster`` may say, and the shape of a local cluster."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

FORMS = "off, auto, local, local:NODESxGPUS (such as local:2x1) or HOST:PORT"
MOST_NODES = 64
LATE = "late:"
NAMESPACES = ",namespaces"


@dataclass(frozen=True)
class Shape:
    """The nodes of a local cluster.

    ``gpus`` are those of each node, the head first. The last ``late`` of the nodes join only once something waits for
    their GPUs. With ``namespaces`` each is in a network namespace of its own. ``dashboard`` tells whether Ray's
    dashboard runs on the head, which the jobs API needs.
    """

    gpus: tuple[int, ...]
    late: int = 0
    namespaces: bool = False
    dashboard: bool = False

    @property
    def written(self) -> str:
        """How ``--ray-cluster`` says it: ``local:2x1``, ``local:0+1+1``, ``local:1+late:1,namespaces``."""
        end = NAMESPACES if self.namespaces else ""
        if len(set(self.gpus)) == 1 and not self.late:
            return f"local:{len(self.gpus)}x{self.gpus[0]}{end}"
        first_late = len(self.gpus) - self.late
        each = [f"{LATE if index >= first_late else ''}{gpus}" for index, gpus in enumerate(self.gpus)]
        return f"local:{'+'.join(each)}{end}"


@dataclass(frozen=True)
class ClusterSpec:
    """A parsed ``--ray-cluster``."""

    kind: Literal["off", "auto", "local", "address"]
    shape: Shape | None = None
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
        return ClusterSpec("local", shape=parse_shape(text))
    if text.startswith("ray://"):
        raise ValueError(f"{text!r} is a Ray Client address, which vLLM cannot use: write the HOST:PORT of the GCS")
    address = re.fullmatch(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:]+\]):(\d+)", text)
    if address is None:
        raise ValueError(f"{text!r} is not a cluster: write {FORMS}")
    if not 1 <= int(address[2]) <= 65535:
        raise ValueError(f"{text!r} has port {address[2]}: write 1 to 65535")
    return ClusterSpec("address", address=text)


def parse_shape(text: str) -> Shape:
    """Parse ``local:NODESxGPUS``, or the GPUs of each node: ``local:0+1+1``, ``local:1+late:1,namespaces``.

    Raises:
        ValueError: says what is wrong and what would be right.
    """
    nodes = text.removesuffix(NAMESPACES)
    uniform = re.fullmatch(r"local:(\d+)x(\d+)", nodes)
    each = re.fullmatch(rf"local:\d+(\+\d+)*(\+{LATE}\d+)*", nodes) if "+" in nodes else None
    if uniform is not None:
        gpus, late = (int(uniform[2]),) * int(uniform[1]), 0
    elif each is not None:
        items = nodes.removeprefix("local:").split("+")
        gpus = tuple(int(item.removeprefix(LATE)) for item in items)
        late = sum(item.startswith(LATE) for item in items)
    else:
        raise ValueError(
            f"{text!r} is not a shape: write local:NODESxGPUS, such as local:2x1 for 2 nodes of 1 GPU, "
            "or the GPUs of each node, such as local:0+1+1"
        )
    if not 1 <= len(gpus) <= MOST_NODES:
        raise ValueError(f"{text!r} asks for {len(gpus)} nodes: write 1 to {MOST_NODES}")
    return Shape(gpus, late, namespaces=nodes != text)


def shape_of(nodes: Sequence[int], late_nodes: int = 0, *, namespaces: bool = False) -> Shape:
    """Make a shape of what a test asks for.

    Raises:
        ValueError: there is no head, or no node that is there from the start.
    """
    if not nodes or any(gpus < 0 for gpus in nodes):
        raise ValueError(f"nodes={tuple(nodes)!r}: write the GPUs of each node, the head first, such as (1, 1)")
    if not 0 <= late_nodes < len(nodes):
        raise ValueError(f"late_nodes={late_nodes}: write 0 to {len(nodes) - 1}, the head is there from the start")
    return Shape(tuple(nodes), late_nodes, namespaces)
