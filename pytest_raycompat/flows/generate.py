"""The generate flow: a real vLLM engine offline, several prompts, greedy, with log-probabilities.

By hand::

    python -m pytest_raycompat.flows.generate --model PATH --executor ray-v2 --tensor-parallel-size 2
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from typing import Any

from pytest_raycompat.flows import engine
from pytest_raycompat.flows.reporting import Reporter, run_program

PROMPTS = (
    "San Franciso is a",  # the seed's own prompt, spelled as there
    "The capital of France is",
    "An old silent pond",
    "0123456789",
    "Ray starts actors; vLLM",
    "def main():",
)
QUICKSTART_PROMPTS = (
    "Hello, my name is",
    "The president of the United States is",
    "The capital of France is",
    "The future of AI is",
)
"""The prompts of vLLM's quickstart, offline example (docs/getting_started/quickstart.md)."""


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m pytest_raycompat.flows.generate", description=__doc__.split("\n")[0]
    )
    engine.add_arguments(parser)
    engine.add_gpu_arguments(parser)
    parser.add_argument("--max-tokens", type=int, default=16, help="tokens to generate for each prompt")
    return parser.parse_args(arguments)


def generate(reporter: Reporter, arguments: argparse.Namespace) -> None:
    """Start an engine, generate, show on what it ran, and let it go."""
    engine.prepare_process(arguments)
    reporter.phase("import")
    from vllm import LLM, SamplingParams

    reporter.phase("start")
    llm = LLM(**engine.engine_arguments(arguments))

    reporter.phase("generate")
    greedy = SamplingParams(temperature=0.0, max_tokens=arguments.max_tokens, logprobs=3, ignore_eos=True)
    reporter.output("prompts", list(PROMPTS))
    began = time.monotonic()
    outputs = llm.generate(list(PROMPTS), greedy)
    reporter.throughput(sum(len(output.outputs[0].token_ids) for output in outputs), time.monotonic() - began)
    reporter.output("completions", [describe_completion(output) for output in outputs])

    sampled = SamplingParams(temperature=0.8, top_p=0.95)
    quickstart = llm.generate(list(QUICKSTART_PROMPTS), sampled)
    reporter.output("quickstart", [{"prompt": one.prompt, "text": one.outputs[0].text} for one in quickstart])

    reporter.phase("inspect")
    engine.report_evidence(reporter, llm)
    reporter.hold()

    reporter.phase("shutdown")
    del llm, quickstart
    gc.collect()


def describe_completion(output: Any) -> dict[str, Any]:
    """Reduce a ``RequestOutput`` to tokens, text, and the log-probabilities of the candidates of each step."""
    completion = output.outputs[0]
    return {
        "token_ids": list(completion.token_ids),
        "text": completion.text,
        "finish_reason": completion.finish_reason,
        "logprobs": [
            {str(token): candidate.logprob for token, candidate in step.items()} for step in completion.logprobs
        ],
    }


def main() -> int:
    """Run the flow and return its exit status."""
    arguments = parse_arguments()
    return run_program(
        "generate",
        engine.parameters(arguments),
        lambda reporter: generate(reporter, arguments),
        hold=arguments.hold,
    )


if __name__ == "__main__":
    sys.exit(main())
