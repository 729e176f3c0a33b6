"""How a flow reports: JSON lines on its standard output, everything else on its standard error.

One event a line. ``event`` is one of ``start``, ``phase``, ``output``, ``evidence``, ``measurement``, ``hold``,
``exception``, ``done``; ``at`` is seconds since the flow began.
"""

from __future__ import annotations

import faulthandler
import gc
import json
import math
import os
import re
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

PROTOCOL_VERSION = 1
ANSI = re.compile(r"\x1b\[[0-9;]*m")
CAUSED = re.compile(
    r"\n\n(?:The above exception was the direct cause of the following exception"
    r"|During handling of the above exception, another exception occurred):\n\n"
)
"""What Python prints between an exception and the one that it led to (Lib/traceback.py)."""
CREATION = "error raised in its creation task"
"""In an ``ActorDiedError`` that has the traceback of the actor's ``__init__`` (ray/exceptions.py, 2.60.0)."""
RAISED = re.compile(r"^  .*\n(?P<type>[^\W\d][\w.]*(?:\(\w+\))?)(?=: |:?$)", re.MULTILINE)
"""The line that follows the frames of a traceback."""
HOLD_LIMIT_S = 60.0
"""How long a flow waits to be looked at, in seconds, before it goes on by itself."""

HOLD_FILE_VARIABLE = "RAYCOMPAT_HOLD_FILE"
"""Names a file on which a flow waits instead of its standard input, which a Ray Job does not have."""


class Reporter:
    """Writes the events of one flow.

    What vLLM, Ray and their child processes print to standard output goes to standard error from here on, so that the
    events stay alone on the stream that the runner reads, and end when the flow itself ends.
    """

    def __init__(self, flow: str, parameters: dict[str, Any], *, hold: bool = False) -> None:
        self._began = time.monotonic()
        self._hold = hold
        sys.stdout.flush()
        self._stream = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        self._emit("start", flow=flow, parameters=parameters, pid=os.getpid(), protocol=PROTOCOL_VERSION)

    def _emit(self, event: str, **fields: Any) -> None:
        line = {"event": event, "at": round(time.monotonic() - self._began, 4), **fields}
        self._stream.write(json.dumps(without_infinities(line), allow_nan=False) + "\n")
        self._stream.flush()

    def phase(self, name: str) -> None:
        """Say that the flow goes on to ``name``."""
        self._emit("phase", name=name)

    def output(self, name: str, value: Any) -> None:
        """Report what the flow produced (tokens, texts)."""
        self._emit("output", name=name, value=value)

    def evidence(self, name: str, value: Any) -> None:
        """Report something that proves on what the flow ran."""
        self._emit("evidence", name=name, value=value)

    def measurement(self, name: str, unit: str, samples: Sequence[float], *, better: str) -> None:
        """Report samples of something measured in ``unit``, of which ``lower`` or ``higher`` is better."""
        self._emit("measurement", name=name, unit=unit, samples=[float(f"{one:.6g}") for one in samples], better=better)

    def throughput(self, tokens: int, seconds: float) -> None:
        """Report how many tokens the flow had generated in how many seconds, without what it did to come to that."""
        self.measurement("throughput", "tokens/s", [tokens / max(seconds, 1e-9)], better="higher")

    def hold(self) -> None:
        """Stay as it is until the runner has looked at the cluster; by hand there is nobody to wait for."""
        if not self._hold:
            return
        self._emit("hold")
        let_go = os.environ.get(HOLD_FILE_VARIABLE)
        if let_go:
            began = time.monotonic()
            while not os.path.exists(let_go) and time.monotonic() - began < HOLD_LIMIT_S:
                time.sleep(0.1)
        elif select.select([sys.stdin], [], [], HOLD_LIMIT_S)[0]:
            sys.stdin.readline()

    def exception(self, error: BaseException) -> None:
        """Report ``error`` and what it was raised from, root cause first."""
        self._emit("exception", chain=describe_chain(error))

    def done(self) -> None:
        """Say that everything the flow does has been done."""
        self._emit("done")


def without_infinities(value: Any) -> Any:
    """Replace numbers that JSON does not have (a log-probability can be -inf) by None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: without_infinities(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_infinities(one) for one in value]
    return value


def qualified_name(cls: type) -> str:
    """Name ``cls`` as a traceback does: builtins without their module."""
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


def describe_chain(error: BaseException) -> list[dict[str, str]]:
    """Describe ``error`` and its causes as plain data, root cause first.

    An error with a ``reported_chain`` says what another flow, which was not a child of this one, has reported.
    """
    chain: list[dict[str, str]] = []
    told: list[dict[str, str]] = []  # causes of a remote exception, which lost them on its way: only text has them
    seen: set[int] = set()
    process = "driver"
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        chain.append(
            {
                "type": qualified_name(type(current)),
                "message": ANSI.sub("", str(current)),
                "process": process,
                "traceback": "".join(traceback.format_tb(current.__traceback__)),
            }
        )
        remote = getattr(current, "cause", None)  # of a RayTaskError: what the task or actor raised
        if isinstance(remote, BaseException):
            if remote.__cause__ is None and remote.__context__ is None:
                told = exceptions_told(str(current))[:-1]  # the last is `remote` itself
            current, process = remote, "Ray worker"
        else:
            if CREATION in str(current):
                told = exceptions_told(str(current))
            hidden = current.__suppress_context__
            current = current.__cause__ or (None if hidden else current.__context__)
    return [*getattr(error, "reported_chain", ()), *told, *chain[::-1]]


def exceptions_told(text: str) -> list[dict[str, str]]:
    """Read the exceptions of a remote traceback in the text of ``RayTaskError`` or ``ActorDiedError``, root first.

    What an actor raised is pickled without ``__cause__``, so the text alone says why Ray Data's ``UserCodeException``
    was raised (ray/data/_internal/planner/plan_udf_map_op.py, 2.55.1), or why an actor could not be made.
    """
    found = []
    for told in CAUSED.split(ANSI.sub("", text)):
        for raised in list(RAISED.finditer(told))[-1:]:
            message, frames = told[raised.end() :].removeprefix(": ").strip(), told[: raised.start("type")]
            found.append({"type": raised["type"], "message": message, "process": "Ray worker", "traceback": frames})
    return found


def run_program(flow: str, parameters: dict[str, Any], body: Callable[[Reporter], None], *, hold: bool = False) -> int:
    """Run ``body`` as the flow ``flow`` and return the exit status: 0 where it finished, 1 where it raised."""
    reporter = Reporter(flow, parameters, hold=hold)
    faulthandler.register(signal.SIGUSR1, all_threads=True)  # the runner asks for the stacks when its patience ends
    try:
        body(reporter)
    except BaseException as error:  # reported, then told to the caller by the exit status
        traceback.print_exc()
        reporter.exception(error)
        return 1
    reporter.done()
    gc.freeze()  # or the interpreter's end looks through the 600,000 objects of vLLM and torch once more, for seconds
    return 0
