"""How fast each executor is: asked for with ``-m performance``. ``raycompat diff`` says what changed."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.performance

RUNS = 3
"""Each starts an engine anew: what differs from one start to the next is noise too."""
NAMES = {"engine_start", "first_token", "single", "step", "batched", "idle_cpu"}


@pytest.mark.parametrize(
    "tensor_parallel_size", [1, *(pytest.param(size, marks=pytest.mark.gpus(size)) for size in (2, 4))]
)
@pytest.mark.parametrize("executor", ["mp", "ray-v1", "ray-v2"])
def test_measure(run_flow: Any, executor: str, tensor_parallel_size: int) -> None:
    """Every run measures all there is to measure, and the samples are numbers that can be."""
    graphs = {"graphs": True} if run_flow.device == "cuda" else {}
    sizes = {"executor": executor, "tensor_parallel_size": tensor_parallel_size}
    for result in run_flow.repeat(RUNS, "performance", **sizes, **graphs):
        assert set(result.measurements) == NAMES
        for name, measurement in result.measurements.items():
            assert len(measurement.samples) >= (1 if name == "engine_start" else 3), name
            assert all(sample >= 0 for sample in measurement.samples), name
        rates = result.measurements
        assert min(rates["single"].samples) > 0
        assert max(rates["batched"].samples) > min(rates["single"].samples)
