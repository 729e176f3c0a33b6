"""Ray's compiled graph as vLLM's executor uses it, without vLLM: the same graph, the same arguments.

By hand, with ``RAY_ADDRESS`` set::

    python -m pytest_raycompat.flows.compiled_graph --tensor-parallel-size 2 --pipeline-parallel-size 2
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from pytest_raycompat.flows.reporting import Reporter, run_program

EXECUTIONS = 8
IN_FLIGHT = 4
TIMEOUTS_S = {
    "RAY_CGRAPH_get_timeout": 60,
    "RAY_CGRAPH_submit_timeout": 30,
    "RAY_DAG_retrieval_timeout": 60,
    "RAY_DAG_execution_timeout": 30,
}
"""Ray's own are 10 s, which a busy machine exceeds. The last two are the names up to Ray 2.40 (ray/dag/context.py)."""


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m pytest_raycompat.flows.compiled_graph")
    parser.add_argument("--tensor-parallel-size", type=int, default=2, help="actors of each stage")
    parser.add_argument("--pipeline-parallel-size", type=int, default=1, help="stages")
    parser.add_argument("--tensor-transport", help="between stages: auto, shm or nccl; default: auto, on a CPU shm")
    parser.add_argument("--hold", action="store_true", help="wait for a line on standard input before shutting down")
    parser.add_argument("--model", help="not used")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    read = parser.parse_args(arguments)
    # actors that hold a GPU, if only a declared one, are taken to speak NCCL
    read.tensor_transport = read.tensor_transport or ("shm" if read.device == "cpu" else "auto")
    return read


def start_actors(ranks: int) -> tuple[Any, list[Any]]:
    """Start an actor with a GPU for each rank in a placement group, as vLLM does."""
    import ray
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    @ray.remote(num_cpus=0, num_gpus=1)
    class Stage:
        """Stands for one worker of an engine."""

        def __init__(self, rank: int) -> None:
            self.rank = rank

        def where(self) -> dict[str, Any]:
            """Tell where this rank runs."""
            context = ray.get_runtime_context()
            return {
                "rank": self.rank,
                "pid": os.getpid(),
                "actor_id": context.get_actor_id(),
                "node_id": context.get_node_id(),
                "gpu_ids": [str(gpu) for gpu in context.get_accelerator_ids().get("GPU", [])],
            }

        def execute(self, received: Any) -> Any:
            """Add what this rank contributes; between stages it is a tensor that travels."""
            return received + self.rank

    group = ray.util.placement_group([{"GPU": 1.0}] * ranks, strategy="PACK")
    ray.get(group.ready(), timeout=60)
    strategies = [
        PlacementGroupSchedulingStrategy(placement_group=group, placement_group_bundle_index=rank)
        for rank in range(ranks)
    ]
    actor: Any = Stage  # the decorator changes what it is
    return group, [actor.options(scheduling_strategy=strategy).remote(rank) for rank, strategy in enumerate(strategies)]


def build_graph(stages: list[list[Any]], tensor_transport: str) -> Any:
    """Bind the graph of ``RayDistributedExecutor._compiled_ray_dag`` (vllm/v1/executor/ray_executor.py, 0.32.0)."""
    from ray.dag import InputNode, MultiOutputNode

    with InputNode() as received:
        outputs = [received for _ in stages[0]]
        for index, stage in enumerate(stages):
            outputs = [actor.execute.bind(outputs[rank]) for rank, actor in enumerate(stage)]
            if index < len(stages) - 1 and tensor_transport != "shm":
                outputs = [with_transport(output, tensor_transport) for output in outputs]
        return MultiOutputNode(outputs)


def with_transport(output: Any, transport: str) -> Any:
    """Say how the tensors of ``output`` travel; Ray before 2.42 calls that a type hint, as vLLM then did."""
    if hasattr(output, "with_tensor_transport"):
        return output.with_tensor_transport(transport=transport)
    from ray.experimental.channel.torch_tensor_type import TorchTensorType

    return output.with_type_hint(TorchTensorType(transport=transport))


def run_graph(reporter: Reporter, arguments: argparse.Namespace) -> None:
    """Compile, execute with several executions in flight, and tear down."""
    reporter.phase("import")
    for name, seconds in TIMEOUTS_S.items():
        os.environ.setdefault(name, str(seconds))
    import ray

    reporter.phase("start")
    ray.init(address=os.environ["RAY_ADDRESS"], log_to_driver=True)
    width, depth = arguments.tensor_parallel_size, arguments.pipeline_parallel_size
    group, actors = start_actors(width * depth)
    workers = ray.get([actor.where.remote() for actor in actors], timeout=60)

    reporter.phase("compile")
    stages = [actors[first : first + width] for first in range(0, width * depth, width)]
    graph = build_graph(stages, arguments.tensor_transport)
    compiled = graph.experimental_compile(enable_asyncio=False, _overlap_gpu_communication=False)

    reporter.phase("execute")
    results: list[list[float]] = []
    pending: list[Any] = []
    for number in range(EXECUTIONS):
        pending.append(compiled.execute(value_to_send(number)))
        if len(pending) == IN_FLIGHT:
            results.append([float(value) for value in ray.get(pending.pop(0))])
    results += [[float(value) for value in ray.get(references)] for references in pending]
    reporter.output("results", results)

    reporter.phase("inspect")
    reporter.evidence("workers", workers)
    reporter.hold()

    reporter.phase("teardown")
    compiled.teardown()

    reporter.phase("shutdown")
    ray.util.remove_placement_group(group)
    ray.shutdown()


def value_to_send(number: int) -> Any:
    """Make the input of one execution: a tensor where there is torch."""
    try:
        import torch
    except ImportError:
        return float(number)
    return torch.tensor(float(number))


def expected_results(width: int, depth: int) -> list[list[float]]:
    """Compute what the graph must give: each stage's actor adds its rank."""
    added = [sum(stage * width + rank for stage in range(depth)) for rank in range(width)]
    return [[float(number + more) for more in added] for number in range(EXECUTIONS)]


def main() -> int:
    """Run the flow and return its exit status."""
    arguments = parse_arguments()
    parameters = {
        "tensor_parallel_size": arguments.tensor_parallel_size,
        "pipeline_parallel_size": arguments.pipeline_parallel_size,
    }
    return run_program(
        "compiled_graph", parameters, lambda reporter: run_graph(reporter, arguments), hold=arguments.hold
    )


if __name__ == "__main__":
    sys.exit(main())
