"""What a walk finds, and what it comes to for a flow: frozen data, as the JSON has it."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

Status: TypeAlias = Literal["no obstacle found", "guarded", "absent", "unknown", "breaks"]
STATUSES: tuple[Status, ...] = ("no obstacle found", "guarded", "absent", "unknown", "breaks")
"""From the best to the worst; ``absent``: that vLLM has not the executor that the flow names."""
UNTOLD: tuple[Status, ...] = ("absent", "unknown")
"""Says neither that a flow breaks nor that nothing was found."""


PROGRAM = "the flow "
"""Before the name of a flow, where what it does is not in a file."""


class Place(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line of a file; ``text`` is what stands there, or in short."""

    file: str
    line: int
    text: str = ""

    def __str__(self) -> str:
        return self.file if self.file.startswith(PROGRAM) else f"{self.file}:{self.line}"


class History(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a missing name is found in other releases, among those that were looked into."""

    last_before: str | None = None
    """The newest older release that has it."""
    first_after: str | None = None
    """The oldest newer release that has it."""


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that one package wants of the other, and does not find."""

    status: Literal["guarded", "unknown", "breaks"]
    missing: str
    """The name, ``module.function(parameter)`` for a parameter, or a version that the code wants."""
    subject: str
    """What lacks it, such as ``Ray 2.35.0``."""
    package: str
    exception: str
    """What Python would raise, without its module."""
    message: str
    used: Place
    guard: Place | None = None
    """The test or handler around it."""
    further: tuple[str, ...] = ()
    """Messages of what is raised because of it, the last one last."""
    gap: str | None = None
    """The known gap that it belongs to."""
    history: History | None = None

    def at(self, place: Place) -> Finding:
        """Return it as used there, where it is not said to be used elsewhere."""
        return self if self.used.file else msgspec.structs.replace(self, used=place)

    def guarded(self, place: Place, status: Literal["guarded", "unknown"]) -> Finding:
        """Return it with what is around it; what is guarded already stays so."""
        if self.guard is not None and self.status != "breaks":
            return self
        return msgspec.structs.replace(self, status=status, guard=place)

    def then(self, further: Finding) -> Finding:
        """Return it as the cause of another one."""
        messages = dict.fromkeys(
            (*self.further, *((further.message,) if further.message != self.message else ()), *further.further)
        )
        return msgspec.structs.replace(self, further=tuple(messages), exception=further.exception)

    def raising(self, exception: str, message: str, place: Place) -> Finding:
        """Return it with the exception that the code raises because of it."""
        located = self.at(place)
        if not self.exception:  # a decision of the code, which has no exception of its own
            return msgspec.structs.replace(located, exception=exception, message=message, used=place)
        return msgspec.structs.replace(located, exception=exception, further=(*self.further, message))

    @property
    def messages(self) -> tuple[str, ...]:
        """All messages that a run would show."""
        return (self.message, *self.further)


class FlowResult(msgspec.Struct, frozen=True):
    """What was found for one flow."""

    flow: str
    """With the executor, where it has a choice: ``generate ray-v1``."""
    status: Status
    findings: tuple[Finding, ...]
    unseen: tuple[str, ...] = ()
    """Names that could not be followed to the end, with the reason."""


class PairResult(msgspec.Struct, frozen=True):
    """What was found for a pair."""

    ray: str
    vllm: str
    flows: tuple[FlowResult, ...]
    notes: tuple[str, ...] = ()


def status_of(findings: tuple[Finding, ...]) -> Status:
    """Return the worst of what was found."""
    return max((one.status for one in findings), key=STATUSES.index, default="no obstacle found")
