"""How a version is judged: by running tests on it, or by whatever else can say good or bad."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from pytest_raycompat.bisection.search import SKIP
from pytest_raycompat.environments.candidates import Candidate, read_candidate
from pytest_raycompat.environments.ordering import Pair
from pytest_raycompat.environments.recipe import Package
from pytest_raycompat.matrix.cells import PASSING, Cell, CellStore
from pytest_raycompat.matrix.measuring import Watch
from pytest_raycompat.matrix.running import Measures
from pytest_raycompat.probe.findings import UNTOLD, Status
from pytest_raycompat.records import Verdict
from pytest_raycompat.report.document import Report, TestRecord
from pytest_raycompat.report.terminal import counts

GOOD: frozenset[Verdict] = frozenset({"passed", "gap-closed"})
BAD: frozenset[Verdict] = frozenset({"known-gap", "gap-changed", "failed", "crashed", "timed-out", "control-failed"})
"""A known gap is what is looked for, not what is excused, and what fails without Ray too fails."""


Judgement = Literal["good", "bad", "skip"]


@dataclass(frozen=True)
class Judged:
    """How a version was judged."""

    judgement: Judgement
    why: str
    cause: str = ""
    """What tells this failure from another one: the id of its gap, else the type of its exception."""
    gaps: tuple[str, ...] = ()
    """Ids of the known gaps that showed."""
    report: Path | None = None
    """The report of the run, where there was one."""

    @property
    def label(self) -> str:
        """What is searched for changes: a version that is bad for another reason has another one."""
        return f"bad ({self.cause})" if self.judgement == "bad" and self.cause else self.judgement


class Judge(Protocol):
    """What tells good from bad."""

    def judge(self, version: str) -> Judged:
        """Judge a version; what it has judged before, also in a process before this one, it does not judge anew."""
        ...


class SuiteJudge:
    """Judges by running tests, as a matrix does.

    Args:
        package: what is searched.
        other: what is paired with each version.
        device: ``cpu`` or ``cuda``.
        cells: what was measured before.
        measurer: measures what was not.
        watch: told what it has come to.
    """

    def __init__(
        self,
        package: Package,
        other: Candidate,
        device: str,
        cells: CellStore,
        measurer: Measures,
        watch: Watch = lambda phase: None,
    ) -> None:
        self._package = package
        self._other = other
        self._device = device
        self._cells = cells
        self._measurer = measurer
        self._watch = watch

    def judge(self, version: str) -> Judged:
        """Judge a version by what its tests say."""
        candidate = read_candidate(self._package, version, self._device, Path())
        ray, vllm = (candidate, self._other) if self._package == "ray" else (self._other, candidate)
        pair = Pair(ray, vllm, self._device)
        cell = self._cells.find(pair.name)
        if cell is None or cell.state in PASSING or self._is_infrastructure(pair):
            cell = self._measurer.measure(pair, self._watch)
        return judged(cell, self._cells.report(pair.name), self._cells.paths(pair.name)[0])

    def _is_infrastructure(self, pair: Pair) -> bool:
        """Whether what was found before says nothing of the pair, such as that the cluster did not start."""
        report = self._cells.report(pair.name)
        return report is not None and any(record.verdict == "infra" for record in report.results)


@dataclass(frozen=True)
class Reading:
    """What the sources say of a flow on a pair."""

    said: Status
    why: str = ""
    exception: str = ""
    """The type of what Python would raise."""
    gaps: tuple[str, ...] = ()
    """Ids of the known gaps that it belongs to."""


class Reads(Protocol):
    """What says of a flow on a pair, from the sources alone, whether anything is in its way."""

    def read(self, ray: str, vllm: str) -> Reading:
        """Read a pair.

        Raises:
            ValueError: a release cannot be read.
        """
        ...


class SourceJudge:
    """Judges by reading the sources of both: in seconds, and without an answer where they do not tell.

    Args:
        package: what is searched.
        other: the version that each is paired with.
        reader: reads the sources.
    """

    def __init__(self, package: Package, other: str, reader: Reads) -> None:
        self._package = package
        self._other = other
        self._reader = reader

    def judge(self, version: str) -> Judged:
        """Judge a version: bad where something breaks, good where nothing does."""
        ray, vllm = (version, self._other) if self._package == "ray" else (self._other, version)
        try:
            reading = self._reader.read(ray, vllm)
        except ValueError as error:
            return Judged(SKIP, str(error))
        judgement: Judgement = "bad" if reading.said == "breaks" else "skip" if reading.said in UNTOLD else "good"
        why = f"{reading.said}{f': {reading.why}' if reading.why else ''}"
        if judgement != "bad":
            return Judged(judgement, why)
        return Judged(judgement, why, ", ".join(reading.gaps) or reading.exception, reading.gaps)


def judged(cell: Cell, report: Report | None, path: Path) -> Judged:
    """Judge a cell: bad where a test fails, good where one passes and none fails."""
    if cell.state != "measured" or report is None:
        return Judged(SKIP, f"{cell.state}: {' '.join(cell.reason.split())}")
    verdicts = {record.verdict for record in report.results}
    gaps = tuple(sorted({record.gap for record in report.results if record.verdict in BAD and record.gap}))
    if verdicts & BAD:
        failed = [record for record in report.results if record.verdict in BAD]
        cause = ", ".join(gaps) or next((one.exception.type for one in failed if one.exception is not None), "")
        return Judged("bad", why(report.results, lambda record: record.verdict in BAD), cause, gaps, path)
    if verdicts & GOOD and "infra" not in verdicts:
        return Judged("good", counts(report.results), report=path)
    return Judged(SKIP, why(report.results, lambda record: bool(record.reason)) or "no test", report=path)


def why(records: Sequence[TestRecord], chosen: Callable[[TestRecord], bool]) -> str:
    """Say the first reason of what is ``chosen``, after the counts."""
    reasons = [first_line(record) for record in records if chosen(record)]
    return f"{counts(records)}{f': {reasons[0]}' if reasons else ''}"


def first_line(record: TestRecord) -> str:
    """Say in one line why a test did not pass: the exception where there is one."""
    if record.exception is not None:
        message = (record.exception.message.splitlines() or [""])[0]
        return f"{record.exception.type}: {message}"
    return (record.reason.splitlines() or [""])[0]
