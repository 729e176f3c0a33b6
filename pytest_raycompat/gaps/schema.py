"""What a gap file holds: frozen data, and the error for a file that does not hold it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec


class GapFileError(ValueError):
    """A gap file or folder that cannot be used; ``line`` is None where the problem is not in a file's text."""

    def __init__(self, path: Path, line: int | None, problem: str) -> None:
        super().__init__(path, line, problem)
        self.path = path
        self.line = line
        self.problem = problem

    def __str__(self) -> str:
        place = str(self.path) if self.line is None else f"{self.path}:{self.line}"
        return f"{place}: {self.problem}"


class Conditions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a gap applies: every condition that is given must hold. The versions are PEP 440 specifiers."""

    ray: str | None = None
    vllm: str | None = None
    torch: str | None = None
    python: str | None = None
    device: Literal["cpu", "cuda"] | None = None
    executor: Literal["ray-v1", "ray-v2", "mp", "uni"] | None = None
    parameters: dict[str, str | int] = {}
    """Parameters of the flow, each with the value that it must have."""
    lacks: tuple[str, ...] = ()
    """Ray attributes or parameters; the gap applies where at least one is absent, whatever a fork's version says."""


class Workaround(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a user does about a gap, and the environment variables with which a test shows that it works."""

    text: str
    env: dict[str, str] = {}


class Pair(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Versions on which a run has shown a gap."""

    ray: str
    vllm: str


class GapKeys(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The keys of a gap file; docs/reference says what each means."""

    id: str
    title: str
    flows: tuple[str, ...]
    when: Conditions
    phase: str | None = None
    outcome: Literal["error", "crash", "timeout"] = "error"
    raises: str | None = None
    """Qualified name of an exception; builtins without their module, as in ``ExceptionRecord.type``."""
    message: str | None = None
    """A regular expression, searched for in the message of the exception."""
    workaround: Workaround | None = None
    fix: Literal["ray", "vllm", "never"]
    links: tuple[str, ...]
    verified: tuple[Pair, ...] = ()


class Gap(GapKeys, frozen=True, kw_only=True):
    """One known gap, and where it is recorded."""

    path: Path
    line: int
