"""Flows that ask for nodes of their own, on real clusters: which are shared, which joins late, and who takes turns."""

from __future__ import annotations

import importlib.util

import pytest

from pytest_raycompat.cluster.network import lacking_namespaces

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install ray, or tox run -e py"
)

FLOW = """
import argparse
import os
import sys
import time

from pytest_raycompat.flows.reporting import run_program


def body(reporter, arguments):
    import ray

    ray.init(address=os.environ["RAY_ADDRESS"], log_to_driver=False)
    with open(arguments.log, "a") as stream:
        stream.write("in\\n")
    if arguments.wait_for_gpus:
        reporter.phase("start")
        group = ray.util.placement_group([{"GPU": 1}] * arguments.wait_for_gpus)
        ray.get(group.ready(), timeout=60)
        ray.util.remove_placement_group(group)
    nodes = [node for node in ray.nodes() if node["Alive"]]
    reporter.output("gpus", sorted(int(node["Resources"].get("GPU", 0)) for node in nodes))
    reporter.output("address", os.environ["RAY_ADDRESS"])
    ray.shutdown()
    time.sleep(0.5)
    with open(arguments.log, "a") as stream:
        stream.write("out\\n")


parser = argparse.ArgumentParser()
parser.add_argument("--executor")
parser.add_argument("--log", default=os.devnull)
parser.add_argument("--wait-for-gpus", type=int, default=0)
parser.add_argument("--number", type=int)
parser.add_argument("--model")
parser.add_argument("--device")
parser.add_argument("--hold", action="store_true")
arguments = parser.parse_args()
sys.exit(run_program("theirs", {}, lambda reporter: body(reporter, arguments)))
"""


@pytest.fixture(autouse=True)
def flow(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CI", "GITHUB_ACTIONS", "PYTEST_XDIST_WORKER", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    pytester.mkpydir("theirs").joinpath("flow.py").write_text(FLOW)


@pytest.mark.timeout(300)
def test_clusters_of_one_shape_are_started_once(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
def test_it(run_flow):
    def where(number, **shape):
        return run_flow("theirs.flow", executor="ray", number=number, **shape).outputs

    own, two = where(1), where(2, nodes=(1, 0))
    assert (own["gpus"], two["gpus"]) == ([2], [0, 1])
    assert own["address"] != two["address"]
    assert where(3)["address"] == own["address"]
    assert where(4, nodes=(1, 0))["address"] == two["address"]
    assert where(5, nodes=(2,))["address"] == own["address"]
    assert where(6, nodes=(3,))["gpus"] == [3]  # one more than are kept: the least wanted ends, not the run's own
    assert where(7)["address"] == own["address"]
    assert where(8, nodes=(1, 0))["address"] != two["address"]
"""
    )
    result = pytester.runpytest_subprocess("--ray-cluster=local")
    result.assert_outcomes(passed=1)


@pytest.mark.timeout(300)
def test_a_node_joins_while_a_flow_waits(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
def test_it(run_flow):
    late = run_flow("theirs.flow", executor="ray", wait_for_gpus=2, nodes=(1, 1), late_nodes=1)
    assert [bundle["GPU"] for bundle in late.evidence["waited_for"]] == [1, 1]
    assert (late.evidence["nodes_before"], late.outputs["gpus"], late.node_gpus) == (1, [1, 1], (1, 1))
    assert "--ray-cluster=local:1+late:1" in late.reproduce
    whole = run_flow("theirs.flow", executor="ray", nodes=(1, 1))
    assert whole.outputs["address"] == late.outputs["address"]
"""
    )
    result = pytester.runpytest_subprocess("--ray-cluster=auto")
    result.assert_outcomes(passed=1)


@pytest.mark.timeout(300)
@pytest.mark.skipif(lacking_namespaces() is not None, reason=f"{lacking_namespaces()}")
def test_nodes_in_network_namespaces(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
def test_it(run_flow):
    apart = run_flow("theirs.flow", executor="ray", nodes=(1, 0), namespaces=True)
    assert apart.outputs["gpus"] == [0, 1]
    assert apart.outputs["address"].startswith("10.")
    assert len(apart.evidence["carried_before"]) == 2
    assert "--ray-cluster=local:1+0,namespaces" in apart.reproduce
"""
    )
    result = pytester.runpytest_subprocess("--ray-cluster=auto")
    result.assert_outcomes(passed=1)


@pytest.mark.timeout(120)
def test_a_cluster_with_a_shape_is_not_given_another(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
def test_it(run_flow):
    run_flow("theirs.flow", executor="ray", nodes=(0, 1))
"""
    )
    result = pytester.runpytest_subprocess("--ray-cluster=local:1x1", "-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*needs nodes with 0+1 GPUs, the head first, and --ray-cluster is local:1x1"])


@pytest.mark.timeout(300)
def test_workers_of_xdist_share_a_flows_result_and_take_turns(pytester: pytest.Pytester) -> None:
    log = pytester.path / "log"
    pytester.makepyfile(
        f"""
import pytest

@pytest.mark.parametrize("number", [1, 2])
class TestIt:
    @pytest.fixture
    def ran(self, run_flow, number):
        return lambda: run_flow("theirs.flow", executor="ray", number=number, log={str(log)!r})

    def test_first(self, ran):
        assert ran().outputs["gpus"] == [1]

    def test_second(self, ran):
        assert ran().outputs["gpus"] == [1]
"""
    )
    result = pytester.runpytest_subprocess("--ray-cluster=local:1x1", "-n", "2", "-p", "xdist")
    result.assert_outcomes(passed=4)
    assert log.read_text().split() == ["in", "out"] * 2
