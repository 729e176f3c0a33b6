"""Which cluster serves where another shape was asked for."""

from __future__ import annotations

import dataclasses

from pytest_raycompat.cluster.spec import Shape


def covers(there: Shape, wanted: Shape) -> bool:
    """Tell whether a cluster of one shape serves where the other is wanted."""
    same = dataclasses.replace(there, dashboard=wanted.dashboard) == wanted
    return same and there.dashboard >= wanted.dashboard


def covers_in_part(there: Shape, wanted: Shape, gpus: int) -> bool:
    """Tell whether a cluster of one node has as many GPUs as are needed, though fewer than were asked for."""
    one_node = len(there.gpus) == len(wanted.gpus) == 1 and not there.late and not there.namespaces
    return one_node and gpus <= there.gpus[0] <= wanted.gpus[0] and there.dashboard >= wanted.dashboard
