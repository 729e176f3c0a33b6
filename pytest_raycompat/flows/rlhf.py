"""The RLHF flow: a trainer and vLLM engines side by side, whose weights follow the trainer's.

By hand, with ``RAY_ADDRESS`` set::

    python -m pytest_raycompat.flows.rlhf --model PATH --way rpc --tensor-parallel-size 2
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from pytest_raycompat.flows import engine
from pytest_raycompat.flows.generate import PROMPTS
from pytest_raycompat.flows.reporting import Reporter, run_program
from pytest_raycompat.flows.rlhf_engine import fresh_answers
from pytest_raycompat.flows.rlhf_places import together
from pytest_raycompat.flows.rlhf_setup import SHARE, Setup, set_up
from pytest_raycompat.flows.rlhf_ways import WAYS, Way

STEPS = 4
"""Gradient steps in a round."""


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m pytest_raycompat.flows.rlhf")
    engine.add_arguments(parser)
    parser.add_argument("--way", choices=tuple(WAYS), default="rpc", help="how weights get from trainer to engine")
    parser.add_argument("--engines", type=int, default=1, help="how many, each with a trainer; more need colocate")
    parser.add_argument("--trainer-gpus", type=int, choices=(0, 1), default=0, help="GPUs that the trainer has alone")
    parser.add_argument("--sleep", action="store_true", help="have engines sleep while the trainer trains; on cuda")
    parser.add_argument("--rounds", type=int, default=3, help="how often to train, send and generate")
    parser.add_argument("--max-tokens", type=int, default=16, help="tokens to generate for each prompt")
    read = parser.parse_args(arguments)
    ranks = read.tensor_parallel_size * read.pipeline_parallel_size
    if read.way == "colocate" and (ranks != 1 or read.trainer_gpus):
        parser.error("--way colocate is for engines of one rank, and the trainer has no GPU alone: it shares theirs")
    if read.way != "colocate" and read.engines != 1:
        parser.error("--engines above 1 needs --way colocate")
    if read.way != "colocate" and read.device == "cuda" and not read.trainer_gpus:
        parser.error(f"--way {read.way} on cuda needs --trainer-gpus 1: NCCL takes one rank for each GPU")
    if read.sleep and (read.device != "cuda" or read.way != "colocate"):
        parser.error("--sleep needs --device cuda, where there is memory to give back, and --way colocate")
    return read


def parameters(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what tells one run of the flow from another."""
    own = {"way": arguments.way, "engines": arguments.engines, "trainer_gpus": arguments.trainer_gpus}
    return {**engine.parameters(arguments), **own, **({"sleep": True} if arguments.sleep else {})}


def do_rounds(reporter: Reporter, arguments: argparse.Namespace, setup: Setup, way: Way, folder: Path) -> list[Path]:
    """Generate, then train, send and generate, round after round; return where the trainer's weights of each are."""
    asked = (PROMPTS, arguments.max_tokens)
    saved, done = [], []
    reporter.phase("generate")
    reporter.output("before", setup.on_engines("answer", *asked))
    for number in range(1, arguments.rounds + 1):
        slept = fall_asleep(reporter, setup) if arguments.sleep else {}
        reporter.phase("train")
        losses = setup.on_trainers("train", number, STEPS)
        if arguments.sleep:
            reporter.phase("wake")
            setup.on_engines("wake_up")
        saved.append(save_model(Path(arguments.model), folder / f"round-{number}", setup))
        reporter.phase("send")
        began = time.monotonic()
        way.send()
        sent_s = time.monotonic() - began
        reporter.phase("generate")
        answers = setup.on_engines("answer", *asked)
        done.append({"losses": losses, "sent_s": round(sent_s, 3), "engines": answers, **slept})
    reporter.output("rounds", done)
    return saved


def fall_asleep(reporter: Reporter, setup: Setup) -> dict[str, Any]:
    """Have all engines sleep; return how much memory of each one's GPUs was in use before and after."""
    reporter.phase("sleep")
    return {"slept": setup.on_engines("sleep")}


def save_model(model: Path, folder: Path, setup: Setup) -> Path:
    """Write the trainer's weights into a folder of their own, with the other files of the model that it began with.

    They come through Ray: the trainer may be on a node that shares no file system with this one.
    """
    shutil.copytree(model, folder, ignore=shutil.ignore_patterns("*.safetensors*"))
    [content] = together([setup.trainers[0].call("checkpoint")])
    (folder / "model.safetensors").write_bytes(content)
    return folder


def report_evidence(reporter: Reporter, setup: Setup) -> None:
    """Report where everybody runs; ranks are counted through the engines."""
    found = setup.on_engines("evidence")
    reporter.evidence("executor_class", found[0]["executor_class"])
    reporter.evidence("platform", found[0]["platform"])
    workers = [
        {**worker, "rank": index * setup.ranks + worker["rank"], "engine": index}
        for index, one in enumerate(found)
        for worker in one["workers"]
    ]
    reporter.evidence("workers", workers)
    reporter.evidence("trainers", setup.on_trainers("whereabouts"))


def fresh_settings(arguments: argparse.Namespace, model: Path) -> dict[str, Any]:
    """Return the arguments of a fresh engine on saved weights: without Ray, and of one rank where this process may.

    An engine with the ``mp`` executor has left its marks on this process (``VLLM_CPU_OMP_THREADS_BIND`` for so many
    ranks, kept by vLLM), so the control's fresh engines are like its own.
    """
    alone = {"distributed_executor_backend": "uni", "tensor_parallel_size": 1, "pipeline_parallel_size": 1}
    settings = {**engine.engine_arguments(arguments), "model": str(model), **engine.memory_arguments(SHARE)}
    return settings if arguments.executor == "mp" else {**settings, **alone}


def rlhf(reporter: Reporter, arguments: argparse.Namespace) -> None:
    """Start everybody, do the rounds, show on what they ran, and compare with engines that load from disk."""
    engine.prepare_process(arguments)
    # engines in the actors themselves, as RLHF frameworks have them, and fresh ones here: no process more for each
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    reporter.phase("start")
    setup = set_up(arguments)
    way = WAYS[arguments.way](setup)
    with tempfile.TemporaryDirectory(prefix="raycompat-rlhf-") as folder:
        reporter.phase("connect")
        way.connect()
        saved = do_rounds(reporter, arguments, setup, way, Path(folder))
        reporter.phase("inspect")
        report_evidence(reporter, setup)
        reporter.hold()
        reporter.phase("shutdown")
        setup.end()
        reporter.phase("compare")
        engine.take_share()
        asked = (PROMPTS, arguments.max_tokens)
        reporter.output("fresh", [fresh_answers(fresh_settings(arguments, one), *asked) for one in saved])


def main() -> int:
    """Run the flow and return its exit status."""
    arguments = parse_arguments()
    return run_program("rlhf", parameters(arguments), lambda reporter: rlhf(reporter, arguments), hold=arguments.hold)


if __name__ == "__main__":
    sys.exit(main())
