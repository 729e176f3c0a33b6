"""The JSON report: what it holds, written whole or not at all, and checked when it is read."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any, ClassVar, Literal

import msgspec

from pytest_raycompat.records import Environment, ExceptionRecord, Outcome, Verdict

SCHEMA_VERSION = 1


class ControlRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The same work without Ray."""

    parameters: dict[str, Any]
    outcome: Outcome
    exception: ExceptionRecord | None = None
    timings: dict[str, float] = {}
    logs: tuple[str, ...] = ()


class WorkaroundRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One flow that was run with the workaround of a gap."""

    gap: str
    works: bool
    exception: ExceptionRecord | None = None
    """Why it does not work: the root cause."""


class TestRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One test and its verdict."""

    __test__: ClassVar[bool] = False  # its name begins as a test's does

    id: str
    verdict: Verdict
    reason: str = ""
    seconds: float = 0.0
    flow: str | None = None
    parameters: dict[str, Any] = {}
    outcome: Outcome | None = None
    phase: str | None = None
    exception: ExceptionRecord | None = None
    """The root cause."""
    chain: tuple[ExceptionRecord, ...] = ()
    gap: str | None = None
    """The gap that the verdict is about; with ``passed``, an intermittent one that did not show."""
    workarounds: tuple[WorkaroundRecord, ...] = ()
    evidence: dict[str, Any] = {}
    timings: dict[str, float] = {}
    """Seconds per phase of the flow."""
    control: ControlRecord | None = None
    reproduce: str = ""
    logs: tuple[str, ...] = ()


class DeviceRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What the flows ran on."""

    kind: Literal["cpu", "cuda"]
    count: int
    names: tuple[str, ...] = ()


class ClusterRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The cluster that the flows ran on."""

    description: str
    option: str
    """What ``--ray-cluster`` says of one like it."""
    owned: bool
    notes: tuple[str, ...] = ()


class GapRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A known gap that the run met, or whose workaround it tried."""

    id: str
    title: str
    path: str
    line: int
    overrides: str | None = None
    """The file of this package's gap that it stands in for."""
    intermittent: bool
    shown: int
    """How many tests failed as it records."""
    passed: int
    """How many tests passed where it applies: with an intermittent gap that is allowed, else the gap is closed."""
    changed: int
    """How many tests failed in another way where it applies."""
    workaround: Literal["works", "does not work", "not tried"] | None = None
    """None where the gap names no environment variables to try."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A run."""

    schema_version: int = SCHEMA_VERSION
    project_version: str
    created: str
    """When the run began, ISO 8601 with time zone."""
    finished: bool
    """False where the run was interrupted or is still under way; what it did not reach is ``untested``."""
    environment: Environment
    device: DeviceRecord
    cluster: ClusterRecord | None = None
    git_revision: str | None = None
    gaps: tuple[GapRecord, ...] = ()
    results: tuple[TestRecord, ...] = ()


class ReportError(ValueError):
    """A file is not a report of this project; says why."""


def write_report(path: Path, report: Report) -> None:
    """Write ``report`` to ``path``, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_report(path: Path) -> Report:
    """Read a report.

    Raises:
        ReportError: it cannot be read, is not a report, or is of a newer schema.
    """
    try:
        content = path.read_bytes()
        version = msgspec.json.decode(content, type=dict[str, Any]).get("schema_version")
        if version != SCHEMA_VERSION:
            raise ReportError(f"{path}: schema_version is {version!r}, this version reads {SCHEMA_VERSION}")
        return msgspec.json.decode(content, type=Report)
    except OSError as error:
        raise ReportError(f"{path}: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise ReportError(f"{path}: not a report of pytest-raycompat: {error}") from None
