"""The data_parallel flow: several engines behind one client, each a Ray actor with workers of its own.

By hand, with ``RAY_ADDRESS`` set::

    python -m pytest_raycompat.flows.data_parallel --model PATH --executor ray-v2 --data-parallel-size 2
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from typing import Any

from pytest_raycompat.flows import engine
from pytest_raycompat.flows.generate import PROMPTS, describe_completion
from pytest_raycompat.flows.reporting import Reporter, run_program

GENERATE_LIMIT_S = 120.0


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m pytest_raycompat.flows.data_parallel")
    engine.add_arguments(parser)
    parser.add_argument("--data-parallel-size", type=int, default=2, help="engines")
    parser.add_argument("--max-tokens", type=int, default=16, help="tokens to generate for each prompt")
    return parser.parse_args(arguments)


async def generate(reporter: Reporter, arguments: argparse.Namespace) -> None:
    """Start the engines, let them answer every prompt at once, and let them go."""
    reporter.phase("import")
    from vllm import AsyncEngineArgs, SamplingParams
    from vllm.v1.engine.async_llm import AsyncLLM

    reporter.phase("start")
    llm = AsyncLLM.from_engine_args(
        AsyncEngineArgs(**engine.engine_arguments(arguments), **engine.data_parallel_arguments(arguments))
    )
    try:
        reporter.phase("generate")
        greedy = SamplingParams(temperature=0.0, max_tokens=arguments.max_tokens, logprobs=3, ignore_eos=True)

        async def answer(number: int, prompt: str) -> Any:
            last = None
            async for output in llm.generate(prompt, greedy, f"request-{number}"):
                last = output
            return last

        answers = asyncio.gather(*(answer(number, prompt) for number, prompt in enumerate(PROMPTS)))
        began = time.monotonic()
        outputs = await asyncio.wait_for(answers, GENERATE_LIMIT_S)
        reporter.throughput(sum(len(output.outputs[0].token_ids) for output in outputs), time.monotonic() - began)
        reporter.output("prompts", list(PROMPTS))
        reporter.output("completions", [describe_completion(output) for output in outputs])

        reporter.phase("inspect")
        reporter.evidence("platform", engine.platform_name())
        reporter.hold()
        reporter.phase("shutdown")
    finally:  # after a failure too, which keeps the phase in which it happened
        llm.shutdown()


def run(reporter: Reporter, arguments: argparse.Namespace) -> None:
    """Run the flow."""
    engine.prepare_process(arguments)
    asyncio.run(generate(reporter, arguments))


def main() -> int:
    """Run the flow and return its exit status."""
    arguments = parse_arguments()
    parameters = {**engine.parameters(arguments), "data_parallel_size": arguments.data_parallel_size}
    return run_program("data_parallel", parameters, lambda reporter: run(reporter, arguments), hold=arguments.hold)


if __name__ == "__main__":
    sys.exit(main())
