"""Our own gaps against the runs that are known: no gap may be recorded for a run that passed.

A gap that applies to such a run turns it red (``gap-closed``), or excuses the failure that it has one day. What is
added to a table is a run that somebody has seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from pytest_raycompat.gaps import applies, builtin_gaps
from pytest_raycompat.records import Environment

GAPS = builtin_gaps()
OVERLAP = "ray.dag.DAGNode.experimental_compile(_overlap_gpu_communication)"
OLD_RAY = frozenset(
    {
        OVERLAP,
        "ray.data.llm",
        "ray.experimental.channel.shared_memory_channel.BufferedSharedMemoryChannel",
        "ray.serve.llm",
    }
)
"""What Ray 2.35.0 lacks, and Ray 2.43.0 and newer have."""
LACKS = {"2.35.0": OLD_RAY, "2.35.0+corp.1": OLD_RAY - {OVERLAP}}
"""By the Ray; the second is the fork of tests/integration/test_gaps_on_a_real_flow.py."""


@dataclass(frozen=True)
class KnownRun:
    """A run that has been seen, and the gaps that it showed; it passed where there are none."""

    flow: str
    parameters: Mapping[str, Any]
    gaps: frozenset[str] = frozenset()
    behind: frozenset[str] = frozenset()
    """Gaps that are recorded for it too and did not show: those came first, or they come and go."""
    node_gpus: tuple[int, ...] = (4,)

    def __str__(self) -> str:
        values = "-".join(str(value) for value in self.parameters.values())
        return f"{self.flow}-{values}-on-{'-'.join(map(str, self.node_gpus))}"


def run(
    flow: str, *gaps: str, behind: tuple[str, ...] = (), node_gpus: tuple[int, ...] = (4,), **parameters: Any
) -> KnownRun:
    return KnownRun(flow, parameters, frozenset(gaps), frozenset(behind), node_gpus)


def serve_llm(*gaps: str, behind: tuple[str, ...] = ()) -> KnownRun:
    return run("ray_serve", *gaps, behind=behind, executor="ray-v2", node_gpus=(2,))


def data_llm(*gaps: str, behind: tuple[str, ...] = ()) -> KnownRun:
    return run("ray_data", *gaps, behind=behind, executor="ray-v2", node_gpus=(2,))


EVERY_RAY_ON_CPU = [
    *(run("generate", executor="ray-v2", tensor_parallel_size=size) for size in (1, 2)),
    run("generate", executor="ray-v2", tensor_parallel_size=2, node_gpus=(1, 1)),
    run("generate", executor="ray-v2", tensor_parallel_size=2, node_gpus=(0, 1, 1)),
    run("generate", "cpu-runner-pipeline-parallel", executor="ray-v2", pipeline_parallel_size=2),
    run("serve", executor="ray-v2", tensor_parallel_size=2, entry_point="api-server"),
    run("serve", executor="ray-v2", tensor_parallel_size=2, node_gpus=(1, 1)),
    run("serve", "vllm-serve-cpu-build", executor="ray-v2", tensor_parallel_size=2, entry_point="vllm-serve"),
    run("jobs", executor="ray-v2", tensor_parallel_size=2),
    run("data_parallel", executor="ray-v2", data_parallel_size=2),
    run("serve", executor="ray-v2", data_parallel_size=2),
    run("rlhf", executor="ray-v2", way="rpc", tensor_parallel_size=2),
    run("rlhf", executor="ray-v2", way="weight-transfer", tensor_parallel_size=2),
]
SIZES = ((2, 1), (1, 2), (2, 2))
NEW_RAY_ON_CPU = [
    *EVERY_RAY_ON_CPU,
    *(run("generate", executor="ray-v1", tensor_parallel_size=size) for size in (1, 2)),
    run("generate", executor="ray-v1", tensor_parallel_size=2, node_gpus=(1, 1)),
    run("generate", "driver-node-without-gpu", executor="ray-v1", tensor_parallel_size=2, node_gpus=(0, 1, 1)),
    run("serve", executor="ray-v1", tensor_parallel_size=2, entry_point="api-server"),
    run("serve", "cpu-runner-pipeline-parallel-served", executor="ray-v2", pipeline_parallel_size=2),
    run("serve", "driver-node-without-gpu-served", executor="ray-v1", tensor_parallel_size=2, node_gpus=(0, 1, 1)),
    run("ray_data", executor="ray-v2", tensor_parallel_size=2, failing_row=True),
    run("ray_data", executor="ray-v2", source="text", concurrency=2),
    run("ray_serve", executor="ray-v2", tensor_parallel_size=2),
    *(run("compiled_graph", tensor_parallel_size=tp, pipeline_parallel_size=pp) for tp, pp in SIZES),
    run("rlhf", executor="ray-v2", way="colocate", engines=2),
]
OLD_RAY_ON_CPU = [
    *EVERY_RAY_ON_CPU,
    *(run("generate", "cgraph-version-guard", executor="ray-v1", tensor_parallel_size=size) for size in (1, 2)),
    run("generate", "cgraph-version-guard", executor="ray-v1", tensor_parallel_size=2, node_gpus=(1, 1)),
    run("serve", "cgraph-version-guard-served", executor="ray-v1", tensor_parallel_size=2, entry_point="api-server"),
    run("ray_data", "data-llm-missing", executor="ray-v2", tensor_parallel_size=2, failing_row=True),
    run("ray_data", "data-llm-missing", executor="ray-v2", source="text", concurrency=2),
    run("ray_serve", "serve-llm-missing", executor="ray-v2", tensor_parallel_size=2),
    *(
        run(
            "compiled_graph",
            "cgraph-overlap-kwarg-missing",
            behind=("cgraph-channels-hold-one-value",),
            tensor_parallel_size=tp,
            pipeline_parallel_size=pp,
        )
        for tp, pp in SIZES
    ),
    run("rlhf", "cgraph-version-guard-elsewhere", executor="ray-v1"),
    run("jobs", "cgraph-version-guard-elsewhere", executor="ray-v1"),
    run("data_parallel", "cgraph-version-guard-data-parallel", executor="ray-v1"),
    run("rlhf", "fractional-gpus-leave-their-bundle", executor="ray-v2", way="colocate", engines=2),
]
BEFORE_2_56_ON_CPU = [run("generate", executor=executor, tensor_parallel_size=2) for executor in ("ray-v1", "ray-v2")]
TWO_STREAMS = ("cgraph-first-step-on-two-streams", "cgraph-first-step-illegal-access")
"""Shows now and then."""
ON_GPUS = [
    *(
        run(
            "generate",
            behind=behind,
            executor=executor,
            tensor_parallel_size=tp,
            pipeline_parallel_size=pp,
            node_gpus=(2,),
        )
        for executor, behind in (("ray-v1", TWO_STREAMS), ("ray-v2", ()))
        for tp, pp in ((1, 1), (2, 1), (1, 2))
    ),
    run(
        "serve",
        behind=TWO_STREAMS[:1],
        executor="ray-v1",
        tensor_parallel_size=2,
        entry_point="api-server",
        node_gpus=(2,),
    ),
    run("serve", executor="ray-v2", tensor_parallel_size=2, entry_point="api-server", node_gpus=(2,)),
    run("rlhf", executor="ray-v2", way="rpc", tensor_parallel_size=1, trainer_gpus=1, node_gpus=(2,)),
    run("rlhf", executor="ray-v2", way="colocate", engines=2, node_gpus=(2,)),
    *(
        run(flow, "dp-ray-v2-actor-name-taken", executor="ray-v2", data_parallel_size=2, node_gpus=(2,))
        for flow in ("data_parallel", "serve")
    ),
    run("ray_serve", "serve-llm-256-vllm-021", executor="ray-v1", tensor_parallel_size=2, node_gpus=(2,)),
    run("ray_data", executor="ray-v2", tensor_parallel_size=2, failing_row=True, node_gpus=(2,)),
    run("jobs", executor="ray-v2", tensor_parallel_size=2, node_gpus=(2,)),
]
OLD_RAY_ON_GPUS = [
    run("generate", executor="ray-v2", tensor_parallel_size=2, node_gpus=(2,)),
    run(
        "generate",
        "cgraph-version-guard",
        behind=TWO_STREAMS,
        executor="ray-v1",
        tensor_parallel_size=2,
        node_gpus=(2,),
    ),
    *(
        run(flow, "dp-ray-v2-actor-name-taken-ray-252", executor="ray-v2", data_parallel_size=2, node_gpus=(2,))
        for flow in ("data_parallel", "serve")
    ),
]
NEW_PAIR_ON_GPUS = [
    run("generate", executor="ray-v2", tensor_parallel_size=4, node_gpus=(4,)),
    *(
        run(
            "generate",
            gap,
            behind=tuple(set(TWO_STREAMS) - {gap}),
            executor="ray-v1",
            tensor_parallel_size=2,
            node_gpus=(2,),
        )
        for gap in TWO_STREAMS
    ),
    run("data_parallel", executor="ray-v2", data_parallel_size=2, tensor_parallel_size=2, node_gpus=(4,)),
    run("rlhf", "v2-engines-want-one-port", executor="ray-v2", way="colocate", engines=2, node_gpus=(2,)),
    run("ray_data", "v2-engines-want-one-port", executor="ray-v2", source="text", concurrency=2, node_gpus=(2,)),
    run("ray_serve", "serve-llm-260-vllm-028", executor="ray-v2", tensor_parallel_size=2, node_gpus=(2,)),
]
NO_GPU = ("accel-env-no-gpu-in-actor",)
"""Shows where the engine's own process asks CUDA for something."""
SEED_ON_GPUS = [
    run("generate", executor="ray-v0", tensor_parallel_size=2, node_gpus=(2,)),
    run(
        "generate",
        "cgraph-version-guard-vllm-010",
        behind=("gpu-held-after-shutdown",),
        executor="ray-v1",
        tensor_parallel_size=2,
        node_gpus=(2,),
    ),
    *(
        run("serve", executor="ray-v0", tensor_parallel_size=2, entry_point="api-server", node_gpus=nodes)
        for nodes in ((2,), (1, 1))
    ),
    run(
        "serve",
        "cgraph-version-guard-served-vllm-010",
        behind=("gpu-held-after-shutdown",),
        executor="ray-v1",
        tensor_parallel_size=2,
        entry_point="api-server",
        node_gpus=(2,),
    ),
    run("jobs", executor="ray-v0", tensor_parallel_size=2, node_gpus=(2,)),
    run("jobs", "cgraph-version-guard-elsewhere", executor="ray-v1", node_gpus=(2,)),
    run("rlhf", behind=NO_GPU, executor="ray-v0", way="rpc", tensor_parallel_size=1, trainer_gpus=1, node_gpus=(2,)),
    run(
        "rlhf",
        "cgraph-version-guard-elsewhere",
        behind=NO_GPU,
        executor="ray-v1",
        way="rpc",
        tensor_parallel_size=1,
        trainer_gpus=1,
        node_gpus=(2,),
    ),
    run(
        "ray_data",
        "data-llm-missing",
        behind=("gpu-held-after-shutdown", *NO_GPU),
        executor="ray-v1",
        tensor_parallel_size=2,
        failing_row=True,
        node_gpus=(2,),
    ),
    run("ray_serve", "serve-llm-missing", behind=NO_GPU, executor="ray-v1", tensor_parallel_size=2, node_gpus=(2,)),
]
BOTO3 = ("llm-needs-boto3",)
"""Shows only where boto3 is not installed."""
PROTOBUF = ("serve-protobuf-7",)
"""Shows only with protobuf 7."""
BEFORE_2_50 = ("data-llm-253-vllm-013-task", "data-llm-disable-log-requests", "data-llm-vllm-0111-use-v1")
KNOWN: dict[tuple[str, str, str], list[KnownRun]] = {
    ("2.60.0", "0.32.0", "cpu"): NEW_RAY_ON_CPU,
    ("2.35.0", "0.32.0", "cpu"): OLD_RAY_ON_CPU,
    ("2.47.1", "0.32.0", "cpu"): [
        run("generate", "cgraph-accelerator-context-missing", executor="ray-v1", tensor_parallel_size=2)
    ],
    ("2.54.1", "0.27.1", "cpu"): BEFORE_2_56_ON_CPU,
    ("2.54.1", "0.29.0", "cpu"): BEFORE_2_56_ON_CPU,
    ("2.35.0+corp.1", "0.32.0", "cpu"): [run("compiled_graph", "cgraph-channels-hold-one-value")],
    ("2.42.1", "0.32.0", "cpu"): [
        run("compiled_graph", "cgraph-wide-graph-stalls", tensor_parallel_size=2, pipeline_parallel_size=1),
        run("compiled_graph", tensor_parallel_size=1, pipeline_parallel_size=2),
    ],
    ("2.43.0", "0.32.0", "cpu"): [
        run(
            "serve",
            "cgraph-accelerator-context-missing-served",
            executor="ray-v1",
            tensor_parallel_size=2,
            entry_point="api-server",
        ),
        serve_llm("serve-llm-243-accelerator-type"),
        data_llm("data-llm-243-model-field", behind=("data-async-uvloop-022", "data-llm-transformers-5", *BEFORE_2_50)),
    ],
    ("2.44.1", "0.32.0", "cpu"): [serve_llm("serve-llm-needs-botocore", behind=PROTOBUF)],
    ("2.46.0", "0.32.0", "cpu"): [
        serve_llm("serve-llm-needs-botocore", behind=("serve-llm-248-vllm-0111-use-v1", *PROTOBUF)),
    ],
    ("2.48.0", "0.32.0", "cpu"): [serve_llm("serve-protobuf-7", behind=("serve-llm-248-vllm-0111-use-v1",))],
    ("2.49.2", "0.32.0", "cpu"): [
        run(
            "ray_data",
            "data-llm-no-continue-on-error",
            behind=("data-async-uvloop-022", "data-llm-transformers-5", *BEFORE_2_50),
            executor="ray-v2",
            failing_row=True,
        ),
        data_llm(
            "data-async-uvloop-022", "data-llm-transformers-5", behind=BEFORE_2_50
        ),  # with a new uvloop and with 0.21
    ],
    ("2.35.0", "0.10.0", "cuda"): SEED_ON_GPUS,
    ("2.50.1", "0.10.0", "cpu"): [serve_llm("serve-llm-new-ray-old-vllm", behind=PROTOBUF)],
    ("2.50.1", "0.28.0", "cpu"): [serve_llm("serve-llm-249-vllm-015", behind=PROTOBUF)],
    ("2.50.1", "0.32.0", "cpu"): [serve_llm("serve-llm-249-vllm-029", behind=PROTOBUF)],
    ("2.51.1", "0.14.1", "cpu"): [serve_llm("serve-llm-252-vllm-012", behind=PROTOBUF)],
    ("2.51.1", "0.32.0", "cpu"): [
        serve_llm("serve-llm-253-vllm-015", behind=PROTOBUF),
        run(
            "ray_data",
            "data-llm-no-continue-on-error",
            behind=("data-async-uvloop-022", "data-llm-transformers-5", "data-llm-253-vllm-013-task"),
            executor="ray-v2",
            failing_row=True,
        ),
    ],
    ("2.52.1", "0.12.0", "cpu"): [serve_llm("serve-llm-252-vllm-012", behind=PROTOBUF)],
    ("2.53.0", "0.11.2", "cpu"): [serve_llm("serve-llm-253-vllm-011", behind=(*BOTO3, *PROTOBUF))],
    ("2.53.0", "0.32.0", "cpu"): [
        serve_llm("serve-llm-253-vllm-015", behind=(*BOTO3, *PROTOBUF)),
        # twice: with a new uvloop and with 0.21
        data_llm("data-async-uvloop-022", "data-llm-253-vllm-013-task", behind=(*BOTO3, "data-llm-255-vllm-019")),
    ],
    ("2.54.1", "0.14.1", "cpu"): [serve_llm("serve-llm-254-vllm-014", behind=(*BOTO3, *PROTOBUF))],
    ("2.54.1", "0.17.1", "cpu"): [serve_llm("serve-llm-254-vllm-017", behind=(*BOTO3, *PROTOBUF))],
    ("2.54.1", "0.32.0", "cpu"): [
        serve_llm("serve-llm-254-vllm-029", "llm-needs-boto3", behind=PROTOBUF),  # twice: with boto3 and without
        data_llm("llm-needs-boto3", behind=("data-async-uvloop-022", "data-llm-255-vllm-019")),
    ],
    ("2.55.1", "0.15.1", "cpu"): [serve_llm("serve-llm-255-vllm-015", behind=(*BOTO3, *PROTOBUF))],
    ("2.55.1", "0.32.0", "cpu"): [
        serve_llm("serve-llm-255-vllm-020", behind=(*BOTO3, *PROTOBUF)),
        data_llm("data-llm-255-vllm-019", behind=BOTO3),
    ],
    ("2.56.1", "0.32.0", "cpu"): [serve_llm("serve-llm-256-vllm-029")],
    ("2.59.0", "0.21.0", "cpu"): [serve_llm("serve-llm-256-vllm-021")],
    ("2.59.0", "0.32.0", "cpu"): [serve_llm("serve-llm-256-vllm-029")],
    ("2.60.0", "0.28.0", "cpu"): [serve_llm("serve-llm-260-vllm-028")],
    ("2.60.0", "0.33.0", "cpu"): [
        serve_llm("serve-llm-260-vllm-033"),
        run("generate", executor="ray-v1", tensor_parallel_size=2, node_gpus=(0, 1, 1)),  # has no such executor
    ],
    ("2.60.0", "0.26.0", "cuda"): NEW_PAIR_ON_GPUS,
    ("2.60.0", "0.20.2", "cuda"): [
        run("data_parallel", "dp-ray-v2-actor-name-taken", executor="ray-v2", data_parallel_size=2, node_gpus=(2,))
    ],
    ("2.56.1", "0.20.2", "cuda"): ON_GPUS,
    ("2.35.0", "0.20.2", "cuda"): OLD_RAY_ON_GPUS,
}
"""The runs by Ray, vLLM and device."""
CASES = [
    pytest.param(ray, vllm, device, known, id=f"{ray}-{vllm}-{device}-{known}")
    for (ray, vllm, device), runs in KNOWN.items()
    for known in runs
]


