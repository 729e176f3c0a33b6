"""Starts a flow as a child process, watches it, and says how it ended and why."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec

from pytest_raycompat.cluster.protocol import RayCluster
from pytest_raycompat.flows import events, proof
from pytest_raycompat.flows.gpu_memory import GpuMemory
from pytest_raycompat.flows.late import LateNodes
from pytest_raycompat.flows.looking import Look
from pytest_raycompat.flows.registry import Flow, arguments_for
from pytest_raycompat.flows.rootcause import root_first
from pytest_raycompat.processes.children import Child, Children, describe_exit
from pytest_raycompat.records import ExceptionRecord, Failure, FlowResult, Measurement, Outcome

EXIT_LIMIT_S = 30.0
"""How long a flow's process may take to exit once it has said all."""
TICK_S = 1.0
STACKS_S = 0.5
STACKS_LIMIT_S = 10.0
"""How long a busy machine is given until the first of a flow's stacks is in its log; the rest has ``STACKS_S``."""

Progress = Callable[[str, float, float], None]
"""Called with the phase, and the seconds it has been running and has left."""


@dataclass
class Observed:
    """What a flow has told so far; ``entered`` is told each phase that it goes on to."""

    entered: Callable[[str], None]
    phase: str = "launch"
    phase_began: float = field(default_factory=time.monotonic)
    timings: dict[str, float] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)
    evidence: dict[str, Any] = field(default_factory=dict)
    measurements: dict[str, Measurement] = field(default_factory=dict)
    chain: tuple[ExceptionRecord, ...] = ()
    failed_in: str | None = None
    finished: bool = False

    @property
    def jobs(self) -> set[str]:
        """The Ray jobs that are known to be the flow's: those seen, and those that it says it submitted."""
        return {*self.evidence.get("jobs", ()), *self.evidence.get("submitted_jobs", ())}

    def enter(self, phase: str) -> None:
        """Go on to ``phase``, and add up how long the last one took: a flow may come to a phase more than once."""
        now = time.monotonic()
        self.timings[self.phase] = round(self.timings.get(self.phase, 0.0) + now - self.phase_began, 3)
        self.phase, self.phase_began = phase, now
        self.entered(phase)


class FlowRunner:
    """Runs flows in the environment under test.

    Args:
        children: starts and ends the processes.
        python: interpreter of the environment under test.
        log_folder: where each flow's log goes.
        progress: told what goes on, about once a second.
    """

    def __init__(self, children: Children, *, python: str, log_folder: Path, progress: Progress) -> None:
        self._children = children
        self._python = python
        self._log_folder = log_folder
        self._progress = progress
        self._count = 0

    def run(
        self,
        flow: Flow,
        parameters: Mapping[str, Any],
        *,
        extra: Mapping[str, Any],
        environment: Mapping[str, str],
        cluster: RayCluster | None,
        memory: GpuMemory | None = None,
        device: Literal["cpu", "cuda"],
        deadline_s: float,
        reproduce: str = "",
        entered: Callable[[str], None] = lambda phase: None,
    ) -> FlowResult:
        """Run ``flow`` once and return how it ended; that includes every way in which a flow can fail.

        Args:
            flow: what to run.
            parameters: what tells this run from others; they become the flow's command line.
            extra: more of its command line (the model's path), which does not.
            environment: of its process.
            cluster: what it runs on; None for a control.
            memory: watches its GPUs; None where it has no real ones.
            device: what it runs on.
            deadline_s: when it is ended, in seconds.
            reproduce: the command that does the same without pytest.
            entered: told each phase that the flow goes on to.
        """
        log = self._new_log(flow, parameters)
        began = time.monotonic()
        command = [
            *(cluster.driver_command if cluster is not None else ()),
            self._python,
            "-X",
            "faulthandler",
            "-m",
            flow.module,
        ]
        command += arguments_for({**extra, **parameters}) + (["--hold"] if cluster is not None else [])
        with log.open("wb") as stream:
            child = self._children.start(
                command, environment=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stream
            )
        observed = Observed(entered=entered)
        look = Look(cluster, child.pid) if cluster is not None else None
        try:
            if look is not None:
                observed.evidence.update(look.before())
            overdue, status = self._watch(child, observed, look, memory, began, deadline_s)
            if overdue is not None:
                await_stacks(child, log)
        finally:
            child.end()
        if look is not None:
            observed.evidence.update(look.after(observed.jobs, observed.evidence.get("kept_actors", ())))
        if memory is not None:  # where actors are still there, so is their memory
            observed.evidence.update(memory.after(*([0.0] if "not_released" in observed.evidence else [])))
        self._children.reclaim_shared_memory()
        failure = judge_end(observed, flow, parameters, cluster, overdue, status, log)
        observed.enter("over")
        observed.timings["total"] = round(time.monotonic() - began, 3)
        outcome: Outcome = "ok" if failure is None else failure.outcome
        return FlowResult(
            flow=flow.name,
            parameters=dict(parameters),
            outcome=outcome,
            phase=failure.phase if failure else "over",
            device=device,
            nodes=len(cluster.nodes) if cluster is not None else 0,
            node_gpus=tuple(node.gpus for node in cluster.nodes) if cluster is not None else (),
            outputs=observed.outputs,
            evidence=observed.evidence,
            timings=observed.timings,
            measurements=observed.measurements,
            failure=failure,
            reproduce=reproduce,
            logs=(str(log),),
        )

    def _new_log(self, flow: Flow, parameters: Mapping[str, Any]) -> Path:
        self._count += 1
        words = "-".join(str(value) for value in parameters.values())
        name = "".join(char if char.isalnum() or char in "-_." else "_" for char in f"{flow.name}-{words}")
        return self._log_folder / f"{self._count:02d}-{name[:80]}.log"

    def _watch(
        self,
        child: Child,
        observed: Observed,
        look: Look | None,
        memory: GpuMemory | None,
        began: float,
        deadline_s: float,
    ) -> tuple[str | None, int | None]:
        """Follow the flow to its end; return which limit passed, if one did, and its exit status."""
        deadline = began + deadline_s
        assert child.process.stdout is not None
        descriptor = child.process.stdout.fileno()
        buffered = b""
        late = LateNodes(look.cluster if look is not None else None)
        while (left := deadline - time.monotonic()) > 0:
            self._progress(observed.phase, time.monotonic() - observed.phase_began, left)
            observed.evidence.update(late.look())
            if memory is not None:
                memory.look()
            if not select.select([descriptor], [], [], min(TICK_S, left))[0]:
                if child.poll() is not None:  # it is over, though something that it left has the stream open
                    break
                continue
            received = os.read(descriptor, 1 << 20)
            if not received:
                break
            *lines, buffered = (buffered + received).split(b"\n")
            for line in lines:
                event = events.decode_event(line)
                if event is not None:
                    self._take(event, child, observed, look)
        left = deadline - time.monotonic()
        try:
            return None, child.process.wait(min(EXIT_LIMIT_S, max(0.1, left)))
        except subprocess.TimeoutExpired:
            if left > EXIT_LIMIT_S:
                return f"it did not exit within {EXIT_LIMIT_S:.0f} s of its last word", None
            return f"not over after {deadline_s:.0f} s", None

    def _take(self, event: events.AnyEvent, child: Child, observed: Observed, look: Look | None) -> None:
        match event:
            case events.Phase(name=name):
                observed.enter(name)
            case events.Output(name=name, value=value):
                observed.outputs[name] = value
            case events.Evidence(name=name, value=value):
                observed.evidence[name] = value
            case events.Measured(name=name, unit=unit, samples=samples, better=better):
                observed.measurements[name] = Measurement(unit=unit, samples=samples, better=better)
            case events.Hold():
                if look is not None:
                    observed.evidence.update(look.during(observed.jobs))
                let_go(child)
            case events.Raised(chain=chain):
                observed.failed_in = observed.phase
                observed.chain = tuple(msgspec.convert(chain, list[ExceptionRecord], from_attributes=True))
            case events.Done():
                observed.finished = True
                observed.enter("exit")


