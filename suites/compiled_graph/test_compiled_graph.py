"""Ray's compiled graph with vLLM's arguments and vLLM's graph, without vLLM."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_raycompat.flows.compiled_graph import expected_results

on_every_shape = pytest.mark.parametrize(
    ("tensor_parallel_size", "pipeline_parallel_size"),
    [(2, 1), (1, 2), pytest.param(2, 2, marks=pytest.mark.gpus(4))],
)


@pytest.fixture
def executed(run_flow: Any, tensor_parallel_size: int, pipeline_parallel_size: int) -> Any:
    """What makes the flow run in the test itself."""
    return lambda: run_flow(
        "compiled_graph",
        tensor_parallel_size=tensor_parallel_size,
        pipeline_parallel_size=pipeline_parallel_size,
    )


@on_every_shape
class TestCompiledGraph:
    """One graph of each shape."""

    def test_results(self, executed: Any, tensor_parallel_size: int, pipeline_parallel_size: int) -> None:
        """Every execution gives what its stages add, in order, with several in flight."""
        results = executed().outputs["results"]
        assert results == expected_results(tensor_parallel_size, pipeline_parallel_size)

    def test_runs_on_ray(self, executed: Any, tensor_parallel_size: int, pipeline_parallel_size: int) -> None:
        """Each rank is a live actor with a GPU of its own, and lets go of it."""
        evidence = executed().evidence
        ranks = tensor_parallel_size * pipeline_parallel_size
        assert len({worker["actor_id"] for worker in evidence["workers"]}) == ranks
        assert evidence["free_gpus_before"] - evidence["free_gpus_during"] >= ranks
        assert evidence["released_after_s"] < 30
