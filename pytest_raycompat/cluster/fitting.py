"""Shapes of clusters: which serves where another was asked for, and how one is said."""

from __future__ import annotations

import dataclasses

from pytest_raycompat.cluster.spec import Shape
from pytest_raycompat.markers import plural


def covers(there: Shape, wanted: Shape) -> bool:
    """Tell whether a cluster of one shape serves where the other is wanted."""
    same = dataclasses.replace(there, dashboard=wanted.dashboard) == wanted
    return same and there.dashboard >= wanted.dashboard


def covers_in_part(there: Shape, wanted: Shape, gpus: int) -> bool:
    """Tell whether a cluster of one node has as many GPUs as are needed, though fewer than were asked for."""
    one_node = len(there.gpus) == len(wanted.gpus) == 1 and not there.late and not there.namespaces
    return one_node and gpus <= there.gpus[0] <= wanted.gpus[0] and there.dashboard >= wanted.dashboard


def each_of(shape: Shape) -> str:
    """Say how many GPUs each node has, the head first: ``0+1+1``."""
    return "+".join(str(gpus) for gpus in shape.gpus)


def described(shape: Shape, kind: str) -> str:
    """Say what a cluster consists of: ``2 nodes with 1 GPU each``, where ``kind`` is ``GPU``."""
    nodes = plural(len(shape.gpus), "node")
    if len(set(shape.gpus)) > 1:
        return f"{nodes} with {each_of(shape)} {kind}s"
    return f"{nodes} with {plural(shape.gpus[0], kind)}" + (" each" if len(shape.gpus) > 1 else "")
