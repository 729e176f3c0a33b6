"""Each known gap that names environment variables to work around it: they are applied, and the flow must work."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_raycompat.flows.proof import WORKER_CLASSES

GENERATED: tuple[str, dict[str, Any]] = ("generate", {"tensor_parallel_size": 2})
SERVED: tuple[str, dict[str, Any]] = ("serve", {"tensor_parallel_size": 2, "entry_point": "api-server"})
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "cgraph-version-guard": GENERATED,
    "cgraph-version-guard-vllm-010": GENERATED,
    "cgraph-version-guard-served": SERVED,
    "cgraph-version-guard-served-vllm-010": SERVED,
    "driver-node-without-gpu": ("generate", {"tensor_parallel_size": 2, "nodes": (0, 1, 1)}),
}
"""By the gap: a flow that has it, and how that is run."""


@pytest.mark.parametrize("gap", CASES)
def test_workaround(run_flow: Any, gap: str) -> None:
    """With the gap's variables the flow that fails without them works, on Ray."""
    flow, arguments = CASES[gap]
    actors = run_flow.workaround(gap, flow, **arguments).evidence["actors"]
    workers = [actor for actor in actors if actor["class_name"] in WORKER_CLASSES["ray"]]
    assert len(workers) == 2


@pytest.mark.ray_version("<2.43")
def test_the_switch_that_was_named_for_vllm_0_10(run_flow: Any) -> None:
    """``VLLM_USE_RAY_COMPILED_DAG=0`` is no way out: the compiled-graph executor refuses that Ray all the same.

    The V1 engine always compiles its graph (vLLM 0.10.0, tried with Ray 2.35.0), and vLLM 0.32 does not know the
    variable any more. Were it to work, the verdict would be ``gap-closed``.
    """
    run_flow("generate", executor="ray-v1", tensor_parallel_size=2, variables={"VLLM_USE_RAY_COMPILED_DAG": "0"})
