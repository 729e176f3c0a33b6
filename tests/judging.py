"""What tests of verdicts judge."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from pytest_raycompat.gaps import Gap
from pytest_raycompat.records import Environment, ExceptionRecord, Failure, FlowResult
from tests.gaps import making

OLD = Environment(executable="/usr/bin/python3", python="3.11.7", platform="Linux", ray="2.35.0+corp.3", vllm="0.32.0")
NEW = msgspec.structs.replace(OLD, ray="2.60.0")
GUARD = ExceptionRecord(
    type="ValueError", message="Ray version 2.43.0 is required, but found 2.35.0", process="EngineCore pid=71"
)
DEAD = ExceptionRecord(type="vllm.v1.engine.exceptions.EngineDeadError", message="see above", process="driver")


def make_gap(id: str = "version-guard", **keys: Any) -> Gap:
    defaults: dict[str, Any] = {
        "title": "vLLM refuses an old Ray",
        "phase": "generate",
        "message": r"is required, but found 2\.\d+",
        "fix": "never",
        "line": 7,
    }
    return making.make_gap(id, **(defaults | keys))


def make_failure(
    *chain: ExceptionRecord,
    outcome: Literal["error", "crash", "timeout"] = "error",
    phase: str = "generate",
    detail: str = "",
) -> Failure:
    return Failure(outcome=outcome, phase=phase, chain=chain, detail=detail)


def make_result(failure: Failure | None = None, **fields: Any) -> FlowResult:
    defaults: dict[str, Any] = {
        "flow": "generate",
        "parameters": {"executor": "ray-v1"},
        "outcome": failure.outcome if failure else "ok",
        "phase": failure.phase if failure else "over",
        "device": "cpu",
        "nodes": 1,
        "failure": failure,
    }
    return FlowResult(**(defaults | fields))


RECORDED = make_failure(GUARD, DEAD)
CONTROL_OK = make_result(parameters={"executor": "uni"}, nodes=0)
CONTROL_ERROR = make_result(
    make_failure(ExceptionRecord(type="MemoryError", message="no room", process="driver"), phase="start"), nodes=0
)
