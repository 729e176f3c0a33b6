"""A test suite of somebody else's on a real cluster: our markers and fixtures, with neither vLLM nor our suites."""

from __future__ import annotations

import importlib.util
import os
import sys

import pytest

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install ray, or tox run -e py"
)

THEIR_SUITE = """
import os
import pytest
import ray

@pytest.fixture
def connected(ray_cluster):
    ray.init(address=ray_cluster.address, log_to_driver=False, namespace="theirs")
    yield
    ray.shutdown()


@pytest.mark.ray_version(">=2.35")
@pytest.mark.gpus(2)
@pytest.mark.nodes(2)
def test_gpus(connected, ray_cluster):
    @ray.remote(num_gpus=1)
    class Holder:
        def node(self):
            return ray.get_runtime_context().get_node_id()

    holders = [Holder.remote() for _ in range(2)]
    nodes = set(ray.get([holder.node.remote() for holder in holders]))
    assert nodes == {node.node_id for node in ray_cluster.nodes}
    assert ray_cluster.gpus == 2


@pytest.mark.gpus(3)
@pytest.mark.ray_version(">=999")
def test_needs_more(connected):
    raise AssertionError("it was not skipped")


def test_another_cluster(make_ray_cluster, ray_cluster, connected):
    other = make_ray_cluster(nodes=1, gpus=5, labels={"kind": "spare"})
    assert other.gpus == 5
    assert other.address != ray_cluster.address
    assert other.nodes[0].address != ray_cluster.nodes[0].address
    assert sum(node.gpus for node in other.observer.nodes()) == 5


def test_zz_environment_while_in_use(ray_cluster):
    assert "RAY_ADDRESS" not in os.environ
    assert ray_cluster.environment["RAY_ADDRESS"] == ray_cluster.address
"""

CONFTEST = """
import atexit
import os

atexit.register(lambda: print("left set:", sorted(name for name in os.environ if name.startswith("RAY_AUTH"))))
"""


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ.keys() & {"CI", "GITHUB_ACTIONS", "PYTEST_XDIST_WORKER"}:
        monkeypatch.delenv(name)
    for name in [name for name in os.environ if name.startswith("RAY_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def home(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> str:
    folder = pytester.mkdir("home")
    monkeypatch.setenv("HOME", str(folder))
    return str(folder)


@pytest.mark.timeout(300)
def test_their_suite(pytester: pytest.Pytester, home: str) -> None:
    pytester.makepyfile(test_theirs=THEIR_SUITE)
    pytester.makeconftest(CONFTEST)
    result = pytester.runpytest_subprocess("--ray-cluster=local:2x1", "-s", "-rs")
    result.assert_outcomes(passed=3, skipped=1)
    result.stdout.fnmatch_lines(
        [
            "*: needs 3 GPUs, found 2; needs Ray >=999, found * (local cluster of 2 nodes with 1 stand-in GPU each)",
            "left set: []",
        ]
    )
    assert os.listdir(home) == []


@pytest.mark.timeout(300)
def test_attached_to_a_running_cluster(pytester: pytest.Pytester) -> None:
    """The outer run starts a cluster, the inner one attaches to it by address and by RAY_ADDRESS, and leaves it be."""
    pytester.makepyfile(
        test_outer=f"""
import os, subprocess
import pytest

@pytest.mark.parametrize("how", ["--ray-cluster=ADDRESS", "--ray-cluster=auto"])
def test_inner(ray_cluster, how, tmp_path):
    inner = tmp_path / "test_inner.py"
    inner.write_text("def test_it(ray_cluster):\\n    assert not ray_cluster.owned and ray_cluster.gpus == 1\\n")
    environment = {{**os.environ, **{{k: v for k, v in ray_cluster.environment.items() if k.startswith("RAY_")}}}}
    command = [{sys.executable!r}, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={{tmp_path}}", inner]
    finished = subprocess.run(
        [*command, how.replace("ADDRESS", ray_cluster.address)], env=environment, capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert [node.alive for node in ray_cluster.observer.nodes()] == [True]
"""
    )
    result = pytester.runpytest_subprocess("--ray-cluster=local:1x1")
    result.assert_outcomes(passed=2)


@pytest.mark.timeout(300)
def test_under_xdist(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
import pytest

@pytest.mark.parametrize("number", range(2))
def test_it(ray_cluster, number):
    assert ray_cluster.gpus == 1
"""
    )
    result = pytester.runpytest_subprocess("--ray-cluster=local:1x1", "-n", "2", "-p", "xdist")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["verdicts: 2 passed"])


@pytest.mark.timeout(120)
def test_a_flow_that_needs_more_gpus_is_decided_at_once(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        flow_of_theirs="raise SystemExit('it must not be started')",
        test_it="""
def test_it(run_flow):
    run_flow("json.tool", executor="ray", tensor_parallel_size=3)
""",
    )
    result = pytester.runpytest_subprocess("--ray-cluster=local:1x2", "-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(
        ["*needs 3 GPUs, found 2 (local cluster of 1 node with 2 stand-in GPUs); try --ray-cluster=local:1x3"]
    )
    assert result.duration < 30
