from __future__ import annotations

import pytest

from pytest_raycompat.cluster.spec import ClusterSpec, parse_cluster_spec

FORMS = "write off, auto, local, local:NODESxGPUS (such as local:2x1) or HOST:PORT"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("off", ClusterSpec("off")),
        ("auto", ClusterSpec("auto")),
        ("local", ClusterSpec("local")),
        ("local:2x1", ClusterSpec("local", nodes=2, gpus_per_node=1)),
        ("local:1x0", ClusterSpec("local", nodes=1, gpus_per_node=0)),
        ("local:64x8", ClusterSpec("local", nodes=64, gpus_per_node=8)),
        ("10.0.0.1:6379", ClusterSpec("address", address="10.0.0.1:6379")),
        ("ray-head.corp_net.example:1", ClusterSpec("address", address="ray-head.corp_net.example:1")),
        ("[::1]:65535", ClusterSpec("address", address="[::1]:65535")),
        ("localhost:6379", ClusterSpec("address", address="localhost:6379")),
    ],
)
def test_what_a_cluster_may_be(text: str, expected: ClusterSpec) -> None:
    assert parse_cluster_spec(text) == expected


SHAPE = "is not a shape: write local:NODESxGPUS, such as local:2x1 for 2 nodes of 1 GPU"


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
