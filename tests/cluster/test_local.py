"""Clusters of our own, with the Ray that is installed here."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import pytest

from pytest_raycompat.cluster.attached import AttachedCluster
from pytest_raycompat.cluster.local import LocalCluster
from pytest_raycompat.cluster.protocol import ClusterError, NodeShape
from pytest_raycompat.cluster.start_command import PRESTART_VARIABLE, PROGRAM, REPORTER_VARIABLE
from pytest_raycompat.environment import child_environment, stage_package
from pytest_raycompat.processes.children import Children
from pytest_raycompat.processes.ownership import processes_of, shared_memory_of
from pytest_raycompat.processes.ports import accepts, free_port

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install ray, or tox run -e py"
)


@pytest.fixture
def children() -> Iterator[Children]:
    owner = Children()
    yield owner
    owner.close()


@pytest.fixture
def variables(children: Children) -> dict[str, str]:
    folder = children.new_folder("raycompat-test-")
    home = folder / "home"
    home.mkdir()
    return child_environment(
        os.environ, staged=stage_package(folder), home=home, cache=folder / "cache", temporary=folder, device="cpu"
    )


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("0123456789abcdef" * 4)
    return path


def start(
    children: Children,
    variables: dict[str, str],
    token: Path,
    logs: Path,
    shape: list[NodeShape],
    *,
    python: str = sys.executable,
    limit_s: float = 90.0,
) -> LocalCluster:
    return LocalCluster(
        children,
        python=python,
        ray=importlib.metadata.version("ray"),
        ray_client=importlib.util.find_spec("grpc") is not None,
        shape=shape,
        device="cpu",
        environment=variables,
        token=token,
        log_folder=logs,
        limit_s=limit_s,
    )


def attach(
    children: Children, address: str, variables: Mapping[str, str], logs: Path, *, limit_s: float
) -> AttachedCluster:
    return AttachedCluster(
        children,
        address=address,
        python=sys.executable,
        versions="",
        device="cpu",
        environment=variables,
        log_folder=logs,
        limit_s=limit_s,
    )


def run_driver(cluster: LocalCluster, program: str, **changed: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**cluster.environment, **changed},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def groups_of(processes: list[psutil.Process]) -> set[int]:
    """The process groups of those that are still there: workers of Ray come and go."""
    groups = set()
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            groups.add(os.getpgid(process.pid))
    return groups


def test_two_nodes_with_gpus_of_their_own_and_nothing_left(
    children: Children, variables: dict[str, str], token: Path, tmp_path: Path
) -> None:
    cluster = start(children, variables, token, tmp_path, [NodeShape(gpus=1), NodeShape(gpus=2)])
    assert [node.gpus for node in cluster.nodes] == [1, 2]
    assert cluster.gpus == 3
    addresses = [node.address for node in cluster.nodes]
    assert len(set(addresses)) == 2
    assert all(address.startswith("127.") and address != "127.0.0.1" for address in addresses)
    assert cluster.address.startswith(f"{addresses[0]}:")

    program = """
import ray
ray.init(address="auto", log_to_driver=False)

@ray.remote(num_gpus=2)
def where():
    return ray.util.get_node_ip_address()

print(ray.get(where.remote()))
"""
    assert run_driver(cluster, program).stdout.strip() == addresses[1]

    ours = processes_of([], children.mark)
    segments = shared_memory_of(ours)
    assert groups_of(ours).isdisjoint({os.getpgid(0)})
    nodes = [process for process in ours if PROGRAM in process.cmdline()]
    told = {tuple(node.environ()[name] for name in (PRESTART_VARIABLE, REPORTER_VARIABLE)) for node in nodes}
    assert told == {("0", "60000")}
    cluster.close()
    assert processes_of([], children.mark) == []
    assert [segment for segment in segments if segment.exists()] == []
    assert not Path(variables["HOME"], ".ray").exists()


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="run it on 2 cores or more: Ray starts a worker for each")
def test_only_workers_that_have_work_are_started(
    children: Children, variables: dict[str, str], token: Path, tmp_path: Path
) -> None:
    cluster = start(children, variables, token, tmp_path, [NodeShape(gpus=1)])
    program = """
