"""The events of a flow, read on the runner's side; written by :mod:`pytest_raycompat.flows.reporting`."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from pytest_raycompat.files import UNREADABLE


class Event(msgspec.Struct, frozen=True, tag_field="event", tag=str.lower):
    """What every event has: ``at``, seconds since the flow began."""

    at: float


class Start(Event, frozen=True):
    """The flow runs."""

    flow: str
    parameters: dict[str, Any]
    pid: int
    protocol: int


class Phase(Event, frozen=True):
    """It goes on to the phase ``name``."""

    name: str


class Output(Event, frozen=True):
    """Something that the flow produced."""

    name: str
    value: Any


class Evidence(Event, frozen=True):
    """Something that proves on what it ran."""

    name: str
    value: Any


class Measured(Event, frozen=True, tag="measurement"):
    """Samples of something that it measured."""

    name: str
    unit: str
    samples: tuple[float, ...]
    better: Literal["lower", "higher"]


class Hold(Event, frozen=True):
    """It waits for a line on its standard input."""


class ReportedException(msgspec.Struct, frozen=True):
    """One exception of a chain as the flow describes it."""

    type: str
    message: str
    process: str
    traceback: str


class Raised(Event, frozen=True, tag="exception"):
    """It raised; root cause first."""

    chain: list[ReportedException]


class Done(Event, frozen=True):
    """It did all it had to do."""


AnyEvent = Start | Phase | Output | Evidence | Measured | Hold | Raised | Done

_decoder = msgspec.json.Decoder(AnyEvent)


def decode_event(line: bytes) -> AnyEvent | None:
    """Decode one line; None where it is no event, but something that was printed before the flow took the stream."""
    try:
        event: AnyEvent = _decoder.decode(line)
    except UNREADABLE:
        return None
    return event
