"""The jobs flow: the generate flow submitted as a Ray Job through the jobs API of the cluster's dashboard.

By hand, with ``RAY_ADDRESS`` set to a cluster with a dashboard::

    python -m pytest_raycompat.flows.jobs --model PATH --executor ray-v2 --tensor-parallel-size 2
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pytest_raycompat.flows import engine
from pytest_raycompat.flows.reporting import HOLD_FILE_VARIABLE, Reporter, run_program

PACKAGE_ROOT = Path(__file__).parents[2]
MARKED_VARIABLE = "RAYCOMPAT_JOB_VARIABLE"
"""Given in the runtime environment of the jobs, and reported by them."""
API_LIMIT_S = 60.0
SUBMIT_LIMIT_S = 120.0
STOP_LIMIT_S = 60.0
LOOK_EVERY_S = 0.5
ENDED = frozenset({"SUCCEEDED", "FAILED", "STOPPED"})
SLEEPER = "import time; print('sleeping', flush=True); time.sleep(600)"


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m pytest_raycompat.flows.jobs")
    engine.add_arguments(parser)
    return parser.parse_args(arguments)


def connect() -> Any:
    """Return a client of the jobs API; the dashboard may still be starting.

    Raises:
        TimeoutError: it did not answer; says with what error.
    """
    from ray.job_submission import JobSubmissionClient

    began = time.monotonic()
    while True:
        try:
            client = JobSubmissionClient(os.environ["RAY_ADDRESS"])
            client.list_jobs()
        except (ConnectionError, RuntimeError, OSError, ValueError) as error:
            if time.monotonic() - began > API_LIMIT_S:
                raise TimeoutError(f"the jobs API did not answer within {API_LIMIT_S:.0f} s: {error}") from error
            time.sleep(LOOK_EVERY_S)
        else:
            return client


def inner_command(arguments: argparse.Namespace) -> list[str]:
    """Return the command of the generate flow, as a job runs it."""
    command = [sys.executable, "-m", "pytest_raycompat.flows.generate", "--model", arguments.model, "--hold"]
    for name in ("executor", "tensor_parallel_size", "pipeline_parallel_size", "device", "dtype", "max_model_len"):
        command += [f"--{name.replace('_', '-')}", str(getattr(arguments, name))]
    return command


def follow(client: Any, job: str) -> Iterator[dict[str, Any]]:
    """Yield the events that a flow prints in its job's log, until the job has ended.

    Raises:
        RuntimeError: it did not succeed; its message and the end of its log say why.
    """
    read = 0
    while True:
        status = client.get_job_status(job)
        lines = client.get_job_logs(job).split("\n")[:-1]
        for line in lines[read:]:
            print(line, file=sys.stderr)
            event = decode(line)
            if event is not None:
                yield event
        read = len(lines)
        if str(status.value) in ENDED:
            if status.value != "SUCCEEDED":
                raise RuntimeError(f"the job ended {status.value}: {client.get_job_info(job).message}")
            return
        time.sleep(LOOK_EVERY_S)


def decode(line: str) -> dict[str, Any] | None:
    """Return the event on a line; None where it is something else that was printed."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event else None


def await_status(client: Any, job: str, done: Callable[[str], bool], limit_s: float) -> str:
    """Wait until the status of a job is one that is waited for, and return it.

    Raises:
        TimeoutError: it was not; says which it was last.
    """
    began = time.monotonic()
    while not done(status := str(client.get_job_status(job).value)):
        if time.monotonic() - began > limit_s:
            raise TimeoutError(f"job {job} is {status} after {limit_s:.0f} s: {client.get_job_info(job).message}")
        time.sleep(LOOK_EVERY_S)
    return status


def submit_generate(reporter: Reporter, client: Any, arguments: argparse.Namespace, folder: str) -> None:
    """Run the generate flow as a job, and pass on what it reports."""
    let_go = Path(folder) / "let-go"
    variables = {MARKED_VARIABLE: "set by the job", HOLD_FILE_VARIABLE: str(let_go), "PYTHONPATH": python_path()}
    if engine.SHARES_VARIABLE in os.environ:
        variables[engine.SHARES_VARIABLE] = os.environ[engine.SHARES_VARIABLE]
    with submitted(client, inner_command(arguments), variables, metadata={"flow": "generate"}) as job:
        pass_on(reporter, client, job, let_go)
    info = client.get_job_info(job)
    reporter.output("job", {"status": str(info.status.value), "metadata": info.metadata, "entrypoint": info.entrypoint})
    reporter.output("log_has_the_result", '"completions"' in client.get_job_logs(job))


