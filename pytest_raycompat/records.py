"""What is known about an environment, a flow that ran in it, and how that is judged: frozen data, no behaviour."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Outcome = Literal["ok", "error", "crash", "timeout"]
"""How a flow ended: it finished, it raised, its process died, or its deadline passed."""

Verdict = Literal[
    "passed",
    "known-gap",
    "gap-closed",
    "gap-changed",
    "failed",
    "crashed",
    "timed-out",
    "control-failed",
    "infra",
    "unsupported",
    "untested",
]
"""The closed vocabulary of every report; docs/reference says what each means."""

GREEN: frozenset[str] = frozenset({"passed", "known-gap"})
"""Verdicts that a flow earned by running. ``unsupported`` and ``untested`` are neither green nor red."""

RED: frozenset[str] = frozenset(
    {"gap-closed", "gap-changed", "failed", "crashed", "timed-out", "control-failed", "infra"}
)
"""Verdicts that fail the run."""


GapsMode = Literal["run", "skip", "only"]
"""What is done about tests for which a known gap applies."""


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """The environment under test, read from its installed distributions without importing them.

    ``ray``, ``vllm`` and ``torch`` are versions as installed (``2.35.0+corp.3``), or None where the package is missing.
    """

    executable: str
    python: str
    platform: str
    ray: str | None = None
    vllm: str | None = None
    torch: str | None = None
    ray_client: bool = False
    """Whether Ray's client server can run: it needs grpcio, which plain ``ray`` does not bring."""
    bytecode: bool = True
    """Whether its Ray, torch and vLLM have bytecode: images that are built with ``PYTHONDONTWRITEBYTECODE`` lack it."""
    vllm_build: Literal["cpu", "accelerator"] | None = None
    executors: tuple[str, ...] = ()
    """Executors that this vLLM has, of ``ray-v2``, ``ray-v1``, ``ray-v0``, ``mp`` and ``uni``."""
    default_executor: str | None = None
    """What ``distributed_executor_backend="ray"`` means by default in this vLLM: ``ray-v1`` or ``ray-v2``."""


class ExceptionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One exception of a chain, from the process where it happened."""

    type: str
    """Qualified name; builtins without their module (``ValueError``, ``ray.exceptions.RayTaskError``)."""
    message: str
    process: str = ""
    """Where it was raised: ``driver``, or the name a log line carries (``EngineCore pid=71``)."""
    traceback: str = ""


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why a flow did not end ``ok``.

    ``chain`` goes from the root cause to the last wrapper; a crash or a timeout may have none.
    """

    outcome: Literal["error", "crash", "timeout"]
    phase: str
    chain: tuple[ExceptionRecord, ...] = ()
    detail: str = ""
    """For a crash or timeout: the signal or exit status, and what was last seen."""

    @property
    def root(self) -> ExceptionRecord | None:
        """The root cause: the first error of the process where it happened."""
        return self.chain[0] if self.chain else None


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """Samples of something that a flow measured."""

    unit: str
    samples: tuple[float, ...]
    better: Literal["lower", "higher"]
    """Which values are better."""


class FlowResult(msgspec.Struct, frozen=True, kw_only=True):
    """What one run of one flow gave."""

    flow: str
    parameters: dict[str, Any]
    outcome: Outcome
    phase: str
    """The phase it was in when it ended."""
    device: Literal["cpu", "cuda"]
    nodes: int
    node_gpus: tuple[int, ...] = ()
    """The GPUs of each node of its cluster, the head first; none for what ran without Ray."""
    outputs: dict[str, Any] = {}
    """What the flow reported: tokens, log-probabilities, texts."""
    evidence: dict[str, Any] = {}
    """Proof of Ray: executor class, actors, nodes, GPUs held and released."""
    timings: dict[str, float] = {}
    """Seconds per phase, and ``total``."""
    measurements: dict[str, Measurement] = {}
    """What it measured, by name."""
    failure: Failure | None = None
    control: FlowResult | None = None
    reproduce: str = ""
    """One command that runs the same without pytest."""
    logs: tuple[str, ...] = ()
    setting: str = ""
    """What it ran with beyond its parameters: the nodes that it asked for, variables of its process."""
    workaround: str | None = None
    """The gap whose workaround was applied to this run; such a run shows whether it works."""
