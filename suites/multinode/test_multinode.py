"""An engine whose ranks are on several nodes of one cluster, each with an address of its own.

Flows on clusters of one shape follow each other, so that each shape is started once.
"""

from __future__ import annotations

from typing import Any

import pytest

from pytest_raycompat.flows.parity import assert_same_answers, assert_same_texts

ENGINE_TRAFFIC_BYTES = 100_000
"""Less than an engine's start and first answers send between two ranks, more than idle nodes do."""
TWO_NODES = (1, 1)
NODES_OF_TWO = (2, 2)
HEAD_WITHOUT_GPUS = (0, 1, 1)

on_every_executor = pytest.mark.parametrize("executor", ["ray-v2", "ray-v1"])


def nodes_of(evidence: dict[str, Any]) -> list[str]:
    """Return the node of each rank, in the order of the ranks."""
    return [worker["node_id"] for worker in evidence["workers"]]


def compared(run_flow: Any) -> Any:
    """Name the control of every flow here."""
    return run_flow.with_control("generate", tensor_parallel_size=1)


def assert_on_two_nodes(evidence: dict[str, Any], each: int = 1) -> None:
    """The ranks are on the two nodes of the cluster, ``each`` of them on each."""
    assert sorted(nodes_of(evidence)) == sorted([*evidence["nodes"]] * each)
    assert len(set(nodes_of(evidence))) == 2


class TestAcrossLinks:
    """tensor_parallel_size=2 on two nodes of one GPU each, in network namespaces with a link between them."""

    @pytest.fixture
    def generated(self, run_flow: Any) -> Any:
        """What makes the flow run in the test itself."""
        return lambda: compared(run_flow)(
            "generate", nodes=TWO_NODES, namespaces=True, executor="ray-v2", tensor_parallel_size=2
        )

    def test_each_rank_is_on_a_node_of_its_own(self, generated: Any) -> None:
        """The two ranks are on the two nodes."""
        assert_on_two_nodes(generated().evidence)

    def test_same_tokens_as_without_ray(self, generated: Any, run_flow: Any) -> None:
        """What crosses between the nodes is what would have stayed in one process."""
        assert_same_answers(generated(), run_flow.control("generate", tensor_parallel_size=1))

    def test_traffic_crosses_the_links(self, generated: Any) -> None:
        """The engine's traffic goes over both links."""
        evidence = generated().evidence
        before, during = evidence["carried_before"], evidence["carried_during"]
        assert len(during) == 2
        assert all(during[address] - before[address] > ENGINE_TRAFFIC_BYTES for address in during)


class TestLateNode:
    """An engine that waits for GPUs, and a node with them that joins while it waits.

    Its cluster has two nodes then, as the flows after it need.
    """

    @pytest.fixture
    def generated(self, run_flow: Any) -> Any:
        """What makes the flow run in the test itself."""
        return lambda: compared(run_flow)(
            "generate", nodes=TWO_NODES, late_nodes=1, executor="ray-v2", tensor_parallel_size=2
        )

    def test_the_engine_waited_for_it(self, generated: Any) -> None:
        """Its placement group was pending on one node, and has a rank on each of two now."""
        evidence = generated().evidence
        assert [bundle["GPU"] for bundle in evidence["waited_for"]] == [1, 1]
        assert evidence["nodes_before"] == 1
        assert len(set(nodes_of(evidence))) == 2

    def test_same_tokens_as_without_ray(self, generated: Any, run_flow: Any) -> None:
        """The wait changed nothing."""
        assert_same_answers(generated(), run_flow.control("generate", tensor_parallel_size=1))


