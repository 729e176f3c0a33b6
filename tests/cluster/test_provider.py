"""Which clusters there are, and on which GPUs, without starting any."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from pytest_raycompat.cluster.local import LocalCluster
from pytest_raycompat.cluster.protocol import ClusterError, NodeShape
from pytest_raycompat.cluster.provider import ClusterProvider
from pytest_raycompat.cluster.spec import Shape, parse_cluster_spec
from pytest_raycompat.gpu_lease import GpuLeases
from pytest_raycompat.gpus import GIB, Gpu, installed_gpus
from pytest_raycompat.lease import LeaseError
from pytest_raycompat.processes.children import Children
from pytest_raycompat.records import Environment
from tests.fake_nvml import Device, FakeNvml

ENVIRONMENT = Environment(executable="python", python="3.11.2", platform="Linux", ray="2.60.0")


class Cluster:
    """A cluster that is not there."""

    notes = ()
    late = 0

    def __init__(self, shape: Sequence[NodeShape], gpus: Sequence[Gpu]) -> None:
        self.shape = [node.gpus for node in shape]
        self.real_gpus = tuple(gpus)[: sum(self.shape)]
        self.ids = [gpu.id for gpu in self.real_gpus]
        self.asked = self.has_ended = self.closed = False

    def ask_to_end(self) -> None:
        self.asked = True

    def close(self) -> None:
        self.closed = True

    def keep_logs(self, destination: str) -> None:
        pass


class Provider(ClusterProvider):
    """A provider that starts nothing."""

    started: list[Cluster]

    def start(self, shape: Sequence[NodeShape], held: Sequence[Gpu] = (), **options: Any) -> LocalCluster:
        cluster = Cluster(shape, held)
        self.started.append(cluster)
        return cast("LocalCluster", cluster)


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Provider]:
    """Make the provider of one pytest process on a machine with four GPUs."""
    fake = FakeNvml(*(Device(f"GPU-{name}", "NVIDIA H200", 140 * GIB) for name in "abcd"))
    monkeypatch.setitem(sys.modules, "pynvml", fake)

    def make(spec: str = "local", *, cuda: bool = True, greedy: bool = True, shares: int = 1) -> Provider:
        leases = GpuLeases(installed_gpus(), tmp_path / "locks", lambda *said: None, greedy=greedy, shares=shares)
        provider = Provider(
            parse_cluster_spec(spec),
            children=cast("Children", None),
            environment=ENVIRONMENT,
            python="python",
            device="cuda" if cuda else "cpu",
            leases=leases if cuda else None,
            variables={},
            token=tmp_path / "token",
            log_folder=tmp_path,
        )
        provider.started = []
        return provider

    return make


def ids(cluster: Any) -> list[str]:
    return list(cluster.ids)


def test_alone_a_run_has_one_cluster_with_all_gpus(make: Callable[..., Provider]) -> None:
    provider = make()
    first = provider.get(Shape((4,)), gpus=1)
    assert ids(first) == ["0", "1", "2", "3"]
    assert provider.get(Shape((4,)), gpus=2) is provider.get() is first


def test_workers_have_what_their_flows_need(make: Callable[..., Provider]) -> None:
    one, two = make(greedy=False), make(greedy=False)
    assert ids(one.get(Shape((4,)), gpus=2)) == ["0", "1"]
    assert ids(two.get(Shape((4,)), gpus=2)) == ["2", "3"]
    one.get(Shape((4,)), gpus=1)
    assert len(one.started) == 1


def test_workers_share_gpus_where_they_may(make: Callable[..., Provider]) -> None:
    one, two = make(greedy=False, shares=2), make(greedy=False, shares=2)
    for provider in (one, two):
        assert ids(provider.get(Shape((4,)), gpus=4, shared=True)) == ["0", "1", "2", "3"]
        again: Any = provider.get(Shape((4,)), gpus=2, shared=True)
        assert again is provider.started[0]


def test_a_flow_that_needs_gpus_alone_gets_a_cluster_on_such(make: Callable[..., Provider]) -> None:
    provider = make(greedy=False, shares=2)
    shared: Any = provider.get(Shape((4,)), gpus=2, shared=True)
    alone = provider.get(Shape((4,)), gpus=2)
    assert alone is not shared
    assert shared.closed
    assert provider.get(Shape((4,)), gpus=2, shared=True) is alone  # nobody else waits for its GPUs


def test_a_cluster_that_a_test_uses_serves_on_when_a_flow_shares_more(make: Callable[..., Provider]) -> None:
    provider = make("local:1x1", greedy=False, shares=2)
    own = provider.get()
    provider.handed_out = True
    provider.get(Shape((1, 1)), shared=True)
    assert provider.get() is own


def test_a_second_run_has_what_is_left(make: Callable[..., Provider]) -> None:
    one, two = make(greedy=False), make()
    one.get(Shape((4,)), gpus=1)
    assert ids(two.get(Shape((4,)), gpus=1)) == ["1"]
    assert ids(two.get(Shape((4,)), gpus=3)) == ["1", "2", "3"]


def test_a_larger_flow_gets_a_larger_cluster_beside_the_small_one(make: Callable[..., Provider]) -> None:
    provider = make(greedy=False)
    small: Any = provider.get(Shape((4,)), gpus=1)
    assert ids(provider.get(Shape((4,)), gpus=2)) == ["0", "1"]
    assert provider.get(Shape((4,)), gpus=1) is small


def test_clusters_are_given_up_before_more_is_waited_for(
    make: Callable[..., Provider], monkeypatch: pytest.MonkeyPatch
) -> None:
    hold = GpuLeases.hold
    monkeypatch.setattr(GpuLeases, "hold", lambda *given, **more: hold(*given, limit_s=0.1, **more))
    one, two = make(greedy=False), make(greedy=False)
    for provider in (one, two):
        provider.get(Shape((4,)), gpus=2)
    with pytest.raises(LeaseError):
        two.get(Shape((4,)), gpus=4)
    assert two.started[0].closed
    assert ids(one.get(Shape((4,)), gpus=4)) == ["0", "1", "2", "3"]


def test_a_cluster_that_a_test_uses_is_not_given_up(make: Callable[..., Provider]) -> None:
    one, two = make(greedy=False), make(greedy=False)
    one.get(Shape((4,)), gpus=2)
    two.make([NodeShape(gpus=1)] * 2)
    with pytest.raises(LeaseError) as caught:
        two.make([NodeShape(gpus=3)])
    assert "and cannot be given back to wait for more: a test uses a cluster on them; GPU 0 is held" in str(
        caught.value
    )
    assert not two.started[0].closed


@pytest.mark.parametrize("handed_out", [False, True])
def test_way_is_made_between_tests(make: Callable[..., Provider], handed_out: bool, monkeypatch: Any) -> None:
    provider = make()
    provider.get()
    provider.handed_out = handed_out
    provider.make_way()
    assert [cluster.closed for cluster in provider.started] == [False]
    monkeypatch.setattr(GpuLeases, "wanted", lambda leases: True)
    provider.make_way()
    assert [cluster.closed for cluster in provider.started] == [not handed_out]
    if not handed_out:
        assert ids(make().get(Shape((1,)))) == ["0"]


def test_a_shape_of_the_user_s_own_is_that_shape(make: Callable[..., Provider]) -> None:
    one, two = make("local:1x2"), make("local:2x1")
    assert ids(one.get(Shape((2,)), gpus=1)) == ["0", "1"]
    assert ids(two.get(Shape((1, 1)), gpus=1)) == ["2", "3"]


def test_nodes_that_a_flow_asks_for_are_those_nodes(make: Callable[..., Provider]) -> None:
    provider = make()
    assert ids(provider.get(Shape((0, 1, 1)))) == ["0", "1"]
    assert ids(provider.get(Shape((2,)))) == ["0", "1"]
    assert [cluster.shape for cluster in provider.started] == [[0, 1, 1], [2]]


def test_nodes_without_gpus_hold_none(make: Callable[..., Provider]) -> None:
    one, two = make(), make()
    assert ids(one.get(Shape((0,)))) == []
    assert ids(two.get()) == ["0", "1", "2", "3"]


def test_stand_ins_are_not_leased(make: Callable[..., Provider]) -> None:
    one, two = make(cuda=False), make(cuda=False)
    for provider in (one, two):
        provider.get()
        provider.get(Shape((2,)), gpus=1)
        provider.make_way()
        assert [(cluster.shape, cluster.ids) for cluster in provider.started] == [([2], [])]


def test_a_stand_in_cluster_that_is_not_needed_any_more_is_not_waited_for(make: Callable[..., Provider]) -> None:
    provider = make(cuda=False)
    for nodes in ((2,), (1, 1), (0, 1, 1)):
        provider.get(Shape(nodes))
    assert [cluster.asked for cluster in provider.started] == [False, True, False]
    assert not provider.started[1].closed
    provider.distrust(cast("Any", provider.started[2]))
    provider.started[1].has_ended = True
    provider.get(Shape((0, 1, 1)))
    assert [cluster.closed for cluster in provider.started] == [False, True, False, False]
    provider.close()
    assert all(cluster.closed for cluster in provider.started)


def test_on_real_gpus_the_next_cluster_waits_until_the_last_has_ended(make: Callable[..., Provider]) -> None:
    provider = make()
    provider.get()
    provider.distrust(cast("Any", provider.started[0]))
    assert provider.started[0].closed


def test_more_than_there_are(make: Callable[..., Provider]) -> None:
    with pytest.raises(ClusterError) as caught:
        make("local:3x2")
    assert str(caught.value) == "3 nodes with 2+2+2 GPUs were asked for, 4 GPUs are here"


def test_each_cluster_has_a_folder_of_its_own_for_its_logs(
    make: Callable[..., Provider], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folders: list[Path] = []

    def note(children: object, *, log_folder: Path, **options: Any) -> None:
        folders.append(log_folder)

    monkeypatch.setattr("pytest_raycompat.cluster.provider.LocalCluster", note)
    provider = make(cuda=False)
    for _ in range(2):
        ClusterProvider.start(provider, [NodeShape(gpus=1)])
    assert folders == [tmp_path / "cluster-01", tmp_path / "cluster-02"]
