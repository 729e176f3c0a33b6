"""What a run leaves for a reader at its end: the terminal's summary, and what GitHub Actions shows."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterable
from typing import Any

import pytest

from pytest_raycompat.compare.baseline import Baseline
from pytest_raycompat.compare.comparison import Entry, compare_measurements, compare_results, count, describe_counts
from pytest_raycompat.durations import keep_durations, kept_in
from pytest_raycompat.environment import describe_versions
from pytest_raycompat.records import RED
from pytest_raycompat.report import gaps, github, terminal
from pytest_raycompat.report.collector import Collector
from pytest_raycompat.report.document import Report, TestRecord
from pytest_raycompat.report.measured import measured_lines
from pytest_raycompat.report.paths import shown
from pytest_raycompat.session import Session

MOST_MEASUREMENTS = 10
"""Lines on timings and measurements since the baseline; ``raycompat diff`` has them all."""


def print_summary(reporter: Any, collector: Collector, session: Session) -> None:
    """Print the verdict table, what is behind each verdict that is not ``passed``, and where the report is."""
    records = collector.records
    if not records:
        return
    environment = session.environment
    reporter.section(f"{describe_versions(environment)}, {session.device}", bold=True)
    width = int(reporter.config.get_terminal_writer().fullwidth)

    def write(line: str, markup: str = "") -> None:
        reporter.write_line(line, **({markup: True} if markup else {}))

    for line, markup in terminal.table(records, width):
        write(line, markup)
    lines = terminal.details(records, lambda log: shown(collector.root / log), width if reporter.isatty else None)
    if lines:
        write("")
    for line, markup in lines:
        write(line, markup)
    write("")
    for line, markup in gaps.lines_of(gaps.met_gaps(session.gaps, records)):
        write(line, markup)
    for line in measured_lines(records):
        write(line)
    for note in gaps.overdue(session.gaps, datetime.date.today()):
        write(f"note: {note}", "yellow")
    for note in session.clusters.notes if session.settings.active else ():
        write(f"note: {note}", "yellow")
    for line, markup in baseline_lines(collector, session):
        write(line, markup)
    write(f"verdicts: {terminal.counts(records)}")
    for path in session.settings.reports:
        write(f"report: {shown(path)}")
    if github.in_actions():
        for line in github.commands(annotations_of(records, session.baseline), collector.root):
            write(line)


def baseline_lines(collector: Collector, session: Session) -> list[tuple[str, str]]:
    """Say what became of the tests since the baseline, if there is one."""
    baseline = session.baseline
    if baseline is None:
        return []
    report = collector.report(finished=True)
    entries = compare_results(baseline.report.results, report.results)
    described = report.baseline
    assert described is not None
    lines = [(f"  {describe(entry)}", "red" if entry.worse else "green") for entry in entries if worth_saying(entry)]
    lines += [(f"  differs in {one}", "yellow") for one in described.differences]
    for change in (compare_measurements(baseline.report, report) or ())[:MOST_MEASUREMENTS]:
        lines.append((f"  {change.how}: {change}", "yellow" if change.for_the_worse else "green"))
    head = f"baseline: {shown(baseline.path)} of {described.created}: {describe_counts(count(entries))}"
    return [(head, "red" if any(entry.worse for entry in entries) else "green"), *lines]


def worth_saying(entry: Entry) -> bool:
    """Whether an entry is named by itself, and not counted alone."""
    return entry.worse or entry.change == "fixed"


def describe(entry: Entry) -> str:
    """Write what became of a test: ``regressed: a.py::test_a: passed → failed``."""
    flaky = " (flaky)" if entry.flaky else ""
    return f"{entry.change}: {entry.id}: {entry.old or 'not there'} → {entry.new or 'not there'}{flaky}"


def annotations_of(records: Iterable[TestRecord], baseline: Baseline | None) -> list[github.Annotation]:
    """List what is to be seen at a test: what is red, or with a baseline what got worse."""
    found = []
    for record in sorted(records, key=lambda one: terminal.ORDER.index(one.verdict)):
        title = record.verdict if baseline is None else f"{record.change}: {record.verdict}"
        red = record.verdict in RED if baseline is None else baseline.compare(record).worse
        if red:
            found.append(github.Annotation(title, record.id, record.reason, record.reproduce, record.file, record.line))
    return found


def publish(collector: Collector, session: Session, config: pytest.Config, exitstatus: int) -> int:
    """Write the reports, and the summary of a job in GitHub Actions; return the run's exit status.

    What got worse without a failure of its own, as a test that was not reached, fails the run.
    """
    collector.write(finished=exitstatus != pytest.ExitCode.INTERRUPTED, last=True)
    report = collector.report(finished=exitstatus != pytest.ExitCode.INTERRUPTED)
    if session.settings.folder.is_dir():  # what runs flows has made it; a run without any has nothing to keep
        keep_durations(kept_in(session.settings.folder, session.device), report.results)
    if os.environ.get("GITHUB_STEP_SUMMARY") and report.results:
        _publish_summary(report, config)
    baseline = session.baseline
    if exitstatus == pytest.ExitCode.OK and baseline is not None and baseline.is_worse(report.results):
        return pytest.ExitCode.TESTS_FAILED
    return exitstatus


def _publish_summary(report: Report, config: pytest.Config) -> None:
    from pytest_raycompat.report import markdown

    try:
        github.append_summary(markdown.render((report,)))
    except OSError as error:
        config.issue_config_time_warning(
            pytest.PytestWarning(f"raycompat: the summary of the job cannot be written: {error}"), stacklevel=2
        )
