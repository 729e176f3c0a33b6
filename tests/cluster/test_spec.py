from __future__ import annotations

import pytest

from pytest_raycompat.cluster.spec import ClusterSpec, Shape, parse_cluster_spec, shape_of

FORMS = "write off, auto, local, local:NODESxGPUS (such as local:2x1) or HOST:PORT"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("off", ClusterSpec("off")),
        ("auto", ClusterSpec("auto")),
        ("local", ClusterSpec("local")),
        ("local:2x1", ClusterSpec("local", shape=Shape((1, 1)))),
        ("local:1x0", ClusterSpec("local", shape=Shape((0,)))),
        ("local:64x8", ClusterSpec("local", shape=Shape((8,) * 64))),
        ("local:0+1+1", ClusterSpec("local", shape=Shape((0, 1, 1)))),
        ("local:1+late:1", ClusterSpec("local", shape=Shape((1, 1), late=1))),
        ("local:1+2+late:0+late:4", ClusterSpec("local", shape=Shape((1, 2, 0, 4), late=2))),
        ("10.0.0.1:6379", ClusterSpec("address", address="10.0.0.1:6379")),
        ("ray-head.corp_net.example:1", ClusterSpec("address", address="ray-head.corp_net.example:1")),
        ("[::1]:65535", ClusterSpec("address", address="[::1]:65535")),
        ("localhost:6379", ClusterSpec("address", address="localhost:6379")),
    ],
)
def test_what_a_cluster_may_be(text: str, expected: ClusterSpec) -> None:
    assert parse_cluster_spec(text) == expected


SHAPE = (
    "is not a shape: write local:NODESxGPUS, such as local:2x1 for 2 nodes of 1 GPU, "
    "or the GPUs of each node, such as local:0+1+1"
)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", f"'' is not a cluster: {FORMS}"),
        ("on", f"'on' is not a cluster: {FORMS}"),
        ("Auto", f"'Auto' is not a cluster: {FORMS}"),
        (" auto", f"' auto' is not a cluster: {FORMS}"),
        ("10.0.0.1", f"'10.0.0.1' is not a cluster: {FORMS}"),
        ("10.0.0.1:", f"'10.0.0.1:' is not a cluster: {FORMS}"),
        (":6379", f"':6379' is not a cluster: {FORMS}"),
        ("head:port", f"'head:port' is not a cluster: {FORMS}"),
        ("::1:6379", f"'::1:6379' is not a cluster: {FORMS}"),
        ("http://10.0.0.1:8265", f"'http://10.0.0.1:8265' is not a cluster: {FORMS}"),
        ("10.0.0.1:6379\n", f"'10.0.0.1:6379\\n' is not a cluster: {FORMS}"),
        ("10.0.0.1:0", "'10.0.0.1:0' has port 0: write 1 to 65535"),
        ("10.0.0.1:65536", "'10.0.0.1:65536' has port 65536: write 1 to 65535"),
        ("local:", f"'local:' {SHAPE}"),
        ("local:2", f"'local:2' {SHAPE}"),
        ("local:2x", f"'local:2x' {SHAPE}"),
        ("local:2X1", f"'local:2X1' {SHAPE}"),
        ("local:-1x1", f"'local:-1x1' {SHAPE}"),
        ("local:2x1x1", f"'local:2x1x1' {SHAPE}"),
        ("local:1+", f"'local:1+' {SHAPE}"),
        ("local:+1", f"'local:+1' {SHAPE}"),
        ("local:late:1+1", f"'local:late:1+1' {SHAPE}"),
        ("local:1+late:1+1", f"'local:1+late:1+1' {SHAPE}"),
        ("local:" + "+".join("1" * 65), f"'local:{'+'.join('1' * 65)}' asks for 65 nodes: write 1 to 64"),
        ("local:0x1", "'local:0x1' asks for 0 nodes: write 1 to 64"),
        ("local:65x1", "'local:65x1' asks for 65 nodes: write 1 to 64"),
        (
            "ray://10.0.0.1:10001",
            "'ray://10.0.0.1:10001' is a Ray Client address, which vLLM cannot use: write the HOST:PORT of the GCS",
        ),
    ],
)
def test_what_a_cluster_may_not_be(text: str, problem: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_cluster_spec(text)
    assert str(caught.value) == problem


@pytest.mark.parametrize(
    ("nodes", "late_nodes", "written"),
    [((1, 1), 0, "local:2x1"), ((2,), 0, "local:1x2"), ((0, 1, 1), 0, "local:0+1+1"), ((1, 1), 1, "local:1+late:1")],
)
def test_a_shape_is_written_as_it_is_read(nodes: tuple[int, ...], late_nodes: int, written: str) -> None:
    shape = shape_of(nodes, late_nodes)
    assert shape.written == written
    assert parse_cluster_spec(written).shape == shape


@pytest.mark.parametrize(
    ("nodes", "late_nodes", "problem"),
    [
        ((), 0, "nodes=(): write the GPUs of each node, the head first, such as (1, 1)"),
        ((1, -1), 0, "nodes=(1, -1): write the GPUs of each node, the head first, such as (1, 1)"),
        ((1, 1), 2, "late_nodes=2: write 0 to 1, the head is there from the start"),
        ((1, 1), -1, "late_nodes=-1: write 0 to 1, the head is there from the start"),
    ],
)
def test_a_shape_without_a_head_is_refused(nodes: tuple[int, ...], late_nodes: int, problem: str) -> None:
    with pytest.raises(ValueError) as caught:
        shape_of(nodes, late_nodes)
    assert str(caught.value) == problem
