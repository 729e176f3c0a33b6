"""The performance flow: how fast an engine starts, answers and decodes, and what it burns while it is idle.

By hand::

    python -m pytest_raycompat.flows.performance --model PATH --executor ray-v2 --device cuda
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from pytest_raycompat.flows import engine
from pytest_raycompat.flows.cpu_time import CpuTime
from pytest_raycompat.flows.reporting import Reporter, run_program
from pytest_raycompat.models.tiny import ONE_BILLION, write_model_without_weights

PROMPT_TOKENS = 64
IDLE_WINDOWS, IDLE_WINDOW_S = 5, 2.0
SETTLE_S = 1.0


@dataclass(frozen=True)
class Load:
    """How much is asked of the engine: ``tokens`` for each prompt, ``batch`` prompts at once, ``repeats`` times."""

    tokens: int
    batch: int
    repeats: int


LOADS = {"cuda": Load(tokens=128, batch=64, repeats=7), "cpu": Load(tokens=16, batch=4, repeats=3)}


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line; what is not given depends on the device."""
    parser = argparse.ArgumentParser(prog="python -m pytest_raycompat.flows.performance")
    engine.add_arguments(parser)
    engine.add_gpu_arguments(parser)
    parser.add_argument("--size", choices=("tiny", "1b"), help="the model that is given, or one of 1B parameters")
    parser.add_argument("--tokens", type=int, help="tokens to generate for each prompt")
    parser.add_argument("--batch", type=int, help="prompts at once")
    parser.add_argument("--repeats", type=int, help="samples of each rate")
    parser.set_defaults(dtype=None)
    read = parser.parse_args(arguments)
    load = LOADS[read.device]
    read.size = read.size or ("1b" if read.device == "cuda" else "tiny")
    read.dtype = read.dtype or ("bfloat16" if read.device == "cuda" else "float32")
    for name in ("tokens", "batch", "repeats"):
        if getattr(read, name) is None:
            setattr(read, name, getattr(load, name))
        elif getattr(read, name) < 1 or (name == "tokens" and read.tokens < 2):
            parser.error(f"--{name} {getattr(read, name)}: write a whole number from {2 if name == 'tokens' else 1}")
    if PROMPT_TOKENS + read.tokens > read.max_model_len:
        parser.error(f"--tokens {read.tokens}: with a prompt of {PROMPT_TOKENS} that is over --max-model-len")
    return read


def settings_of(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return the keyword arguments of ``vllm.LLM``.

    The weights of the large model are random and made by vLLM where they are needed: how fast a step is does not depend
    on their values, and nothing of 4 GB is written.
    """
    settings = engine.engine_arguments(arguments)
    if arguments.size == "1b":
        settings |= {"model": str(write_model_without_weights(folder / "model", ONE_BILLION)), "load_format": "dummy"}
    return settings


def prompts() -> Iterator[str]:
    """Give prompts of the same length that differ from their first token on: none is in a cache already."""
    for number in count():
        yield f"{number:06d} measures how long this takes, again and again and again. "[:PROMPT_TOKENS].ljust(
            PROMPT_TOKENS, "."
        )


class Stopwatch:
    """Times what an engine does.

    Args:
        llm: the engine.
        sampling: vLLM's ``SamplingParams``.
    """

    def __init__(self, llm: Any, sampling: Callable[..., Any]) -> None:
        self._llm = llm
        self._sampling = sampling
        self._prompts = prompts()

    def generate(self, batch: int, tokens: int) -> float:
        """Have so many tokens generated for each of ``batch`` new prompts, and return the seconds that took.

        Raises:
            RuntimeError: the engine gave fewer tokens, so that no rate would be right.
        """
        asked = [next(self._prompts) for _ in range(batch)]
        greedy = self._sampling(temperature=0.0, max_tokens=tokens, ignore_eos=True, detokenize=False)
        began = time.perf_counter()
        outputs = self._llm.generate(asked, greedy, use_tqdm=False)
        seconds = time.perf_counter() - began
        got = sum(len(output.outputs[0].token_ids) for output in outputs)
        if got != batch * tokens:
            raise RuntimeError(f"{batch} prompts gave {got} tokens together, not {tokens} each")
        return seconds


def measure_rates(reporter: Reporter, watch: Stopwatch, load: Load) -> None:
    """Measure the first token, a single prompt and a batch."""
    reporter.phase("warm")
    watch.generate(load.batch, load.tokens)
    watch.generate(1, load.tokens)

    reporter.phase("single")
    first, single, step = [], [], []
    for _ in range(load.repeats):
        first.append(watch.generate(1, 1))
        whole = watch.generate(1, load.tokens)
        single.append(load.tokens / whole)
        step.append(max(0.0, whole - first[-1]) / (load.tokens - 1) * 1000)
    reporter.measurement("first_token", "ms", [seconds * 1000 for seconds in first], better="lower")
    reporter.measurement("single", "tokens/s", single, better="higher")
    reporter.measurement("step", "ms", step, better="lower")

    reporter.phase("batch")
    batches = [watch.generate(load.batch, load.tokens) for _ in range(load.repeats)]
    rates = [load.batch * load.tokens / seconds for seconds in batches]
    reporter.measurement("batched", "tokens/s", rates, better="higher")


def measure_idle(reporter: Reporter, workers: list[dict[str, Any]]) -> None:
    """Measure the CPU time of the engine's processes while nothing is asked of it.

    That a worker waits in a busy loop is the subject of https://github.com/vllm-project/vllm/issues/21231.
    """
    reporter.phase("idle")
    time.sleep(SETTLE_S)
    cpu = CpuTime([worker["pid"] for worker in workers])
    burnt = []
    for _ in range(IDLE_WINDOWS):
        cpu.restart()
        time.sleep(IDLE_WINDOW_S)
        burnt.append(cpu.burnt())
    reporter.measurement("idle_cpu", "CPU s per s", [sum(one.values()) for one in burnt], better="lower")
    reporter.output("idle_cpu_by_process", burnt)


def performance(reporter: Reporter, arguments: argparse.Namespace) -> None:
    """Start an engine, measure, show on what it ran, and let it go."""
    engine.prepare_process(arguments)
    reporter.phase("import")
    from vllm import LLM, SamplingParams

    with tempfile.TemporaryDirectory(prefix="raycompat-performance-") as folder:
        reporter.phase("start")
        began = time.perf_counter()
        llm = LLM(**settings_of(arguments, Path(folder)))
        reporter.measurement("engine_start", "s", [time.perf_counter() - began], better="lower")
        load = Load(arguments.tokens, arguments.batch, arguments.repeats)
        reporter.output("load", {"size": arguments.size, "dtype": arguments.dtype, **vars(load)})
        measure_rates(reporter, Stopwatch(llm, SamplingParams), load)
        found = engine.evidence_of(llm)
        measure_idle(reporter, found["workers"])

        reporter.phase("inspect")
        for name, value in found.items():
            reporter.evidence(name, value)
        reporter.hold()

        reporter.phase("shutdown")
        del llm
        gc.collect()


def main() -> int:
    """Run the flow and return its exit status."""
    arguments = parse_arguments()
    return run_program(
        "performance",
        engine.parameters(arguments),
        lambda reporter: performance(reporter, arguments),
        hold=arguments.hold,
    )


if __name__ == "__main__":
    sys.exit(main())
