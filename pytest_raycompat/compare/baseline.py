"""The report that a run is compared with while it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_raycompat.compare.comparison import entry_of
from pytest_raycompat.compare.environments import differences, labels
from pytest_raycompat.compare.merge import read_side
from pytest_raycompat.durations import seconds_of
from pytest_raycompat.records import Environment, GapsMode, Verdict
from pytest_raycompat.report.document import (
    BaselineRecord,
    Change,
    Report,
    ReportError,
    TestRecord,
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
        self._records = {record.id: record for record in report.results}

    @property
    def seconds(self) -> Mapping[str, float]:
        """How long each test took that was reached, by its id."""
        return seconds_of(self.report.results)

    @classmethod
    def read(cls, path: Path, environment: Environment, device: str, gaps_mode: GapsMode = "run") -> Baseline:
        """Read the baseline of an environment.

        Raises:
            ReportError: it is no report, or of no environment that may be compared with this one.
            MergeError: it is a folder, and its reports contradict each other.
        """
        reports = read_side(path)
        same_device = [report for report in reports if report.device.kind == device]
        comparable = [report for report in same_device if report.gaps_mode == gaps_mode]
        same_versions = [
            report
            for report in comparable
            if (report.environment.ray, report.environment.vllm) == (environment.ray, environment.vllm)
        ]
        for candidates in (same_versions, comparable):
            if len(candidates) == 1:
                return cls(path, candidates[0])
        found = "; ".join(labels(reports)) or "nothing"
        if not same_device:
            raise ReportError(
                f"{path}: it is of {found}, and this run is on {device}; take a baseline of a run on {device}"
            )
        if not comparable:
            raise ReportError(
                f"{path}: it is of {found}, and this run has --raycompat-gaps-mode={gaps_mode}, with which a verdict "
                "means something else; take a baseline of a run with the same mode"
            )
        which = f"Ray {environment.ray}, vLLM {environment.vllm}, {device}"
        raise ReportError(
            f"{path}: it is of {found}; none is that of this run ({which}), and several are as near to it"
        )

    def compare(self, record: TestRecord) -> Compared:
        """Say what became of a test."""
        entry = entry_of(self._records.get(record.id), record)
        return Compared(entry.old, entry.change, entry.worse)

    def describe(self, report: Report) -> BaselineRecord:
        """Say what a run was compared with, and in what the environments differ."""
        ids = {record.id for record in report.results}
        return BaselineRecord(
            path=shown(self.path),
            created=self.report.created,
            git_revision=self.report.git_revision,
            differences=tuple(str(one) for one in differences(self.report, report)),
            vanished=tuple(identifier for identifier in self._records if identifier not in ids),
        )

    def is_worse(self, records: tuple[TestRecord, ...]) -> bool:
        """Whether any test is worse."""
        return any(self.compare(record).worse for record in records)
