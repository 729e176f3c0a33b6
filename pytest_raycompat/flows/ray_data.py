"""The ray_data flow: batch inference with Ray Data's LLM processor, from rows or a text file to Parquet and back.

By hand, with ``RAY_ADDRESS`` set::

    python -m pytest_raycompat.flows.ray_data --model PATH --executor ray-v2 --tensor-parallel-size 2
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from pytest_raycompat.cluster import observer_program
from pytest_raycompat.flows import engine, proof
from pytest_raycompat.flows.reporting import Reporter, run_program

SYSTEM = "You are a bot that completes unfinished haikus."
"""The system prompt of the seed's example, which is that of Ray's documentation (working-with-llms)."""
ITEMS = (
    "An old silent pond...",
    "Over the wintry",
    "Lightning flash",
    "A summer river being crossed",
    "The light of a candle",
    "In the twilight rain",
    "First autumn morning",
    "After killing a spider",
    "Toward those short trees",
    "I write, erase, rewrite",
)
BATCH_SIZE = 3
PIPELINE_LIMIT_S = 540.0
GATE = "raycompat-gate"
ENGINE_STAGE = "vLLMEngineStage"
"""In the class of the actors that hold an engine each (ray/llm/_internal/batch/stages/vllm_engine_stage.py, 2.60.0)."""
ERROR_COLUMN = "__inference_error__"
"""Of a row that has failed while the others go on (ray/llm/_internal/batch/stages/base.py, 2.60.0)."""
TOO_LONG = "x" * 4000
"""More tokens than the model takes: the row that fails."""


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m pytest_raycompat.flows.ray_data")
    engine.add_arguments(parser)
    parser.add_argument("--concurrency", type=int, default=1, help="engines")
    parser.add_argument("--source", choices=("items", "text"), default="items", help="rows, or a text file of prompts")
    parser.add_argument("--failing-row", action="store_true", help="add a row that the engine refuses")
    parser.add_argument("--max-tokens", type=int, default=16, help="tokens to generate for each row")
    return parser.parse_args(arguments)


def messages(item: str) -> list[dict[str, str]]:
    """Return the chat that asks about ``item``."""
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": item}]


def without_ray(reporter: Reporter, arguments: argparse.Namespace) -> None:
    """Do the same work with an engine alone: the control."""
    reporter.phase("import")
    from vllm import LLM, SamplingParams

    reporter.phase("start")
    llm = LLM(**engine.engine_arguments(arguments))
    reporter.phase("process")
    greedy = SamplingParams(temperature=0.0, max_tokens=arguments.max_tokens, ignore_eos=True)
    outputs = llm.chat([messages(item) for item in ITEMS], greedy)  # type: ignore[misc, unused-ignore]
    answers = [one.outputs[0].text for one in outputs]
    reporter.output("rows", [{"item": item, "answer": text} for item, text in zip(ITEMS, answers, strict=True)])


def make_gate() -> Any:
    """Start the actor through which the pipeline waits, with its engines up, until the runner has looked at them."""
    import ray

    @ray.remote(num_cpus=0, max_concurrency=8)
    class Gate:
        """Opens once."""

        def __init__(self) -> None:
            self.reached = threading.Event()
            self.opened = threading.Event()

        def reach(self) -> None:
            """Say that a row has come out."""
            self.reached.set()

        def is_reached(self) -> bool:
            """Whether one has."""
            return self.reached.is_set()

        def open(self) -> None:
            """Let the rest go on."""
            self.opened.set()

        def wait(self) -> bool:
            """Wait until it is open."""
            return self.opened.wait(PIPELINE_LIMIT_S)

    gate: Any = Gate
    return gate.options(name=GATE).remote()


def build_pipeline(arguments: argparse.Namespace) -> Any:
    """Return the processor; its builder is called ``build_llm_processor`` up to Ray 2.49 (ray/data/llm.py)."""
    import ray.data.llm as llm

    settings = engine.engine_arguments(arguments)
    del settings["model"], settings["worker_extension_cls"]  # Ray Data has no way to ask the workers
    options: dict[str, Any] = {}
    if arguments.failing_row:
        options["should_continue_on_error"] = True
    if arguments.source == "text":  # the engine has a tokenizer too, which saves two actors
        options |= without_stages(llm.vLLMEngineProcessorConfig.model_fields, "tokenize", "detokenize")
    config = llm.vLLMEngineProcessorConfig(
        model_source=arguments.model,
        engine_kwargs=settings,
        concurrency=pool_of(arguments.concurrency, llm.vLLMEngineProcessorConfig.model_fields["concurrency"]),
        batch_size=BATCH_SIZE,
        runtime_env={"env_vars": engine.variables_for_actors()},
        **options,
    )
    sampling = {"temperature": 0.0, "max_tokens": arguments.max_tokens, "ignore_eos": True}
    last = ITEMS[-1]

    def preprocess(row: dict[str, Any]) -> dict[str, Any]:
        import ray

        item = row["item"] if "item" in row else row["text"]
        if item == last:  # the engines stay up while rows are still to come
            ray.get(ray.get_actor(GATE).wait.remote())
        return {"item": item, "messages": messages(item), "sampling_params": sampling}

    def postprocess(row: dict[str, Any]) -> dict[str, Any]:
        return {"item": row["item"], "answer": row["generated_text"]}

    build = getattr(llm, "build_processor", None) or llm.build_llm_processor
    return build(config, preprocess=preprocess, postprocess=postprocess)


def reach_gate(row: dict[str, Any]) -> dict[str, Any]:
    """Say that a row has come out, be it answered or failed: what has failed goes past ``postprocess``."""
    import ray

    ray.get(ray.get_actor(GATE).reach.remote())
    return row


def pool_of(count: int, field: Any) -> int | tuple[int, int]:
    """Say to Ray Data that so many engines are to be up.

    A pair of numbers is a pool of that size, one is the most that a pool grows to (ray/data/llm.py, 2.60.0). Where a
    Ray takes one number only, the pool of engines has that size (ray/llm/_internal/batch/processor, 2.43.0 to 2.49.2).
    """
    takes_pairs = "tuple" in str(field.annotation).lower()
    return (count, count) if count > 1 and takes_pairs else count


def without_stages(fields: Collection[str], *stages: str) -> dict[str, Any]:
    """Return the options that leave stages out; they were flags before Ray 2.52 (ray/data/llm.py)."""
    return dict(
        (f"{stage}_stage", {"enabled": False}) if f"{stage}_stage" in fields else (stage, False) for stage in stages
    )


def read_rows(arguments: argparse.Namespace, folder: Path) -> Any:
    """Return the dataset, in several blocks, so that some rows are through while others wait."""
    import ray

    items = [*ITEMS[:-1], *([TOO_LONG] if arguments.failing_row else []), ITEMS[-1]]
    if arguments.source == "items":
        return ray.data.from_items([{"item": item} for item in items], override_num_blocks=len(items))
    for number, item in enumerate(items):  # one file is one block
        (folder / f"prompts-{number}.txt").write_text(item + "\n")
    return ray.data.read_text(str(folder))


def process(reporter: Reporter, arguments: argparse.Namespace, folder: Path) -> None:
    """Run the pipeline in a thread, hold while its engines are up, and report what was written."""
    import ray

    prompts, written = folder / "prompts", folder / "written"
    prompts.mkdir()
    gate = make_gate()
    processor = build_pipeline(arguments)
    dataset = processor(read_rows(arguments, prompts)).map(reach_gate)
    failures: list[BaseException] = []

    def write() -> None:
        try:
            dataset.write_parquet(f"local://{written}")
        except BaseException as error:  # raised where the flow waits
            failures.append(error)

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    began = time.monotonic()
    held = False
    while thread.is_alive():
        if not held and ray.get(gate.is_reached.remote()) and all_engines_up(arguments):
            reporter.phase("inspect")
            reporter.hold()
            reporter.phase("process")
            gate.open.remote()
            held = True
        if time.monotonic() - began > PIPELINE_LIMIT_S:
            raise TimeoutError(f"the pipeline is not through after {PIPELINE_LIMIT_S:.0f} s: {dataset.stats()}")
        thread.join(0.5)
    if failures:
        raise failures[0]
    files = sorted(written.glob("*.parquet"))
    rows = read_written(files)
    if rows and all(row.get(ERROR_COLUMN) for row in rows):
        raise NothingAnswered(rows[0][ERROR_COLUMN])
    reporter.phase("read")
    reporter.output("rows", [{name: plain(value) for name, value in row.items()} for row in rows])
    reporter.output("files", len(files))


class NothingAnswered(RuntimeError):
    """Every row has failed, which Ray Data was told to go on after; what it says of a row is the cause."""

    def __init__(self, told: str) -> None:
        super().__init__(f"no row was answered; the first says: {told}")
        kind, _, message = told.partition(": ")
        self.reported_chain = [{"type": kind, "message": message, "process": "Ray worker", "traceback": ""}]


def read_written(files: Sequence[Path]) -> list[dict[str, Any]]:
    """Read the rows that were written."""
    import pyarrow.parquet

    return [row for file in files for row in pyarrow.parquet.read_table(file).to_pylist()]


def all_engines_up(arguments: argparse.Namespace) -> bool:
    """Whether every engine is up and has a worker for each rank; rows come out once the first one is."""
    ranks = proof.ranks({**engine.parameters(arguments), "concurrency": arguments.concurrency})
    names = [actor["class_name"] for actor in observer_program.actors()]
    workers = sum(name in proof.WORKER_CLASSES[arguments.executor] for name in names)
    engines = sum(ENGINE_STAGE in name for name in names)  # none where that Ray calls them otherwise
    return workers >= ranks and engines in (0, arguments.concurrency)


def kept_actors() -> dict[str, str]:
    """Return the class of each actor, by its id, that Ray Data has started for the lifetime of the cluster.

    They are detached, and shared with every other dataset (ray/data/_internal/stats.py, 2.60.0).
    """
    import ray

    job = ray.get_runtime_context().get_job_id()
    own = [actor for actor in observer_program.actors() if actor["job_id"] == job]
    return {actor["actor_id"]: actor["class_name"] for actor in own if actor["name"] not in ("", GATE)}


def plain(value: Any) -> Any:
    """Turn a value of a row into one that JSON has."""
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def with_ray(reporter: Reporter, arguments: argparse.Namespace) -> None:
    """Run the pipeline on Ray."""
    reporter.phase("import")
    import ray
    import ray.data.llm  # the subject: before Ray 2.43 there is none

    reporter.phase("start")
    ray.init(address=os.environ["RAY_ADDRESS"], namespace="raycompat")
    with tempfile.TemporaryDirectory(prefix="raycompat-data-") as folder:
        reporter.phase("process")
        process(reporter, arguments, Path(folder))
    reporter.phase("shutdown")
    reporter.evidence("kept_actors", kept_actors())
    ray.shutdown()


def main() -> int:
    """Run the flow and return its exit status."""
    arguments = parse_arguments()
    engine.prepare_process(arguments)
    run = with_ray if arguments.executor.startswith("ray") else without_ray
    parameters = {**engine.parameters(arguments), "concurrency": arguments.concurrency, "source": arguments.source}
    return run_program("ray_data", parameters, lambda reporter: run(reporter, arguments), hold=arguments.hold)


if __name__ == "__main__":
    sys.exit(main())