@contextlib.contextmanager
def submitted(client: Any, command: list[str], variables: dict[str, str], **more: Any) -> Iterator[str]:
    """Run a job for a block, and leave none to a cluster that may be somebody else's."""
    job = client.submit_job(entrypoint=shlex.join(command), runtime_env={"env_vars": variables}, **more)
    try:
        yield job
    finally:
        with contextlib.suppress(RuntimeError, OSError):  # the cluster is gone; what went wrong before says more
            if str(client.get_job_status(job).value) not in ENDED:
                client.stop_job(job)


def pass_on(reporter: Reporter, client: Any, job: str, let_go: Path) -> None:
    """Report what a job's flow reports, until it has ended.

    Raises:
        JobFailed: it did not succeed.
        TimeoutError: it did not start in time.
    """
    reporter.output("statuses", [await_status(client, job, lambda status: status != "PENDING", SUBMIT_LIMIT_S)])
    chain: list[dict[str, str]] = []
    try:
        for event in follow(client, job):
            kind = event["event"]
            if kind == "phase":
                reporter.phase(event["name"])
            elif kind in ("output", "evidence"):
                getattr(reporter, kind)(event["name"], event["value"])
            elif kind == "measurement":
                reporter.measurement(event["name"], event["unit"], event["samples"], better=event["better"])
            elif kind == "exception":
                chain = event["chain"]
            elif kind == "hold":
                reporter.evidence("submitted_jobs", ray_jobs(client, job))
                reporter.hold()
                let_go.touch()
    except RuntimeError as error:
        raise JobFailed(str(error), chain) from None


class JobFailed(RuntimeError):
    """A job did not succeed; what its flow reported is its cause."""

    def __init__(self, message: str, chain: list[dict[str, str]]) -> None:
        super().__init__(message)
        self.reported_chain = chain


def ray_jobs(client: Any, job: str) -> list[str]:
    """Return the ids of the Ray jobs that a submitted job's driver has: Ray counts drivers, not submissions."""
    return [one.job_id for one in client.list_jobs() if one.submission_id == job and one.job_id]


def stop_running(reporter: Reporter, client: Any) -> None:
    """Stop a job that would go on for long, and report how that went."""
    with submitted(client, [sys.executable, "-c", SLEEPER], {MARKED_VARIABLE: "1"}) as job:
        await_status(client, job, lambda status: status == "RUNNING", SUBMIT_LIMIT_S)
        began = time.monotonic()
        stopped = client.stop_job(job)
        status = await_status(client, job, ENDED.__contains__, STOP_LIMIT_S)
    reporter.output(
        "stopped", {"asked": bool(stopped), "status": status, "seconds": round(time.monotonic() - began, 3)}
    )
    deleted = client.delete_job(job)
    reporter.output("deleted", bool(deleted) and job not in [one.submission_id for one in client.list_jobs()])


def python_path() -> str:
    """Return a module search path on which a job finds our flows, whatever else it finds."""
    return os.pathsep.join(part for part in (str(PACKAGE_ROOT), os.environ.get("PYTHONPATH")) if part)


def run_jobs(reporter: Reporter, arguments: argparse.Namespace) -> None:
    """Submit the generate flow and pass on what it gives, then stop a job that runs."""
    if not os.environ.get("RAY_ADDRESS"):
        raise ValueError("RAY_ADDRESS is not set; set it to the HOST:PORT of a cluster with a dashboard")
    reporter.phase("connect")
    client = connect()
    reporter.phase("submit")
    with tempfile.TemporaryDirectory(prefix="raycompat-job-") as folder:
        submit_generate(reporter, client, arguments, folder)
    reporter.phase("stop")
    stop_running(reporter, client)


def main() -> int:
    """Run the flow and return its exit status."""
    arguments = parse_arguments()
    return run_program(
        "jobs", engine.parameters(arguments), lambda reporter: run_jobs(reporter, arguments), hold=arguments.hold
    )


if __name__ == "__main__":
    sys.exit(main())
