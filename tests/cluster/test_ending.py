from __future__ import annotations

from typing import Any, cast

import pytest

from pytest_raycompat.cluster.ending import Ending
from pytest_raycompat.cluster.local import LocalCluster


class Cluster:
    """A cluster that is not there, and ends when it is told."""

    def __init__(self) -> None:
        self.has_ended = False
        self.history: list[str] = []

    def ask_to_end(self) -> None:
        self.history.append("asked")

    def close(self) -> None:
        self.history.append("closed")


@pytest.fixture
def clusters() -> list[Any]:
    return [Cluster(), Cluster()]


def test_a_cluster_is_asked_and_not_waited_for(clusters: list[Any]) -> None:
    Ending().begin(cast("LocalCluster", clusters[0]))
    assert clusters[0].history == ["asked"]


def test_what_has_ended_is_taken_away_when_the_next_one_is_asked(clusters: list[Any]) -> None:
    ending = Ending()
    ending.begin(clusters[0])
    clusters[0].has_ended = True
    ending.begin(clusters[1])
    assert [one.history for one in clusters] == [["asked", "closed"], ["asked"]]


def test_in_the_end_all_are_waited_for_once(clusters: list[Any]) -> None:
    ending = Ending()
    for one in clusters:
        ending.begin(one)
    ending.finish()
    ending.finish()
    assert [one.history for one in clusters] == [["asked", "closed"]] * 2
