"""What each flow of the suites does with Ray and vLLM, written as a program that is walked and never run.

A program names what a run reaches in Ray, in vLLM and in our own flow; the walk goes on from there into their code.
Where a name is another one in another release, the program asks first, as code that fits all releases would.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_MODULES_V1 = (
    "vllm.v1.executor.ray_executor",
    "vllm.v1.executor.ray_distributed_executor",
    "vllm.executor.ray_distributed_executor",
)
_MODULES_V2 = ("vllm.v1.executor.ray_executor_v2",)
_V1 = (("VLLM_USE_RAY_V2_EXECUTOR_BACKEND", "0"),)
_V2 = (("VLLM_USE_RAY_V2_EXECUTOR_BACKEND", "1"),)

_LINE, _INDENTED = "\n", "\n    "

UNUSED = re.compile(r"weight_transfer|wt_cfg|nsight|elastic_ep|lora|is_tpu|is_xpu|is_rocm|is_hpu|multi_?modal")
"""Tests of what no flow of the suites uses: what is missing behind one is guarded."""

INTERNAL = re.compile(r"vllm\.(v1|executor)\.|ray\.llm\.|.*\._")
"""Names that the programs below know of, and that are nobody's promise: a release without one is `unknown`."""

_EXECUTOR_V1 = """
if find_spec("vllm.v1.executor.ray_executor") is not None:
    from vllm.v1.executor.ray_executor import RayDistributedExecutor
    _1 = RayDistributedExecutor(*options)
    _1._init_executor()
    _1._compiled_ray_dag(enable_asyncio=False)
    _1.execute_model(*options)
    if hasattr(_1, "sample_tokens"):
        _1.sample_tokens(*options)
    _1.shutdown()
elif find_spec("vllm.v1.executor.ray_distributed_executor") is not None:
    from vllm.v1.executor.ray_distributed_executor import RayDistributedExecutor as OfV1
    _2 = OfV1(*options)
    _2._init_executor()
    _2._compiled_ray_dag(enable_asyncio=False)
    _2.execute_model(*options)
    _2.shutdown()
elif find_spec("vllm.executor.ray_distributed_executor") is not None:
    from vllm.executor.ray_distributed_executor import RayDistributedExecutor as OfV0
    _3 = OfV0(*options)
    _3._init_executor()
    _3.shutdown()
else:
    raise RuntimeError(f"vLLM {vllm.__version__} has no compiled-graph executor")
"""
_EXECUTOR_V2 = """
import vllm.v1.executor.ray_executor_v2 as of_v2
_4 = of_v2.RayExecutorV2(*options)
_4._init_executor()
_4.shutdown()
if hasattr(of_v2, "RayWorkerProc") and hasattr(of_v2.RayWorkerProc, "create_dist_init_method"):
    of_v2.RayWorkerProc(*options).create_dist_init_method()
"""
_DEFAULT_EXECUTOR = f"""
import vllm.envs
if find_spec("vllm.v1.executor.ray_executor_v2") is None:
{_EXECUTOR_V1.replace(_LINE, _INDENTED)}
elif hasattr(vllm.envs, "VLLM_USE_RAY_V2_EXECUTOR_BACKEND") and not vllm.envs.VLLM_USE_RAY_V2_EXECUTOR_BACKEND:
{_EXECUTOR_V1.replace(_LINE, _INDENTED)}
else:
{_EXECUTOR_V2.replace(_LINE, _INDENTED)}
"""
_DATA_STAGE = """
from ray.llm._internal.batch.stages import vllm_engine_stage as stage
stage.vLLMEngineStageUDF(**options)
wrapper = stage.vLLMEngineWrapper(**options)
wrapper._prepare_llm_request(row)
if hasattr(wrapper, "generate_async"):
    wrapper.generate_async(row)
if hasattr(wrapper, "_generate_async"):
    wrapper._generate_async(row)
if hasattr(wrapper, "generate_async_v1"):
    wrapper.generate_async_v1(row)
if hasattr(wrapper, "shutdown"):
    wrapper.shutdown()
if hasattr(stage, "vLLMOutputData"):
    stage.vLLMOutputData.from_vllm_engine_output(output)
"""
_SERVE_ENGINE = """
if find_spec("ray.llm._internal.serve.engines.vllm.vllm_engine") is not None:
    from ray.llm._internal.serve.engines.vllm.vllm_engine import VLLMEngine
    VLLMEngine(*options).start()
else:
    from ray.llm._internal.serve.deployments.llm.vllm.vllm_engine import VLLMEngine as Former
    Former(*options).start()
"""


@dataclass(frozen=True)
class Program:
    """A flow as it is walked."""

    flow: str
    """In :data:`pytest_raycompat.flows.registry.FLOWS`."""
    text: str
    executor: str | None = None
    """The one that it is run with; None for RayExecutorV2 where that vLLM has it, which is what the suites ask for."""
    settings: tuple[tuple[str, str], ...] = ()
    """Environment variables that the flow sets."""
    named: bool = False
    """Whether the executor is part of its name."""
    one_of: tuple[str, ...] = ()
    """Modules of which a vLLM with that executor has one; of any vLLM where none is named."""

    @property
    def name(self) -> str:
        """What a user calls it."""
        return f"{self.flow} {self.executor}" if self.named else self.flow

    @property
    def source(self) -> str:
        """The whole program."""
        return f"import vllm\nfrom importlib.util import find_spec\n{self.text}"


def _ours(module: str, function: str) -> str:
    return f"from pytest_raycompat.flows.{module} import {function}\n{function}(reporter, arguments)\n"


_GENERATE = "import ray\nimport vllm.engine.arg_utils\nimport vllm.envs\n" + _ours("generate", "generate")

PROGRAMS: tuple[Program, ...] = (
    Program("generate", _GENERATE + _EXECUTOR_V1, "ray-v1", _V1, named=True, one_of=_MODULES_V1),
    Program("generate", _GENERATE + _EXECUTOR_V2, "ray-v2", _V2, named=True, one_of=_MODULES_V2),
    Program("serve", f"{_GENERATE}import vllm.entrypoints.openai.api_server\n{_DEFAULT_EXECUTOR}", settings=_V2),
    Program("compiled_graph", _ours("compiled_graph", "run_graph")),
    Program("ray_data", _ours("ray_data", "with_ray") + _DATA_STAGE),
    Program(
        "ray_serve",
        """
if find_spec("ray.serve.llm.configs") is not None:
    from ray.serve.llm.configs import LLMConfig
    from ray.serve.llm.builders import build_openai_app
else:
    from ray.serve.llm import LLMConfig, build_openai_app
"""
        + _ours("ray_serve", "ray_serve")
        + _SERVE_ENGINE,
    ),
    Program("rlhf", _GENERATE + _ours("rlhf", "rlhf") + _DEFAULT_EXECUTOR, settings=_V2),
    Program("jobs", _ours("jobs", "run_jobs") + _GENERATE + _DEFAULT_EXECUTOR, settings=_V2),
    Program(
        "data_parallel",
        "from pytest_raycompat.flows.data_parallel import generate\ngenerate(reporter, arguments)\n"
        """
import vllm.envs
import vllm.v1.engine.core
from vllm.v1.engine.utils import CoreEngineActorManager
manager = CoreEngineActorManager(**options)
CoreEngineActorManager.create_dp_placement_groups(*options)
if hasattr(manager, "shutdown"):
    manager.shutdown()
""" + _DEFAULT_EXECUTOR,
        settings=_V2,
    ),
)
"""In the order in which they are shown."""
