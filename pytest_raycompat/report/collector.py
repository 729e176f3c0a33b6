"""Collects the verdicts of a run and writes them out."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

import pytest_raycompat
from pytest_raycompat.gpus import driver_version
from pytest_raycompat.judgement import Judgement
from pytest_raycompat.records import RED, FlowResult, Measurement
from pytest_raycompat.report.document import (
    AttemptRecord,
    ClusterRecord,
    ControlRecord,
    DeviceRecord,
    MachineRecord,
    Report,
    TestRecord,
)
from pytest_raycompat.report.excerpt import excerpt_of
from pytest_raycompat.report.formats import write_as
from pytest_raycompat.report.gaps import met_gaps, workarounds_of
from pytest_raycompat.report.paths import from_root

if TYPE_CHECKING:
    from pytest_raycompat.session import Session

WRITE_EVERY_S = 2.0


def record_of(
    identifier: str,
    judgement: Judgement,
    seconds: float,
    flows: Iterable[FlowResult],
    *,
    file: str = "",
    line: int = 0,
    reproduce: str = "",
) -> TestRecord:
    """Describe a test: the flow on Ray that failed, or else the first one, with its control, and the verdict.

    ``reproduce`` is the command that runs the test; the one that runs its flow is preferred.
    """
    flows = list(flows)
    on_ray = [flow for flow in flows if flow.nodes]
    about = next((flow for flow in on_ray if flow.failure is not None), next(iter(on_ray or flows), None))
    if about is None:
        return TestRecord(
            id=identifier,
            verdict=judgement.verdict,
            reason=judgement.reason,
            seconds=round(seconds, 3),
            gap=judgement.gap,
            reproduce=reproduce,
            file=file,
            line=line,
        )
    control = about.control or next((flow for flow in flows if flow is not about and not flow.nodes), None)
    failure = about.failure
    return TestRecord(
        id=identifier,
        verdict=judgement.verdict,
        reason=judgement.reason,
        seconds=round(seconds, 3),
        flow=about.flow,
        parameters=about.parameters,
        setting=about.setting,
        outcome=about.outcome,
        phase=about.phase,
        exception=failure.root if failure else None,
        chain=failure.chain if failure else (),
        gap=judgement.gap,
        workarounds=workarounds_of(flows),
        evidence=about.evidence,
        timings=about.timings,
        measurements=pooled(flow for flow in flows if same_work(flow, about)),
        control=control_of(control) if control is not None else None,
        reproduce=about.reproduce,
        logs=about.logs,
        log_excerpt=excerpt_of(about.logs) if failure is not None else "",
        file=file,
        line=line,
    )


def same_work(flow: FlowResult, other: FlowResult) -> bool:
    """Tell whether two results are of the same flow, run in the same way."""
    ours, theirs = ((one.flow, one.parameters, one.setting, one.nodes) for one in (flow, other))
    return ours == theirs and flow.outcome == other.outcome


def pooled(flows: Iterable[FlowResult]) -> dict[str, Measurement]:
    """Put together what several runs of one flow measured."""
    found: dict[str, Measurement] = {}
    for flow in flows:
        for name, measured in flow.measurements.items():
            held = found.get(name)
            samples = (*(held.samples if held is not None else ()), *measured.samples)
            found[name] = msgspec.structs.replace(measured, samples=samples)
    return found


def to_travel(record: TestRecord, root: Path) -> dict[str, Any]:
    """Write a record for pytest's report and for ours: its paths are relative to the root folder.

    What it was run with stays as it was: a command that is copied must do the same.
    """
    data: dict[str, Any] = msgspec.to_builtins(record)
    exact = {"id", "parameters", "reproduce"}
    return {name: value if name in exact else from_root(value, root) for name, value in data.items()}


def attempt_of(record: TestRecord) -> AttemptRecord:
    """Describe an attempt that is followed by another."""
    return AttemptRecord(
        verdict=record.verdict,
        reason=record.reason,
        seconds=record.seconds,
        outcome=record.outcome,
        phase=record.phase,
        exception=record.exception,
        timings=record.timings,
        measurements=record.measurements,
        logs=record.logs,
    )


def control_of(flow: FlowResult) -> ControlRecord:
    """Describe a control."""
    return ControlRecord(
        flow=flow.flow,
        parameters=flow.parameters,
        outcome=flow.outcome,
        exception=flow.failure.root if flow.failure else None,
        timings=flow.timings,
        logs=flow.logs,
    )


class Collector:
    """The verdicts so far. Written while the run goes on, so that a run that is cut off leaves what it had."""

    def __init__(self, session: Session, root: Path) -> None:
        self._session = session
        self.root = root
        self._created = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
        self._records: dict[str, TestRecord] = {}
        self._attempts: dict[str, list[AttemptRecord]] = {}
        self._expected: list[str] = []
        self._written_at = 0.0
        self._revision: str | None = None

    @property
    def records(self) -> list[TestRecord]:
        """The verdicts, with ``untested`` for the tests that were not reached."""
        missing = [
            TestRecord(id=identifier, verdict="untested", reason="the run ended before it")
            for identifier in self._expected
            if identifier not in self._records
        ]
        place = {identifier: number for number, identifier in enumerate(self._expected)}
        records = sorted(
            [*self._records.values(), *missing], key=lambda record: place.get(record.id, len(place))
        )  # as collected, whichever worker was first
        baseline = self._session.baseline
        if baseline is None:
            return records
        return [msgspec.structs.replace(record, change=baseline.compare(record).change) for record in records]

    @property
    def progress(self) -> tuple[int, int, int]:
        """How many tests have a verdict, how many are to have one, and how many verdicts are red."""
        red = sum(record.verdict in RED for record in list(self._records.values()))  # another thread may ask
        return len(self._records), max(len(self._expected), len(self._records)), red

    def expect(self, identifiers: Iterable[str]) -> None:
        """Note which tests are to have a verdict: a run that is killed leaves the others ``untested``."""
        self._expected = list(dict.fromkeys(identifiers))
        self.write(finished=False)

    def add(self, data: dict[str, Any], *, again: bool = False) -> None:
        """Add a verdict, as it travels with pytest's report; a later one for the same test replaces it.

        Args:
            data: the record.
            again: whether the test is run once more; then this was an attempt, and is kept as one.
        """
        record = msgspec.convert(data, TestRecord)
        if again:
            self._attempts.setdefault(record.id, []).append(attempt_of(record))
        attempts = tuple(self._attempts.get(record.id, ()))
        self._records[record.id] = msgspec.structs.replace(
            record, attempts=attempts, flaky=any(attempt.verdict != record.verdict for attempt in attempts)
        )
        self._write_now_and_then()

    def lose(self, identifier: str, reason: str) -> None:
        """Note that the process which ran a test was lost: there is no verdict on the flow."""
        if identifier not in self._expected:
            return
        record = self._records.get(identifier, TestRecord(id=identifier, verdict="untested"))
        if record.verdict not in RED:  # else what went wrong before says more
            self._records[identifier] = msgspec.structs.replace(record, verdict="infra", reason=reason)
            self._write_now_and_then()

    def _write_now_and_then(self) -> None:
        if time.monotonic() - self._written_at > WRITE_EVERY_S:
            self.write(finished=False)

    def write(self, *, finished: bool, last: bool = False) -> list[Path]:
        """Write the reports that were asked for, and return their paths; before the last time only those in JSON."""
        self._written_at = time.monotonic()
        paths = list(self._session.settings.reports)
        if not finished and not last:
            paths = [path for path in paths if path.suffix == ".json"]
        if paths:
            report = self.report(finished=finished)
            for path in paths:
                write_as(path, (report,))
        return paths

    def report(self, *, finished: bool) -> Report:
        """Put the report together."""
        from pytest_raycompat.session import git_revision

        if self._revision is None:
            self._revision = git_revision(self.root) or ""
        session = self._session
        gpus = session.visible_gpus
        records = self.records
        report = Report(
            project_version=pytest_raycompat.__version__,
            created=self._created,
            finished=finished,
            environment=msgspec.structs.replace(
                session.environment, executable=from_root(session.environment.executable, self.root)
            ),
            device=DeviceRecord(
                kind=session.device, count=len(gpus), names=tuple(gpu.name for gpu in gpus), driver=self._driver
            ),
            machine=self._machine,
            cluster=self._cluster(),
            git_revision=self._revision or None,
            gaps_mode=session.settings.gaps_mode,
            gaps=met_gaps(session.gaps, records),
            results=tuple(records),
        )
        baseline = session.baseline
        return report if baseline is None else msgspec.structs.replace(report, baseline=baseline.describe(report))

    @cached_property
    def _machine(self) -> MachineRecord:
        from pytest_raycompat.machine import describe_machine

        return describe_machine()

    @cached_property
    def _driver(self) -> str | None:
        return driver_version()

    def _cluster(self) -> ClusterRecord | None:
        if not self._session.settings.active:
            return None
        clusters = self._session.clusters
        return ClusterRecord(
            description=clusters.describe(),
            option=clusters.written,
            owned=clusters.spec.kind == "local",
            notes=tuple(from_root(note, self.root) for note in clusters.notes),
        )