def await_stacks(child: Child, log: Path) -> None:
    """Make a flow write the stacks of its threads to its log."""
    before = log.stat().st_size
    limit = time.monotonic() + STACKS_LIMIT_S
    child.process.send_signal(signal.SIGUSR1)
    while child.poll() is None and log.stat().st_size == before and time.monotonic() < limit:
        time.sleep(0.05)
    time.sleep(STACKS_S)


def let_go(child: Child) -> None:
    """Let a flow go on that holds still; it may have ended meanwhile."""
    assert child.process.stdin is not None
    try:
        os.write(child.process.stdin.fileno(), b"\n")
    except BrokenPipeError:
        return


def last_words(log: str) -> str:
    """Return the line of a log that says most about why the process ended: the interpreter's own, else the last."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    fatal = [line for line in lines if line.startswith("Fatal Python error")]
    return f"its log says: {(fatal or lines)[-1]}" if lines else "its log is empty"


def judge_end(
    observed: Observed,
    flow: Flow,
    parameters: Mapping[str, Any],
    cluster: RayCluster | None,
    overdue: str | None,
    status: int | None,
    log: Path,
) -> Failure | None:
    """Say why the flow did not end ``ok``; None where it did."""
    text = log.read_text(errors="replace")
    phase = observed.failed_in or observed.phase
    if observed.chain:
        return Failure(outcome="error", phase=phase, chain=root_first(text, observed.chain))
    if overdue is not None:
        detail = f"{overdue}; its stacks are at the end of the log"
        return Failure(outcome="timeout", phase=phase, chain=root_first(text, ()), detail=detail)
    if not observed.finished or status != 0:
        detail = f"its process ended early: {describe_exit(status)}; {last_words(text)}"
        return Failure(outcome="crash", phase=phase, chain=root_first(text, ()), detail=detail)
    if cluster is not None and flow.proves(parameters):
        ask = proof.missing_proof if flow.tells_workers else proof.missing_actors
        problems = list(ask(parameters, observed.evidence))
        if "not_released" in observed.evidence:
            problems.append(f"not released: {observed.evidence['not_released']}")
        if problems:
            record = ExceptionRecord(
                type="pytest_raycompat.NoProofOfRay", message="; ".join(problems), process="runner"
            )
            return Failure(outcome="error", phase="proof", chain=(record,))
    if "gpu_memory_not_returned" in observed.evidence:
        message = f"GPU memory is not back where it was: {observed.evidence['gpu_memory_not_returned']}"
        record = ExceptionRecord(type="pytest_raycompat.GpuMemoryNotReturned", message=message, process="runner")
        return Failure(outcome="error", phase="proof", chain=(record,))
    return None
