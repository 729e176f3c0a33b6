"""What running a flow costs against the same steps as a bare script: engine, greedy and sampled generate, shutdown.

    python benchmarks/generate_flow.py [EXECUTOR] [RUNS] [TENSOR_PARALLEL_SIZE]

Both run on one local cluster, in turn; the pair is one ratio.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pytest_raycompat.commands.run import Console
from pytest_raycompat.flows.generate import PROMPTS, QUICKSTART_PROMPTS
from pytest_raycompat.gaps import BUILTIN_FOLDER, load_gaps
from pytest_raycompat.session import Session
from pytest_raycompat.settings import Settings

SCRIPT = f"""
import os, sys
os.environ["VLLM_USE_RAY_V2_EXECUTOR_BACKEND"] = sys.argv[3]
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["VLLM_CPU_KVCACHE_SPACE"] = "1"
from vllm import LLM, SamplingParams
llm = LLM(
    model=sys.argv[1], dtype="float32", max_model_len=512, tensor_parallel_size=int(sys.argv[2]), enforce_eager=True,
    distributed_executor_backend="ray",
)
llm.generate({list(PROMPTS)!r}, SamplingParams(temperature=0.0, max_tokens=16, logprobs=3, ignore_eos=True))
llm.generate({list(QUICKSTART_PROMPTS)!r}, SamplingParams(temperature=0.8, top_p=0.95))
"""


def bare(session: Session, executor: str, tensor_parallel_size: int) -> float:
    """Time the bare script, in seconds."""
    cluster = session.clusters.get()
    command = [
        session.settings.python,
        "-c",
        SCRIPT,
        str(session.tiny_model),
        str(tensor_parallel_size),
        "1" if executor == "ray-v2" else "0",
    ]
    began = time.perf_counter()
    child = session.children.start(
        command, environment=cluster.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    status = child.process.wait(600)
    seconds = time.perf_counter() - began
    child.end(0)
    if status != 0:
        raise SystemExit(f"the bare script ended with {status}")
    return seconds


def flow(session: Session, executor: str, tensor_parallel_size: int) -> float:
    """Time the flow, in seconds."""
    began = time.perf_counter()
    parameters = {"executor": executor, "tensor_parallel_size": tensor_parallel_size}
    result = session.flows.run("generate", parameters, fresh=True)
    seconds = time.perf_counter() - began
    if result.failure is not None:
        raise SystemExit(f"the flow ended with {result.failure}")
    return seconds


def main() -> None:
    """Run the benchmark."""
    executor = sys.argv[1] if len(sys.argv) > 1 else "ray-v2"
    runs = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    size = int(sys.argv[3]) if len(sys.argv) > 3 else 2
    with tempfile.TemporaryDirectory(prefix="rb-") as name:
        settings = Settings.read(root=Path(name), cluster="local")
        session = Session(settings, load_gaps([BUILTIN_FOLDER]), Console())
        try:
            bare(session, executor, size)  # not counted: vLLM's cache and the page cache are filled
            pairs = [(flow(session, executor, size), bare(session, executor, size)) for _ in range(runs)]
        finally:
            session.close()
    ours, theirs = (statistics.median(times) for times in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    what = f"{executor} TP={size}"
    print(f"{what}: flow {ours:.1f} s, bare script {theirs:.1f} s, median ratio {ratio:.3f} over {runs} pairs")


if __name__ == "__main__":
    main()
