"""The run's cluster as the fixture ``ray_cluster`` gives it to tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from pytest_raycompat.cluster.observation import Observer
from pytest_raycompat.cluster.protocol import Node

if TYPE_CHECKING:
    from pytest_raycompat.cluster.provider import ClusterProvider


class CurrentCluster:
    """The run's cluster as a fixture may keep it: whichever it is by now, after a failed flow a fresh one.

    From now on it is kept, whoever waits for its GPUs: tests may be connected to it.
    """

    def __init__(self, provider: ClusterProvider) -> None:
        self._provider = provider
        provider.get()
        provider.handed_out = True

    @property
    def address(self) -> str:
        """``HOST:PORT`` of its GCS."""
        return self._provider.get().address

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The nodes that are alive, the head first."""
        return self._provider.get().nodes

    @property
    def gpus(self) -> int:
        """How many GPUs the nodes declare together."""
        return self._provider.get().gpus

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables with which a process reaches it."""
        return self._provider.get().environment

    @property
    def owned(self) -> bool:
        """Whether this run started it."""
        return self._provider.get().owned

    @property
    def device(self) -> Literal["cpu", "cuda"]:
        """What its GPUs are."""
        return self._provider.get().device

    @property
    def observer(self) -> Observer:
        """What looks at it from outside the flows."""
        return self._provider.get().observer

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know about it."""
        return self._provider.get().notes
