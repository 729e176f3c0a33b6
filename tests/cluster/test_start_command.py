from __future__ import annotations

from pathlib import Path

import pytest

from pytest_raycompat.cluster.protocol import NodeShape
from pytest_raycompat.cluster.start_command import head_options, node_options, node_variables, reason_in


def test_only_a_ray_with_a_client_server_is_given_a_port_for_it() -> None:
    without = head_options("127.0.0.1:6379", Path("/tmp/ray"), dashboard=False, ray_client=False)
    assert without[:2] == ["--head", "--port=6379"]
    assert "--include-dashboard=false" in without
    (more,) = {option.partition("=")[0] for option in head_options("127.0.0.1:6379", Path("/"), True, True)} - {
        option.partition("=")[0] for option in without
    }
    assert more == "--ray-client-server-port"


@pytest.mark.parametrize(
    ("ray", "labels"),
    [("2.45.0", '--labels={"zone": "a", "rack": "1"}'), ("2.46.0", "--labels=zone=a,rack=1")],
)
def test_labels_are_written_as_each_ray_reads_them(ray: str, labels: str) -> None:
    options = node_options(NodeShape(gpus=1, labels={"zone": "a", "rack": "1"}), "127.0.0.2", ray)
    assert options[-1] == labels
    assert "--num-gpus=1" in options
    assert not [option for option in node_options(NodeShape(gpus=1), "127.0.0.2", ray) if "labels" in option]


def test_a_node_joins_by_its_options_and_says_its_own_address() -> None:
    given = {"RAY_ADDRESS": "127.0.0.1:6379", "VLLM_HOST_IP": "127.0.0.1", "REPORTER_UPDATE_INTERVAL_MS": "5000"}
    assert node_variables(given, "127.0.0.2") == {
        "VLLM_HOST_IP": "127.0.0.2",
        "RAY_prestart_worker_first_driver": "0",
        "REPORTER_UPDATE_INTERVAL_MS": "5000",
    }


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("", "it printed nothing"),
        ("Usage stats collection is disabled.\nno room\n\n", "no room"),
        ("Traceback:\n\x1b[31mValueError: no such port\x1b[0m\nsee the logs\n", "ValueError: no such port"),
    ],
)
def test_the_reason_of_a_start_that_failed(tmp_path: Path, said: str, reason: str) -> None:
    (tmp_path / "node-0.log").write_text(said)
    assert reason_in(tmp_path / "node-0.log") == reason