@pytest.mark.parametrize(("ray", "vllm", "device", "known"), CASES)
def test_exactly_the_gaps_that_it_showed_apply_to_a_known_run(
    ray: str, vllm: str, device: str, known: KnownRun
) -> None:
    environment = Environment(executable="python3", python="3.11.2", platform="Linux", ray=ray, vllm=vllm)
    found = {
        gap.id
        for gap in GAPS
        if applies(
            gap,
            flow=known.flow,
            parameters=known.parameters,
            environment=environment,
            device=device,
            nodes=len(known.node_gpus),
            head_gpus=known.node_gpus[0],
            capability=lambda name: name not in LACKS.get(ray, ()),
        )
    }
    assert found == known.gaps | known.behind


def test_every_gap_that_a_run_has_shown_is_among_the_known_runs() -> None:
    """A pair of ``verified`` without a run above would not be held against the gaps that are added later."""
    shown = {(name, ray, vllm) for (ray, vllm, _), runs in KNOWN.items() for known in runs for name in known.gaps}
    verified = {(gap.id, pair.ray, pair.vllm) for gap in GAPS for pair in gap.verified}
    assert verified <= shown


def test_what_a_ray_lacks_is_told_here_too() -> None:
    """Another name in ``lacks`` must be looked up in Ray 2.35.0 and written above."""
    assert {name for gap in GAPS for name in gap.when.decisive_lacks} == OLD_RAY


@pytest.mark.parametrize("gap", [gap for gap in GAPS if not gap.verified], ids=lambda gap: gap.id)
def test_what_no_run_has_shown_says_what_it_rests_on(gap: Any) -> None:
    assert gap.confidence is not None or gap.id == "fractional-gpus-leave-their-bundle"
    assert gap.when.device != "cuda" or gap.needs is not None


@pytest.mark.parametrize("gap", [gap for gap in GAPS if gap.intermittent], ids=lambda gap: gap.id)
def test_what_may_or_may_not_show_is_confined(gap: Any) -> None:
    """It excuses a failure and lets a pass be, so no run would ever tell that it is recorded too widely."""
    assert gap.message is not None or gap.phase is not None
    versions = f"{gap.when.ray or ''},{gap.when.vllm or ''}"
    assert "<" in versions or "==" in versions, "it needs a version at which it ends"
