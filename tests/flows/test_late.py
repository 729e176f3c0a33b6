from __future__ import annotations

from typing import Any

import pytest

from pytest_raycompat.cluster.protocol import Node
from pytest_raycompat.flows import late
from pytest_raycompat.flows.late import LateNodes


class Cluster:
    """A cluster of one node whose second is late, and what waits for resources in it."""

    def __init__(self, waiting: list[list[dict[str, float]]]) -> None:
        self.late = 1
        self.gpus = 1
        self.nodes: tuple[Node, ...] = (Node("first", "127.0.0.2", 1),)
        self.observer = self
        self._waiting = waiting

    def pending(self) -> list[dict[str, float]]:
        return self._waiting.pop(0)

    def join(self) -> None:
        self.late, self.gpus = 0, 2
        self.nodes = (*self.nodes, Node("second", "127.0.0.3", 1))


def looking(monkeypatch: pytest.MonkeyPatch, cluster: Any, every_s: float = 0.0) -> LateNodes:
    monkeypatch.setattr(late, "LOOK_EVERY_S", every_s)
    return LateNodes(cluster)


def test_a_node_joins_once_something_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    bundles = [{"GPU": 1.0}, {"GPU": 1.0}]
    cluster = Cluster([[], bundles])
    nodes = looking(monkeypatch, cluster)
    assert nodes.look() == {}
    assert cluster.late == 1
    evidence = nodes.look()
    assert evidence.pop("joined_after_s") >= 0
    assert evidence == {
        "waited_for": bundles,
        "nodes_before": 1,
        "nodes": ["first", "second"],
        "gpus_in_cluster": 2,
        "free_gpus_before": 2,
    }
    assert nodes.look() == {}  # once, and Ray is not asked again


def test_ray_is_asked_once_in_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster([[]])
    nodes = looking(monkeypatch, cluster, every_s=60.0)
    assert [nodes.look() for _ in range(5)] == [{}] * 5


@pytest.mark.parametrize("cluster", [None, "whole"])
def test_without_late_nodes_there_is_nothing_to_look_for(monkeypatch: pytest.MonkeyPatch, cluster: str | None) -> None:
    whole = Cluster([])
    whole.late = 0
    assert looking(monkeypatch, whole if cluster else None).look() == {}
