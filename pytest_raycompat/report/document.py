"""The JSON report: what it holds, written whole or not at all, and checked when it is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

import msgspec

from pytest_raycompat.files import UNREADABLE, write_file
from pytest_raycompat.records import Environment, ExceptionRecord, GapsMode, Measurement, Outcome, Verdict
from pytest_raycompat.report import refusal

SCHEMA_VERSION = 1

Change = Literal["regressed", "fixed", "still-failing", "new", "vanished", "gap-closed", "unchanged"]
"""What became of a test since a baseline; docs/reference/verdicts.md says what each means."""

WorkaroundStatus = Literal["works", "does not work", "not tried"]


class ControlRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The same work without Ray."""

    flow: str = ""
    parameters: dict[str, Any]
    outcome: Outcome
    exception: ExceptionRecord | None = None
    timings: dict[str, float] = {}
    logs: tuple[str, ...] = ()


class AttemptRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt at a test that was then run again, as with pytest-rerunfailures."""

    verdict: Verdict
    reason: str = ""
    seconds: float = 0.0
    outcome: Outcome | None = None
    phase: str | None = None
    exception: ExceptionRecord | None = None
    timings: dict[str, float] = {}
    measurements: dict[str, Measurement] = {}
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
    setting: str = ""
    """What the flow ran with beyond its parameters, in words: ``nodes=0+1+1``, variables of its process."""
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
    measurements: dict[str, Measurement] = {}
    """What the flow measured, by name; with the samples of every run of it."""
    control: ControlRecord | None = None
    reproduce: str = ""
    logs: tuple[str, ...] = ()
    log_excerpt: str = ""
    """The end of the first log; kept in the report because logs seldom travel with it. Empty for ``passed``."""
    file: str = ""
    """Path of the test's file, relative to pytest's root folder."""
    line: int = 0
    """Where the test begins in it, from 1; 0 where that is not known."""
    attempts: tuple[AttemptRecord, ...] = ()
    """Earlier attempts, first one first."""
    flaky: bool = False
    """Whether an earlier attempt ended with another verdict."""
    samples: tuple[dict[str, float], ...] = ()
    """Timings of every run of it, where reports of several runs were merged."""
    change: Change | None = None
    """What became of it since the baseline, if there was one."""


class DeviceRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What the flows ran on."""

    kind: Literal["cpu", "cuda"]
    count: int
    names: tuple[str, ...] = ()
    driver: str | None = None
    """Version of the NVIDIA driver, or None without one."""


class MachineRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The machine that ran pytest."""

    cpu: str
    """Its model, as the kernel names it."""
    cpus: int
    """How many logical CPUs the run could use."""
    memory_gb: float
    """Its memory, in GiB."""


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
    """How many tests failed as it records; of merged reports the sum, so that a test counts once a run."""
    passed: int
    """How many tests passed where it applies: with an intermittent gap that is allowed, else the gap is closed."""
    changed: int
    """How many tests failed in another way where it applies."""
    workaround: WorkaroundStatus | None = None
    """None where the gap names no environment variables to try."""


class BaselineRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a run was compared with."""

    path: str
    created: str
    git_revision: str | None = None
    differences: tuple[str, ...] = ()
    """In what the environments differ, in words."""
    vanished: tuple[str, ...] = ()
    """Tests of the baseline that the run does not have."""


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
    machine: MachineRecord | None = None
    cluster: ClusterRecord | None = None
    git_revision: str | None = None
    gaps_mode: GapsMode = "run"
    """What was done about tests for which a known gap applies; it decides what a verdict means."""
    gaps: tuple[GapRecord, ...] = ()
    baseline: BaselineRecord | None = None
    results: tuple[TestRecord, ...] = ()


class ReportSet(msgspec.Struct, frozen=True, kw_only=True):
    """Reports of several environments in one file."""

    schema_version: int = SCHEMA_VERSION
    reports: tuple[Report, ...]


class ReportError(ValueError):
    """A file is not a report of this project; names the file, what is wrong and what was expected."""


def write_report(path: Path, document: Report | ReportSet) -> None:
    """Write a report to ``path`` as JSON, whole or not at all."""
    write_file(path, msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")


def read_report(path: Path) -> Report:
    """Read the report of one environment.

    Raises:
        ReportError: it cannot be read, is not a report, is of another schema, or holds several environments.
    """
    reports = read_reports(path)
    if len(reports) != 1:
        raise ReportError(f"{path}: it holds {len(reports)} reports, and one was expected")
    return reports[0]


def read_reports(path: Path) -> tuple[Report, ...]:
    """Read the reports of a file: that of one run, or those of several environments merged.

    Raises:
        ReportError: it cannot be read, is not a report, or is of another schema.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ReportError(f"{path}: {error.strerror}") from None
    try:
        raw = msgspec.json.decode(content)
    except UNREADABLE as error:
        raise ReportError(f"{path}: {refusal.why_no_json(content, error)}") from None
    reports: tuple[Report, ...] = ()
    try:
        _refuse(path, refusal.why_no_report(raw), what="not a report of pytest-raycompat: ", instead=True)
        _refuse(path, refusal.why_other_schema(raw, SCHEMA_VERSION))
        several = "reports" in raw
        reports = msgspec.convert(raw, ReportSet).reports if several else (msgspec.convert(raw, Report),)
    except msgspec.ValidationError as error:
        _refuse(path, str(error), what="not a report of pytest-raycompat: ")
    for number, report in enumerate(reports):
        place = f"reports[{number}]." if several else ""
        _refuse(path, refusal.why_ambiguous((result.id for result in report.results), place))
    return reports


def _refuse(path: Path, why: str | None, what: str = "", *, instead: bool = False) -> None:
    if why is not None:
        hint = "; one is written by --raycompat-report=PATH.json" if instead else ""
        raise ReportError(f"{path}: {what}{why}{hint}")
