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

from pytest_raycompat.cluster.protocol import ObserverError, RayCluster
from pytest_raycompat.flows import events, proof
from pytest_raycompat.flows.registry import Flow, arguments_for
from pytest_raycompat.flows.rootcause import root_first
from pytest_raycompat.processes.children import Child, Children, describe_exit
from pytest_raycompat.records import ExceptionRecord, Failure, FlowResult, Outcome

RELEASE_LIMIT_S = 30.0
"""How long Ray may take to have a flow's GPUs and actors back after its process has ended."""
EXIT_LIMIT_S = 30.0
"""How long a flow's process may take to exit once it has said all."""
TICK_S = 1.0
STACKS_S = 0.5

Progress = Callable[[str, float, float], None]
"""Called with the phase, and the seconds it has been running and has left."""


@dataclass
class Observed:
    """What a flow has told so far."""

    phase: str = "launch"
    phase_began: float = field(default_factory=time.monotonic)
    timings: dict[str, float] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)
    evidence: dict[str, Any] = field(default_factory=dict)
    chain: tuple[ExceptionRecord, ...] = ()
    failed_in: str | None = None
    finished: bool = False

    def enter(self, phase: str) -> None:
        """Go on to ``phase``, and add up how long the last one took: a flow may come to a phase more than once."""
        now = time.monotonic()
        self.timings[self.phase] = round(self.timings.get(self.phase, 0.0) + now - self.phase_began, 3)
        self.phase, self.phase_began = phase, now


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
        device: Literal["cpu", "cuda"],
        deadline_s: float,
        reproduce: str = "",
    ) -> FlowResult:
        """Run ``flow`` once and return how it ended; that includes every way in which a flow can fail.

        Args:
            flow: what to run.
            parameters: what tells this run from others; they become the flow's command line.
            extra: more of its command line (the model's path), which does not.
            environment: of its process.
            cluster: what it runs on; None for a control.
            device: what it runs on.
            deadline_s: when it is ended, in seconds.
            reproduce: the command that does the same without pytest.
        """
        log = self._new_log(flow, parameters)
        began = time.monotonic()
        command = [self._python, "-X", "faulthandler", "-m", flow.module]
        command += arguments_for({**extra, **parameters}) + (["--hold"] if cluster is not None else [])
        with log.open("wb") as stream:
            child = self._children.start(
                command, environment=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stream
            )
        observed = Observed()
        if cluster is not None:
            observed.evidence.update(look_before(cluster))
        try:
            timed_out, status = self._watch(child, observed, cluster, began + deadline_s)
        finally:
            child.end()
        if cluster is not None:
            observed.evidence.update(await_release(cluster, child.pid))
        self._children.reclaim_shared_memory()
        failure = judge_end(observed, flow, parameters, cluster, timed_out, status, deadline_s, log)
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
            outputs=observed.outputs,
            evidence=observed.evidence,
            timings=observed.timings,
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
        self, child: Child, observed: Observed, cluster: RayCluster | None, deadline: float
    ) -> tuple[bool, int | None]:
        """Follow the flow to its end; return whether its deadline passed, and its exit status."""
        assert child.process.stdout is not None
        descriptor = child.process.stdout.fileno()
        buffered = b""
        while (left := deadline - time.monotonic()) > 0:
            self._progress(observed.phase, time.monotonic() - observed.phase_began, left)
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
                    self._take(event, child, observed, cluster)
        try:
            return False, child.process.wait(min(EXIT_LIMIT_S, max(0.1, deadline - time.monotonic())))
        except subprocess.TimeoutExpired:
            child.process.send_signal(signal.SIGUSR1)  # the flow writes its stacks to its log
            time.sleep(STACKS_S)
            return True, None

    def _take(self, event: events.AnyEvent, child: Child, observed: Observed, cluster: RayCluster | None) -> None:
        match event:
            case events.Phase(name=name):
                observed.enter(name)
            case events.Output(name=name, value=value):
                observed.outputs[name] = value
            case events.Evidence(name=name, value=value):
                observed.evidence[name] = value
            case events.Hold():
                if cluster is not None:
                    observed.evidence.update(look_at(cluster, child.pid))
                let_go(child)
            case events.Raised(chain=chain):
                observed.failed_in = observed.phase
                observed.chain = tuple(msgspec.convert(chain, list[ExceptionRecord], from_attributes=True))
            case events.Done():
                observed.finished = True
                observed.enter("exit")


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


