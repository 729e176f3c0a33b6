"""Reports of several environments, shards or repeated runs, put together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from pytest_raycompat.compare.change import NOT_RUN
from pytest_raycompat.compare.environments import identity, label
from pytest_raycompat.compare.measuring import pool
from pytest_raycompat.records import Measurement
from pytest_raycompat.report.document import Report, ReportError, ReportSet, TestRecord, read_reports
from pytest_raycompat.report.gaps import merged_gaps


class MergeError(ReportError):
    """Reports contradict each other; says where."""


@dataclass(frozen=True)
class Source:
    """A report and the file that it is from."""

    path: Path
    report: Report


def merge(sources: Sequence[Source]) -> Report | ReportSet:
    """Put reports together: one for each environment.

    A test that several have is one result: a verdict wins over ``untested`` and ``unsupported``, and the same verdict
    twice is a repeated run, whose timings are kept as samples. So is a known gap that showed in one run only, where it
    is intermittent.

    Raises:
        MergeError: two have other verdicts on the same test in the same environment; names all of them.
    """
    groups: dict[tuple[str, ...], list[Source]] = {}
    for source in sources:
        groups.setdefault(identity(source.report), []).append(source)
    problems: list[str] = []
    merged = [_merge_environment(group, problems) for group in groups.values()]
    if problems:
        raise MergeError("reports contradict each other:\n" + "\n".join(problems))
    return merged[0] if len(merged) == 1 else ReportSet(reports=tuple(merged))


def read_sources(paths: Iterable[Path]) -> list[Source]:
    """Read the reports of files, and of folders with files below them.

    Raises:
        ReportError: a file is not a report, or a folder has none.
    """
    sources = []
    for path in paths:
        files = sorted(path.rglob("*.json")) if path.is_dir() else [path]
        if not files:
            raise ReportError(f"{path}: the folder has no .json file")
        sources += [Source(file, report) for file in files for report in read_reports(file)]
    return sources


def read_side(path: Path) -> tuple[Report, ...]:
    """Read one side of a comparison: a file, or a folder whose reports are merged, such as those of repeated runs.

    Raises:
        ReportError: a file is not a report, or a folder has none.
        MergeError: reports of a folder contradict each other.
    """
    return reports_of(merge(read_sources([path]))) if path.is_dir() else read_reports(path)


def reports_of(document: Report | ReportSet) -> tuple[Report, ...]:
    """Return the reports of a document."""
    return document.reports if isinstance(document, ReportSet) else (document,)


def _merge_environment(sources: Sequence[Source], problems: list[str]) -> Report:
    if len(sources) == 1:
        return sources[0].report
    results: dict[str, tuple[Source, TestRecord]] = {}
    for source in sources:
        for record in source.report.results:
            held = results.get(record.id)
            if held is None:
                results[record.id] = (source, record)
                continue
            problem = _contradiction(held, (source, record))
            if problem is not None:
                problems.append(problem)
            else:
                results[record.id] = (source, _merge_records(held[1], record))
    reports = [source.report for source in sources]
    machines = [report.machine for report in reports if report.machine is not None]
    models = sorted({machine.cpu for machine in machines})
    revisions = {report.git_revision for report in reports}
    return msgspec.structs.replace(
        reports[0],
        created=min(report.created for report in reports),
        finished=all(report.finished for report in reports),
        machine=msgspec.structs.replace(machines[0], cpu=" and ".join(models)) if machines else None,
        git_revision=revisions.pop() if len(revisions) == 1 else None,
        baseline=None,
        gaps=merged_gaps(report.gaps for report in reports),
        results=tuple(msgspec.structs.replace(record, change=None) for _, record in results.values()),
    )


def _contradiction(held: tuple[Source, TestRecord], other: tuple[Source, TestRecord]) -> str | None:
    first, second = held[1].verdict, other[1].verdict
    if first == second or first in NOT_RUN or second in NOT_RUN or _is_intermittent(held[1], other[1]):
        return None
    return (
        f"  {other[1].id} ({label(other[0].report)}): {first} in {held[0].path}, {second} in {other[0].path}; "
        "leave one of them out, or rerun the test in one run, which keeps every attempt"
    )


def _is_intermittent(held: TestRecord, other: TestRecord) -> bool:
    """Whether the gap that both name showed in one of the runs only, as an intermittent one may."""
    return held.gap is not None and held.gap == other.gap and {held.verdict, other.verdict} == {"passed", "known-gap"}


def _merge_records(held: TestRecord, other: TestRecord) -> TestRecord:
    if held.verdict == "untested" or (held.verdict == "unsupported" and other.verdict not in NOT_RUN):
        return other
    if other.verdict in NOT_RUN:
        return held
    if other.verdict != held.verdict and other.verdict == "known-gap":
        held, other = other, held  # a gap that showed is what there is to see
    return msgspec.structs.replace(
        held,
        attempts=(*held.attempts, *other.attempts),
        flaky=held.flaky or other.flaky,
        measurements=_pool(held.measurements, other.measurements),
        samples=_together(held.samples or (held.timings,), other.samples or (other.timings,)),
    )


def _pool(held: dict[str, Measurement], other: dict[str, Measurement]) -> dict[str, Measurement]:
    return {**held, **{name: pool(held.get(name), measured) for name, measured in other.items()}}


def _together(*sides: Iterable[dict[str, float]]) -> tuple[dict[str, float], ...]:
    """List the samples of all sides, each run once: tests that share a run have the same."""
    found: list[dict[str, float]] = []
    for measured in (one for side in sides for one in side):
        if measured and measured not in found:
            found.append(measured)
    return tuple(found)
