"""What every flow with a vLLM engine of its own shares: options, process settings, and proof of the executor."""

from __future__ import annotations

import argparse
import os
from importlib.metadata import version
from typing import Any

from pytest_raycompat.environment_program import executors_of, folder_of
from pytest_raycompat.flows.reporting import Reporter, qualified_name
from pytest_raycompat.flows.worker_evidence import own_variables
from pytest_raycompat.platforms import ACTIVATION_VARIABLE
from pytest_raycompat.processes.ports import free_port

EXECUTORS = ("ray-v2", "ray-v1", "ray-v0", "ray", "mp", "uni")
RAY_V2_VARIABLE = "VLLM_USE_RAY_V2_EXECUTOR_BACKEND"
"""Chooses between vLLM's two Ray executors, from 0.20 to 0.32; the default is 1 since 0.21 (vllm/envs.py). A vLLM
without it warns of a variable that it does not know (``Platform.validate_environ``,
vllm/platforms/interface.py, 0.32.0)."""

PORT_VARIABLE = "VLLM_DP_MASTER_PORT"
"""Says where vLLM 0.25 to 0.28 look first for the port by which an engine's ranks on Ray find each other. Where it is
not set, all engines of a machine want port 100 (_select_tcpstore_port, vllm/v1/executor/ray_executor_v2.py, 0.26.0)."""
PORTS_AFTER = 100
"""How far after ``PORT_VARIABLE`` they begin."""
SHARES_VARIABLE = "RAYCOMPAT_GPU_SHARES"
"""Says how many flows may be on a GPU; each takes its share of the memory."""
SHARES_LATER_VARIABLE = "RAYCOMPAT_GPU_SHARES_LATER"
"""The same for a flow that has its GPUs alone at first, from :func:`take_share` on."""
UTILIZATION = 0.92
"""What vLLM takes of a GPU, and so wants free, unless it is told otherwise (vllm/config/cache.py, 0.32.0; once 0.9)."""
FLEX_BLOCKS = 16384
"""Blocks of a KV cache that FlexAttention can address: what is free of 80 GB is too much for it with a small model
("64-bit indexing is not yet implemented for triton templates", torch 2.7.1 with vLLM 0.10.0)."""
KV_CACHE_BYTES = 1024**3
"""Of an engine that shares its GPUs: much more than the small model's, and vLLM need not measure what is free."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of an engine to a flow's command line."""
    parser.add_argument("--model", required=True, help="folder of the model")
    parser.add_argument(
        "--executor",
        choices=EXECUTORS,
        default="ray-v2",
        help="ray-v0 is that of the V0 engine, ray what vLLM takes by itself; mp and uni are without Ray",
    )
    parser.add_argument("--tensor-parallel-size", type=int, default=1)
    parser.add_argument("--pipeline-parallel-size", type=int, default=1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--dtype", default="float32", help="float32 makes outputs comparable token for token")
    parser.add_argument("--max-model-len", type=int, default=512)
    parser.add_argument("--disable-custom-all-reduce", action="store_true", help="needed where nodes share a machine")
    parser.add_argument("--hold", action="store_true", help="wait for a line on standard input before shutting down")


def add_gpu_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of an engine that matter on GPUs."""
    parser.add_argument("--graphs", action="store_true", help="compile, and use CUDA graphs; without, run eagerly")
    parser.add_argument("--gpu-memory-utilization", type=float, help="share of a GPU to take; by default vLLM's own")


def parameters(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what tells one run of the flow from another."""
    graphs = {"graphs": True} if getattr(arguments, "graphs", False) else {}
    return {
        "executor": arguments.executor,
        "tensor_parallel_size": arguments.tensor_parallel_size,
        "pipeline_parallel_size": arguments.pipeline_parallel_size,
        **graphs,
    }


def executor_variables(executor: str | None) -> dict[str, str]:
    """Return the variables by which vLLM takes ``executor``; none for ``ray``, which is its own choice."""
    return {
        "ray-v2": {RAY_V2_VARIABLE: "1"},
        "ray-v1": {RAY_V2_VARIABLE: "0"},
        "ray-v0": {RAY_V2_VARIABLE: "0", "VLLM_USE_V1": "0"},
    }.get(executor or "", {})


def prepare_process(arguments: argparse.Namespace) -> None:
    """Set the variables that vLLM reads when it is imported. What the caller has set stays.

    Raises:
        ValueError: a Ray executor without ``RAY_ADDRESS``: vLLM's engine process would start a Ray of its own. Or an
            executor that this vLLM has not: it would take another one.
    """
    here = executors_of(folder_of("vllm"))
    if here and arguments.executor not in ("ray", *here):
        raise ValueError(f"this vLLM has no executor {arguments.executor}; it has {', '.join(here)}")
    if arguments.executor.startswith("ray"):
        if not os.environ.get("RAY_ADDRESS"):
            raise ValueError("RAY_ADDRESS is not set, so vLLM would start a Ray of its own; set it to HOST:PORT")
        chosen = executor_variables(arguments.executor)
        if not {"ray-v1", "ray-v2"} <= {*here}:
            chosen.pop(RAY_V2_VARIABLE, None)
        os.environ.update(chosen)
        os.environ.setdefault(PORT_VARIABLE, str(free_port() - PORTS_AFTER))  # flows side by side begin elsewhere
    if os.path.isdir(arguments.model):
        os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a local model needs no hub, and asking takes minutes offline
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    if arguments.executor == "uni":
        # all in this one process; with an engine process of its own, vLLM's CPU platform turns uni into mp
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    if arguments.device == "cpu":
        os.environ[ACTIVATION_VARIABLE] = "1"
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
        ranks = arguments.tensor_parallel_size * arguments.pipeline_parallel_size
        if arguments.executor == "mp" and ranks > 1:
            os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", thread_binding(sorted(os.sched_getaffinity(0)), ranks))


def variables_for_actors() -> dict[str, str]:
    """Return the variables of this process that an engine inside an actor needs; an actor has those of its node.

    ``VLLM_HOST_IP`` stays out, as it is the node's own address, and ``VLLM_API_KEY``, as Ray logs runtime environments.
    """
    names = {ACTIVATION_VARIABLE, "HF_HUB_OFFLINE", "HF_HOME"}
    others = {"VLLM_HOST_IP", "VLLM_API_KEY"}
    return {
        name: value
        for name, value in os.environ.items()
        if name in names or (name.startswith(("VLLM_", "NCCL_")) and name not in others)
    }


def thread_binding(cores: list[int], ranks: int) -> str:
    """Share ``cores`` out to ``ranks`` in vLLM's notation (``0,1|2,3``).

    vLLM's own choice is one NUMA node for each rank, which fails with more ranks than nodes
    (vllm/utils/ompmultiprocessing.py, 0.32.0). With fewer cores than ranks some share one.
    """
    each = max(1, len(cores) // ranks)
    shares = ([cores[(rank * each + i) % len(cores)] for i in range(each)] for rank in range(ranks))
    return "|".join(",".join(str(core) for core in share) for share in shares)


def engine_arguments(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the keyword arguments of ``vllm.LLM``."""
    settings = {
        "model": arguments.model,
        "dtype": arguments.dtype,
        "max_model_len": arguments.max_model_len,
        "tensor_parallel_size": arguments.tensor_parallel_size,
        "pipeline_parallel_size": arguments.pipeline_parallel_size,
        "distributed_executor_backend": "ray" if arguments.executor.startswith("ray") else arguments.executor,
        "disable_custom_all_reduce": arguments.disable_custom_all_reduce,
        "enforce_eager": not getattr(arguments, "graphs", False),
        "seed": 0,
        "worker_extension_cls": "pytest_raycompat.flows.worker_evidence.WorkerEvidence",
    }
    if arguments.device == "cuda" and arguments.dtype == "float32" and takes_flex_attention(version("vllm")):
        settings["num_gpu_blocks_override"] = FLEX_BLOCKS
    return {**settings, **memory_arguments(getattr(arguments, "gpu_memory_utilization", None))}


def takes_flex_attention(vllm: str) -> bool:
    """Whether the V1 engine of this vLLM takes FlexAttention for float32 (vllm/platforms/cuda.py, 0.10.0)."""
    return tuple(map(int, vllm.split(".")[:2])) < (0, 11)


def memory_arguments(utilization: float | None = None) -> dict[str, Any]:
    """Return the arguments of ``vllm.LLM`` that say how much of a GPU's memory it takes; empty for vLLM's own choice.

    Where others are on the GPU, vLLM would stop when one of them lets go of memory while it measures how much is left
    for the KV cache ("Error in memory profiling", vllm/v1/worker/gpu_worker.py, 0.20.2): so it is told how much.

    Args:
        utilization: the share of a GPU to take where no others are on it.
    """
    shares = int(os.environ.get(SHARES_VARIABLE, "1"))
    if shares > 1:
        return {
            "gpu_memory_utilization": round((utilization or UTILIZATION) / shares, 4),
            "kv_cache_memory_bytes": KV_CACHE_BYTES,
        }
    return {} if utilization is None else {"gpu_memory_utilization": utilization}


def take_share() -> None:
    """Have further engines of this process take a share of each GPU, where others may be on them from now on."""
    if SHARES_LATER_VARIABLE in os.environ:
        os.environ[SHARES_VARIABLE] = os.environ[SHARES_LATER_VARIABLE]


def data_parallel_arguments(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the further arguments of engines that work in parallel on different requests."""
    backend = "ray" if arguments.executor.startswith("ray") else "mp"
    return {"data_parallel_size": arguments.data_parallel_size, "data_parallel_backend": backend}


def report_evidence(reporter: Reporter, llm: Any) -> None:
    """Report the executor that the engine's own configuration leads to, and what every rank says of itself."""
    for name, value in evidence_of(llm).items():
        reporter.evidence(name, value)


def evidence_of(llm: Any) -> dict[str, Any]:
    """Ask an engine where it runs: ``workers``, ``executor_class`` and ``platform``."""
    return {
        "workers": sorted(llm.collective_rpc("raycompat_evidence"), key=lambda worker: worker["rank"]),
        "executor_class": executor_name(llm.llm_engine),
        "platform": platform_name(),
        "variables": own_variables(),
    }


def executor_name(llm_engine: Any) -> str:
    """Name the executor of an engine, or where that is in another process the one that its configuration leads to.

    vLLM's V0 engine (``VLLM_USE_V1=0``, up to 0.10) has its executor here, and so has V1 without a process of its own.
    """
    executor = getattr(llm_engine, "model_executor", None)
    if executor is not None:
        return qualified_name(type(executor))
    from vllm.v1.executor.abstract import Executor

    return qualified_name(Executor.get_class(llm_engine.vllm_config))


def platform_name() -> str:
    """Name the vLLM platform in use."""
    from vllm.platforms import current_platform

    return qualified_name(type(current_platform))