class TestTensorParallelAcrossNodes:
    """Two nodes of one GPU each, and of two GPUs each, whose addresses are on one device.

    One GPU each with ray-v2 is what the classes around this one have.
    """

    @pytest.fixture(
        params=[
            ("ray-v1", TWO_NODES),
            pytest.param(("ray-v1", NODES_OF_TWO), marks=pytest.mark.gpus(4)),
            pytest.param(("ray-v2", NODES_OF_TWO), marks=pytest.mark.gpus(4)),
        ],
        ids=["1+1", "2+2", "2+2-ray-v2"],
    )
    def generated(self, request: pytest.FixtureRequest, run_flow: Any) -> Any:
        """What makes the flow run in the test itself."""
        executor, nodes = request.param
        return lambda: compared(run_flow)("generate", nodes=nodes, executor=executor, tensor_parallel_size=sum(nodes))

    def test_the_ranks_are_on_both_nodes(self, generated: Any) -> None:
        """Each node has as many ranks as GPUs, and between the nodes there is no link."""
        result = generated()
        assert_on_two_nodes(result.evidence, each=result.parameters["tensor_parallel_size"] // 2)
        assert result.evidence["carried_during"] == {}

    def test_same_tokens_as_without_ray(self, generated: Any, run_flow: Any) -> None:
        """What crosses between the nodes is what would have stayed in one process."""
        assert_same_answers(generated(), run_flow.control("generate", tensor_parallel_size=1))


class TestServerAcrossNodes:
    """The OpenAI-compatible server with an engine on two nodes."""

    @pytest.fixture
    def served(self, run_flow: Any) -> Any:
        """What makes the flow run in the test itself."""
        return lambda: compared(run_flow)("serve", nodes=TWO_NODES, executor="ray-v2", tensor_parallel_size=2)

    def test_each_rank_is_on_a_node_of_its_own(self, served: Any) -> None:
        """Ray has a worker of the server's on each node."""
        evidence = served().evidence
        workers = [actor for actor in evidence["actors"] if actor["class_name"] == "RayWorkerProc"]
        assert sorted(actor["node_id"] for actor in workers) == sorted(evidence["nodes"])

    def test_completions_are_those_of_the_offline_engine(self, served: Any, run_flow: Any) -> None:
        """A client sees no difference from one process."""
        offline = run_flow.control("generate", tensor_parallel_size=1).outputs["completions"]
        assert_same_texts(served().outputs["completions"], offline)

    @pytest.mark.vllm_version("<0.11")
    def test_the_v0_engine(self, run_flow: Any) -> None:
        """With old vLLM's engine too; of its two actors one holds the GPU of the rank in the server's own process."""
        result = run_flow("serve", nodes=TWO_NODES, executor="ray-v0", tensor_parallel_size=2)
        workers = [actor for actor in result.evidence["actors"] if actor["class_name"] == "RayWorkerWrapper"]
        assert sorted(actor["node_id"] for actor in workers) == sorted(result.evidence["nodes"])
        offline = run_flow.control("generate", tensor_parallel_size=1).outputs["completions"]
        assert_same_texts(result.outputs["completions"], offline)


class TestPipelineParallelAcrossNodes:
    """pipeline_parallel_size=2 on two nodes, and with tensor_parallel_size=2 on two nodes of two GPUs."""

    @pytest.fixture(
        params=[(1, TWO_NODES), pytest.param((2, NODES_OF_TWO), marks=pytest.mark.gpus(4))], ids=["1x2", "2x2"]
    )
    def generated(self, request: pytest.FixtureRequest, run_flow: Any) -> Any:
        """What makes the flow run in the test itself."""
        tensor_parallel_size, nodes = request.param
        return lambda: compared(run_flow)(
            "generate",
            nodes=nodes,
            executor="ray-v2",
            tensor_parallel_size=tensor_parallel_size,
            pipeline_parallel_size=2,
        )

    def test_each_stage_is_on_a_node_of_its_own(self, generated: Any) -> None:
        """The ranks of a stage share a node, and no stage shares one with another."""
        result = generated()
        width = result.parameters["tensor_parallel_size"]
        on = nodes_of(result.evidence)
        assert [len(set(on[:width])), len(set(on[width:])), len(set(on))] == [1, 1, 2]

    def test_same_tokens_as_without_ray(self, generated: Any, run_flow: Any) -> None:
        """The answers do not depend on how the model is cut."""
        assert_same_answers(generated(), run_flow.control("generate", tensor_parallel_size=1))


@on_every_executor
class TestHeadWithoutGpus:
    """A driver on the head, which has no GPU, and two nodes which have one each."""

    @pytest.fixture
    def generated(self, run_flow: Any, executor: str) -> Any:
        """What makes the flow run in the test itself."""
        return lambda: compared(run_flow)(
            "generate", nodes=HEAD_WITHOUT_GPUS, executor=executor, tensor_parallel_size=2
        )

    def test_no_rank_is_on_the_head(self, generated: Any) -> None:
        """Both ranks are on the nodes with GPUs, one on each; the head is the first of the nodes."""
        evidence = generated().evidence
        assert len(set(nodes_of(evidence))) == 2
        assert set(nodes_of(evidence)) == set(evidence["nodes"]) - {evidence["head"]}

    def test_same_tokens_as_without_ray(self, generated: Any, run_flow: Any) -> None:
        """The answers do not depend on where the driver is."""
        assert_same_answers(generated(), run_flow.control("generate", tensor_parallel_size=1))
