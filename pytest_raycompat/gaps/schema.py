"""What a gap file holds: frozen data, and the error for a file that does not hold it."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
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


Executor = Literal["ray-v0", "ray-v1", "ray-v2", "mp", "uni"]
"""What a condition may name; ``ray``, which leaves the choice to vLLM, is none of them."""
EXECUTOR_NEEDS: Mapping[str, str] = {"ray-v2": ">=0.20", "ray-v1": "<0.33", "ray-v0": "<0.11"}
"""The vLLM that has an executor: vllm/v1/executor/ray_executor_v2.py came in 0.20.0, ray_executor.py went in 0.33.0.
The V0 engine went in 0.11.0."""


class Conditions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a gap applies: every condition that is given must hold. The versions are PEP 440 specifiers.

    Where both ``ray`` and ``lacks`` are given, ``decides`` says which of the two is compared.
    """

    ray: str | None = None
    vllm: str | None = None
    torch: str | None = None
    python: str | None = None
    device: Literal["cpu", "cuda"] | None = None
    executor: Executor | None = None
    parameters: dict[str, str | int | bool] = {}
    """Parameters of the flow and the values that they have; one that is not given to the flow does not hold."""
    head_gpus: int | None = None
    """How many GPUs the head node of the cluster has."""
    nodes: int | None = None
    """The flow runs on a cluster of this many nodes or more."""
    lacks: tuple[str, ...] = ()
    """Ray modules, attributes or parameters; holds where at least one is absent, whatever a fork's version says."""
    decides: Literal["lacks", "versions"] | None = None
    """``lacks`` (the default): ``ray`` only tells a reader which releases lack it. ``versions``: ``lacks`` does."""

    @property
    def decisive_lacks(self) -> tuple[str, ...]:
        """What is looked up in the environment under test."""
        return () if self.decides == "versions" else self.lacks

    @property
    def decisive_ray(self) -> str | None:
        """The specifier that Ray's version is compared with."""
        return None if self.decisive_lacks else self.ray


class Workaround(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a user does about a gap, and the environment variables with which a test shows that it works."""

    text: str
    env: dict[str, str] = {}


CALL = "call"
"""The phase of what is no failure of a flow: a test finds wrong what the flow gave."""


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
    intermittent: bool = False
    """Whether a run may also pass where the gap applies."""
    cause: str | None = None
    workaround: Workaround | None = None
    fix: Literal["ray", "vllm", "never"]
    links: tuple[str, ...]
    confidence: Literal["read", "stated", "reported"] | None = None
    """What a gap rests on that no run has shown."""
    needs: str | None = None
    """What it takes to show it, beyond one machine without a GPU."""
    verified: tuple[Pair, ...] = ()
    review: datetime.date | None = None
    """The day from which somebody should look whether it still holds."""


class Gap(GapKeys, frozen=True, kw_only=True):
    """One known gap, and where it is recorded."""

    path: Path
    line: int
    root: Path | None = None
    """The folder from which its file is named: pytest's root folder, or that of this package for one of ours."""
    overrides: str | None = None
    """The file of the gap with this id that it stands in for, as it is named."""

    @property
    def file(self) -> str:
        """Its file as messages and reports name it: from ``root`` where it is below, which reads alike everywhere."""
        if self.root is None or not self.path.is_relative_to(self.root):
            return str(self.path)
        return str(self.path.relative_to(self.root))

    @property
    def place(self) -> str:
        """Where it is recorded: file and line."""
        return f"{self.file}:{self.line}"
