"""The root cause of a failed flow: the first error of the process where it happened.

What reaches the caller of vLLM is mostly a last wrapper (``EngineDeadError``, ``Engine core initialization failed``);
the cause is a traceback that another process printed into the flow's log.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from pytest_raycompat.records import ExceptionRecord

ANSI = re.compile(r"\x1b\[[0-9;]*m")
# "(EngineCore pid=71) ", "(RayWorkerProc pid=12, ip=127.0.0.3) ", "(EngineCore_DP0 pid=7) (RayWorkerWrapper pid=9) "
# Ray puts any name in front: "(MapWorker(MapBatches(f)) pid=9, ip=127.0.0.2) ", "(ServeReplica:default:my-app pid=9) "
PROCESS = re.compile(r"^\((?P<name>[^\s]*?(?: [^\s=]+)*? ?pid=\d+(?:, [^()]*)?)\)\s?")
# "ERROR 11-22 12:56:22 [core.py:1104] "
LEVEL = re.compile(r"^(?:ERROR|CRITICAL|WARNING|INFO|DEBUG) \d\d-\d\d \d\d:\d\d:\d\d \[(?P<source>[^\]:]*)[^\]]*\] ?")
UNNAMED = {"core.py": "EngineCore", "multiproc_executor.py": "WorkerProc"}
"""Whose errors are logged from which file: up to 0.10.0 vLLM's processes do not put their names in front of lines."""
BEGINS = "Traceback (most recent call last):"
CREATION = "Exception raised in creation task: "
"""How an actor says that it could not be made; the traceback follows without its first line (ray 2.35.0 to 2.60.0)."""
# "ValueError: …", "ray.exceptions.RayTaskError(ValueError): …", "KeyboardInterrupt", "zmq.error.Again: …"
ENDS = re.compile(r"^(?P<type>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*(?:\(\w+\))?)(?::\s?(?P<message>.*))?$")
CARRIED = re.compile(r"^(?:\w+\.)*RayTaskError\((?P<type>\w+)\)$")
"""What a task raised, as Ray names it where it is awaited; the task's own traceback follows it."""
MOST_LINES = 4000
"""A traceback longer than this is not one."""
WRAPPERS = re.compile(
    r"Engine core initialization failed|EngineCore encountered an issue|EngineDeadError|ActorDiedError"
)
"""Errors that only say that another process has failed (vllm/v1/engine/utils.py, vllm/v1/engine/exceptions.py)."""

TRACKER = "/multiprocessing/resource_tracker.py"
"""Python's own process that forgets shared memory prints a traceback where it is told twice; nobody fails of it."""
ANSWERS = re.compile(r"OpenAIHTTPException")
"""How Ray Serve LLM refuses a request: it logs a traceback, and the client gets a 4xx (ray 2.60.0)."""


def find_tracebacks(log: str) -> list[ExceptionRecord]:
    """Find the exceptions whose tracebacks were printed to ``log``, in the order in which they ended."""
    return list(_tracebacks(map(_split_prefix, ANSI.sub("", log).replace("\r", "\n").splitlines())))


def _split_prefix(line: str) -> tuple[str, str]:
    """Take the process and the log level off the front of a line."""
    process = ""
    while match := PROCESS.match(line):
        process = match["name"]  # the innermost: a worker's line that its engine printed on
        line = line[match.end() :]
    if level := LEVEL.match(line):
        line = line[level.end() :]
        process = process or UNNAMED.get(level["source"], "")
        while match := PROCESS.match(line):
            process = match["name"]
            line = line[match.end() :]
    return process, line


def _tracebacks(lines: Iterable[tuple[str, str]]) -> Iterator[ExceptionRecord]:
    open_ones: dict[str, list[str]] = {}
    carriers: dict[str, ExceptionRecord] = {}  # RayTaskErrors whose own cause may follow
    for process, line in lines:
        text = line.strip()
        body = open_ones.get(process)
        if text.endswith(BEGINS) or text.startswith(CREATION):
            open_ones[process] = []
        elif body is None:
            continue
        elif line.startswith(("  ", "\t")) or not (ended := ENDS.match(text)):
            if len(body) > MOST_LINES or (process in carriers and not line.startswith(" ")):
                del open_ones[process]
            else:
                body.append(line)
            continue
        else:
            record = ExceptionRecord(
                type=ended["type"],
                message=ended["message"] or "",
                process=process or "driver",
                traceback="\n".join(body),
            )
            if CARRIED.match(record.type) and process not in carriers:
                carriers[process] = record
                open_ones[process] = []
                continue
            del open_ones[process]
            yield record
        if process in carriers:
            yield carriers.pop(process)
    yield from carriers.values()


def root_first(log: str, reported: Iterable[ExceptionRecord]) -> tuple[ExceptionRecord, ...]:
    """Order what is known of a failure from the root cause to the last wrapper.

    Args:
        log: what the flow and its processes printed.
        reported: the chain of the exception that reached the flow itself, root first.
    """
    chain = list(reported)
    found = find_tracebacks(log)
    if not chain:  # it died before it could report
        chain = [record for record in found if record.process == "driver"]
    messages = {(record.type, record.message.split("\n")[0]) for record in chain}
    elsewhere = [
        record for record in found if record.process != "driver" and (record.type, record.message) not in messages
    ]
    causes = [
        record
        for record in elsewhere
        if not WRAPPERS.search(f"{record.type}: {record.message}")
        and not ANSWERS.search(record.type)
        and TRACKER not in record.traceback
    ]
    return (*_without_repeats(causes), *chain)


def _without_repeats(records: Iterable[ExceptionRecord]) -> list[ExceptionRecord]:
    """Drop the copies that every rank, and every process that passes it on, prints of one error."""
    kept: dict[tuple[str, str], ExceptionRecord] = {}
    for record in records:
        kept.setdefault((record.type, record.message), record)
    return list(kept.values())