def belongs_to(driver_pid: int, session: int) -> bool:
    """Whether the driver of a Ray job is one of a flow's processes."""
    try:
        return os.getsid(driver_pid) == session
    except (ProcessLookupError, PermissionError):
        return False


def look_before(cluster: RayCluster) -> dict[str, Any]:
    """Note what the cluster is like before the flow's engine is up."""
    nodes = [node for node in cluster.observer.nodes() if node.alive]
    return {
        "nodes": [node.node_id for node in nodes],
        "gpus_in_cluster": sum(node.gpus for node in nodes),
        "free_gpus_before": sum(node.free_gpus for node in nodes),
    }


def look_at(cluster: RayCluster, session: int) -> dict[str, Any]:
    """Ask Ray, while the flow's engine is up, which actors it has and which GPUs are held."""
    actors = [actor for actor in cluster.observer.actors() if belongs_to(actor.driver_pid, session)]
    nodes = [node for node in cluster.observer.nodes() if node.alive]
    return {
        "actors": msgspec.to_builtins(actors),
        "jobs": sorted({actor.job_id for actor in actors}),
        "free_gpus_during": sum(node.free_gpus for node in nodes),
    }


def await_release(cluster: RayCluster, session: int) -> dict[str, Any]:
    """Wait until Ray has back what the flow held.

    Returns:
        ``released_after_s``, or ``not_released`` with what is still held after the limit.
    """
    began = time.monotonic()
    held = "Ray did not answer"
    while time.monotonic() - began < RELEASE_LIMIT_S:
        try:
            nodes = [node for node in cluster.observer.nodes() if node.alive]
            actors = [actor for actor in cluster.observer.actors() if belongs_to(actor.driver_pid, session)]
        except ObserverError as error:
            return {"not_released": str(error)}
        busy = sum(node.gpus - node.free_gpus for node in nodes)
        if not actors and (busy == 0 or not cluster.owned):
            return {"released_after_s": round(time.monotonic() - began, 3)}
        held = f"{busy:g} GPUs held, {len(actors)} actors alive"
        time.sleep(0.2)
    return {"not_released": f"after {RELEASE_LIMIT_S:.0f} s: {held}"}


def judge_end(
    observed: Observed,
    flow: Flow,
    parameters: Mapping[str, Any],
    cluster: RayCluster | None,
    timed_out: bool,
    status: int | None,
    deadline_s: float,
    log: Path,
) -> Failure | None:
    """Say why the flow did not end ``ok``; None where it did."""
    text = log.read_text(errors="replace")
    phase = observed.failed_in or observed.phase
    if observed.chain:
        return Failure(outcome="error", phase=phase, chain=root_first(text, observed.chain))
    if timed_out:
        detail = f"not over after {deadline_s:.0f} s; its stacks are at the end of the log"
        return Failure(outcome="timeout", phase=phase, chain=root_first(text, ()), detail=detail)
    if not observed.finished or status != 0:
        detail = f"its process ended early: {describe_exit(status)}; {last_words(text)}"
        return Failure(outcome="crash", phase=phase, chain=root_first(text, ()), detail=detail)
    if cluster is not None and (flow.always_on_ray or parameters.get("executor") in proof.EXECUTOR_CLASSES):
        ask = proof.missing_proof if flow.tells_workers else proof.missing_actors
        problems = list(ask(parameters, observed.evidence))
        if "not_released" in observed.evidence:
            problems.append(f"not released: {observed.evidence['not_released']}")
        if problems:
            record = ExceptionRecord(
                type="pytest_raycompat.NoProofOfRay", message="; ".join(problems), process="runner"
            )
            return Failure(outcome="error", phase="proof", chain=(record,))
    return None
