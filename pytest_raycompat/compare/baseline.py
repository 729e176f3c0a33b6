"""The report that a run is compared with while it goes on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pytest_raycompat.compare.change import change_of, is_worse
from pytest_raycompat.compare.environments import differences, labels
from pytest_raycompat.records import Environment, Verdict
from pytest_raycompat.report.document import (
    BaselineRecord,
    Change,
    Report,
    ReportError,
    TestRecord,
    read_reports,
)
from pytest_raycompat.report.paths import shown


@dataclass(frozen=True)
class Compared:
    """What became of a test since the baseline."""

    old: Verdict | None
    change: Change
    worse: bool


class Baseline:
    """What a run is compared with.

    Args:
        path: the file of the report.
        report: that of the environment under test, or of what is nearest to it.
    """

    def __init__(self, path: Path, report: Report) -> None:
        self.path = path
        self.report = report
        self._verdicts = {record.id: record.verdict for record in report.results}

    @classmethod
    def read(cls, path: Path, environment: Environment, device: str) -> Baseline:
        """Read the baseline of an environment.

        Raises:
            ReportError: it is no report, or of no environment that may be compared with this one.
        """
        reports = read_reports(path)
        same_device = [report for report in reports if report.device.kind == device]
        same_versions = [
            report
            for report in same_device
            if (report.environment.ray, report.environment.vllm) == (environment.ray, environment.vllm)
        ]
        for candidates in (same_versions, same_device):
            if len(candidates) == 1:
                return cls(path, candidates[0])
        found = "; ".join(labels(reports)) or "nothing"
        if not same_device:
            raise ReportError(
                f"{path}: it is of {found}, and this run is on {device}; take a baseline of a run on {device}"
            )
        which = f"Ray {environment.ray}, vLLM {environment.vllm}, {device}"
        raise ReportError(
            f"{path}: it is of {found}; none is that of this run ({which}), and several are as near to it"
        )

    def compare(self, identifier: str, verdict: Verdict | None) -> Compared:
        """Say what became of a test."""
        old = self._verdicts.get(identifier)
        return Compared(old, change_of(old, verdict), is_worse(old, verdict))

    def describe(self, report: Report) -> BaselineRecord:
        """Say what a run was compared with, and in what the environments differ."""
        ids = {record.id for record in report.results}
        return BaselineRecord(
            path=shown(self.path),
            created=self.report.created,
            git_revision=self.report.git_revision,
            differences=tuple(str(one) for one in differences(self.report, report)),
            vanished=tuple(identifier for identifier in self._verdicts if identifier not in ids),
        )

    def is_worse(self, records: tuple[TestRecord, ...]) -> bool:
        """Whether any test is worse."""
        return any(self.compare(record.id, record.verdict).worse for record in records)
