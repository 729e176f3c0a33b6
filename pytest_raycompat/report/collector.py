"""Collects the verdicts of a run and writes them out."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

import pytest_raycompat
from pytest_raycompat.judgement import Judgement
from pytest_raycompat.records import FlowResult
from pytest_raycompat.report.document import (
    ClusterRecord,
    ControlRecord,
    DeviceRecord,
    Report,
    TestRecord,
    write_report,
)
from pytest_raycompat.report.gaps import met_gaps, workarounds_of

if TYPE_CHECKING:
    from pytest_raycompat.session import Session

WRITE_EVERY_S = 2.0


def record_of(identifier: str, judgement: Judgement, seconds: float, flows: Iterable[FlowResult]) -> TestRecord:
    """Describe a test: the flow on Ray that it is about, with its control, and the verdict."""
    flows = list(flows)
    about = next((flow for flow in flows if flow.nodes), flows[0] if flows else None)
    if about is None:
        return TestRecord(
            id=identifier, verdict=judgement.verdict, reason=judgement.reason, seconds=seconds, gap=judgement.gap
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
        outcome=about.outcome,
        phase=about.phase,
        exception=failure.root if failure else None,
        chain=failure.chain if failure else (),
        gap=judgement.gap,
        workarounds=workarounds_of(flows),
        evidence=about.evidence,
        timings=about.timings,
        control=control_of(control) if control is not None else None,
        reproduce=about.reproduce,
        logs=about.logs,
    )


def control_of(flow: FlowResult) -> ControlRecord:
    """Describe a control."""
    return ControlRecord(
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
        self._root = root
        self._created = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
        self._records: dict[str, TestRecord] = {}
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
        return [*self._records.values(), *missing]

    def expect(self, identifiers: Iterable[str]) -> None:
        """Note which tests are to have a verdict: a run that is killed leaves the others ``untested``."""
        self._expected = list(identifiers)
        self.write(finished=False)

    def add(self, data: dict[str, Any]) -> None:
        """Add a verdict, as it travels with pytest's report; a later one for the same test replaces it."""
        record = msgspec.convert(data, TestRecord)
        self._records[record.id] = record
        if time.monotonic() - self._written_at > WRITE_EVERY_S:
            self.write(finished=False)

    def write(self, *, finished: bool) -> list[Path]:
        """Write the reports that were asked for, and return their paths."""
        self._written_at = time.monotonic()
        paths = list(self._session.settings.reports)
        if paths:
            report = self.report(finished=finished)
            for path in paths:
                write_report(path, report)
        return paths

    def report(self, *, finished: bool) -> Report:
        """Put the report together."""
        from pytest_raycompat.session import git_revision

        if self._revision is None:
            self._revision = git_revision(self._root) or ""
        session = self._session
        gpus = session.visible_gpus
        return Report(
            project_version=pytest_raycompat.__version__,
            created=self._created,
            finished=finished,
            environment=session.environment,
            device=DeviceRecord(kind=session.device, count=len(gpus), names=tuple(gpu.name for gpu in gpus)),
            cluster=self._cluster(),
            git_revision=self._revision or None,
            gaps=met_gaps(session.gaps, self.records),
            results=tuple(self.records),
        )

    def _cluster(self) -> ClusterRecord | None:
        if not self._session.settings.active:
            return None
        clusters = self._session.clusters
        return ClusterRecord(
            description=clusters.describe(),
            option=clusters.written,
            owned=clusters.spec.kind == "local",
            notes=clusters.notes,
        )