import ray
ray.init(address="auto", log_to_driver=False)

@ray.remote(num_gpus=1)
class Rank:
    def step(self):
        pass

ray.get(Rank.remote().step.remote())
"""
    run_driver(cluster, program).check_returncode()
    logs = cluster.keep_logs("kept")
    assert logs is not None
    assert len(list(Path(logs, "ray").glob("python-core-worker-*.log"))) == 1
    cluster.close()


@pytest.mark.ray_version(">=2.52")
def test_a_driver_without_the_token_is_refused(
    children: Children, variables: dict[str, str], token: Path, tmp_path: Path
) -> None:
    cluster = start(children, variables, token, tmp_path, [NodeShape()])
    assert cluster.notes == ()
    program = "import ray; ray.init(address='auto'); print('connected')"
    other = tmp_path / "other"
    other.write_text("f" * 64)
    refused = run_driver(cluster, program, RAY_AUTH_TOKEN_PATH=str(other))
    assert "connected" not in refused.stdout
    assert refused.returncode != 0
    assert run_driver(cluster, program).stdout.strip().endswith("connected")
    cluster.close()


def test_attaching_uses_a_cluster_and_leaves_it_alone(
    children: Children, variables: dict[str, str], token: Path, tmp_path: Path
) -> None:
    theirs = start(children, variables, token, tmp_path, [NodeShape(gpus=1)])
    guest = Children()
    attached = attach(guest, theirs.address, theirs.environment, tmp_path, limit_s=60)
    assert attached.gpus == 1
    assert attached.keep_logs("anywhere") is None
    attached.close()
    guest.close()
    assert [node.alive for node in theirs.observer.nodes()] == [True]
    theirs.close()


def test_nothing_listens(children: Children, variables: dict[str, str], tmp_path: Path) -> None:
    port = free_port()
    with pytest.raises(ClusterError) as raised:
        attach(children, f"127.0.0.1:{port}", variables, tmp_path, limit_s=10)
    assert str(raised.value) == (f"nothing listens at 127.0.0.1:{port}: start Ray there, or use --ray-cluster=local")


def test_something_that_is_not_ray_listens(children: Children, variables: dict[str, str], tmp_path: Path) -> None:
    port = free_port()
    server = children.start(
        [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"],
        environment=variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for_port(port)
    with pytest.raises(ClusterError) as raised:
        attach(children, f"127.0.0.1:{port}", variables, tmp_path, limit_s=8)
    assert str(raised.value).startswith(f"cannot connect to the cluster at 127.0.0.1:{port}: ")
    server.end(0)


def wait_for_port(port: int) -> None:
    for _ in range(100):
        if accepts("127.0.0.1", port):
            return
        psutil.cpu_percent(0.1)
    raise AssertionError(f"nothing listens at port {port} after 10 s")


def test_a_start_that_fails_says_why(
    children: Children, variables: dict[str, str], token: Path, tmp_path: Path
) -> None:
    began = time.monotonic()
    with pytest.raises(ClusterError) as raised:
        start(children, variables, token, tmp_path, [NodeShape(gpus=1, cpus=-1)])
    assert time.monotonic() - began < 45  # Ray's own clients try for a minute
    version = importlib.metadata.version("ray")
    message = str(raised.value)
    assert message.startswith(f"the local Ray {version} cluster did not start: `ray start` of node 0 ended with ")
    assert f"logs: {tmp_path / 'did-not-start'}" in message
    assert (tmp_path / "did-not-start" / "node-0.log").is_file()
    assert processes_of([], children.mark) == []


def test_a_start_has_a_deadline(children: Children, variables: dict[str, str], token: Path, tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match=r"within 1 s|no answer from Ray within"):
        start(children, variables, token, tmp_path, [NodeShape()], limit_s=1)
    assert processes_of([], children.mark) == []
