"""Which gaps are recorded for a run: those that hold for its flow and environment, or that its test is marked with."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from pytest_raycompat.gaps import Gap, applies
from pytest_raycompat.gaps.matching import Capability, CapabilityUnknown
from pytest_raycompat.records import Environment


class Run(Protocol):
    """What there is to know of a run for telling which gaps apply to it; a :class:`FlowResult` is one."""

    @property
    def flow(self) -> str:
        """The name of the flow."""

    @property
    def parameters(self) -> dict[str, Any]:
        """What it runs with."""

    @property
    def device(self) -> Literal["cpu", "cuda"]:
        """What it runs on."""

    @property
    def nodes(self) -> int:
        """How many Ray nodes it runs on; 0 without Ray."""

    @property
    def node_gpus(self) -> tuple[int, ...]:
        """The GPUs of each of them, the head first."""


@dataclass(frozen=True)
class PlannedRun:
    """A run that is yet to come."""

    flow: str
    parameters: dict[str, Any]
    device: Literal["cpu", "cuda"]
    nodes: int
    node_gpus: tuple[int, ...] = ()


def applicable(
    gaps: Iterable[Gap],
    run: Run,
    environment: Environment,
    marked: Collection[str] = (),
    capability: Capability | None = None,
) -> list[Gap]:
    """List the gaps that are recorded for a run: by their flows, or because the test is marked with their id.

    A control is without Ray, so a gap is about it only if it names its executor. A gap of which it cannot be told
    whether it applies does not: it excuses nothing.
    """
    return look_up(gaps, run, environment, marked, capability)[0]


def look_up(
    gaps: Iterable[Gap], run: Run, environment: Environment, marked: Collection[str], capability: Capability | None
) -> tuple[list[Gap], list[str]]:
    """Find the gaps that apply, and say of which it cannot be told."""
    found, unknown = [], []
    for gap in gaps:
        if not (run.nodes or gap.when.executor is not None or gap.id in marked):
            continue
        try:
            holds = applies(
                gap,
                flow=gap.flows[0] if gap.id in marked else run.flow,
                parameters=run.parameters,
                environment=environment,
                device=run.device,
                nodes=run.nodes,
                head_gpus=run.node_gpus[0] if run.node_gpus else None,
                capability=capability,
            )
        except CapabilityUnknown as error:
            unknown.append(f"cannot tell whether {gap.id} applies ({gap.place}): {error}")
        else:
            found += [gap] if holds else []
    return found, unknown


def marked_applicable(
    marked: Collection[str],
    gaps: Iterable[Gap],
    environment: Environment,
    device: Literal["cpu", "cuda"],
    parameters: dict[str, Any],
    *,
    nodes: int = 0,
    capability: Capability | None = None,
) -> tuple[list[Gap], list[str]]:
    """Find the gaps that a test is marked with and that apply, and say of which it cannot be told."""
    found, unknown = [], []
    for gap in gaps:
        if gap.id in marked:  # the mark says what the test does not: its executor
            run = PlannedRun(gap.flows[0], {"executor": gap.when.executor, **parameters}, device, nodes)
            one, untold = look_up([gap], run, environment, [gap.id], capability)
            found += one
            unknown += untold
    return found, unknown
