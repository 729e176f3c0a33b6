"""What the hooks do once there is something of ours to do: checking, skipping, judging, and the summary."""

from __future__ import annotations

import datetime
import os
from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pytest_raycompat import distribution
from pytest_raycompat.cluster.protocol import ClusterError, ObserverError
from pytest_raycompat.environment import EnvironmentProblem, describe_versions
from pytest_raycompat.fixtures import FlowFailed, leave_out
from pytest_raycompat.judgement import Judgement, describe_failure
from pytest_raycompat.lease import LeaseError
from pytest_raycompat.markers import MarkError, Requirement, gap_id_from, requirement_from, unmet_needs
from pytest_raycompat.records import RED
from pytest_raycompat.report import terminal
from pytest_raycompat.report.collector import Collector, record_of
from pytest_raycompat.report.document import TestRecord
from pytest_raycompat.report.gaps import lines_of as gap_lines
from pytest_raycompat.report.gaps import met_gaps, overdue
from pytest_raycompat.session import Session
from pytest_raycompat.state import FLOWS, GAP_IDS, LEFT_OUT, REQUIREMENTS, VERDICT, is_worker, session_of
from pytest_raycompat.versions import is_version


def check_environment(session: Session) -> None:
    """Look at the environment under test, where one is asked for, before anything runs.

    Raises:
        pytest.UsageError: it cannot be used; names the option and says why.
    """
    if session.settings.python_given or session.settings.active:
        check_versions(session)


def check_versions(session: Session) -> None:
    """Make sure that the environment under test can be examined, and its versions compared with specifiers.

    Raises:
        pytest.UsageError: they cannot.
    """
    try:
        environment = session.environment
    except EnvironmentProblem as error:
        raise pytest.UsageError(f"--raycompat-python: {error}") from None
    for name, version in (("Ray", environment.ray), ("vLLM", environment.vllm), ("torch", environment.torch)):
        if version is not None and not is_version(version):
            raise pytest.UsageError(
                f"--raycompat-python: {name}'s version {version!r} for {session.settings.python} is not a PEP 440 "
                "version, so nothing can be compared with it; build it as one, such as 2.35.0+corp.3"
            )


def check_cluster(config: pytest.Config, session: Session) -> None:
    """Decide before anything runs whether the cluster that was asked for can be had.

    Raises:
        pytest.UsageError: it cannot; names the option and says why.
    """
    option = f"--ray-cluster={config.getoption('ray_cluster') or config.getini('ray_cluster')}"
    if session.settings.device == "cuda" and session.settings.cluster.kind != "address" and not session.visible_gpus:
        raise pytest.UsageError("--raycompat-device=cuda: no NVIDIA GPU is visible here; write cpu or auto")
    try:
        provider = session.clusters
        if provider.spec.kind == "address":
            provider.get()
        session.show_token()
    except ClusterError as error:
        raise pytest.UsageError(f"{option}: {error}") from None


def read_markers(config: pytest.Config, marked: Iterable[tuple[pytest.Item, list[pytest.Mark]]]) -> bool:
    """Note what each test needs and is marked with.

    Returns:
        False in a worker of pytest-xdist, where markers have arguments that are not right: its controller raises.

    Raises:
        pytest.UsageError: markers have arguments that are not right; names each with file and line.
    """
    check_versions(session_of(config))
    wrong: dict[str, None] = {}
    for item, marks in marked:
        needs: list[Requirement] = []
        gaps: list[str] = []
        for mark in reversed(marks):  # as they are written, from top to bottom
            try:
                requirement = requirement_from(mark)
                if requirement is not None:
                    needs.append(requirement)
                else:
                    gaps.append(known_gap_of(config, mark))
            except MarkError as error:
                path, line, _ = item.location
                wrong[f"{path}:{(line or 0) + 1}: {error}"] = None
        if needs:
            item.stash[REQUIREMENTS] = needs
        if gaps:
            item.stash[GAP_IDS] = gaps
    if not wrong:
        return True
    if is_worker(config):
        distribution.tell(config, distribution.WRONG, wrong)
        return False
    raise pytest.UsageError("\n".join(wrong))


def known_gap_of(config: pytest.Config, mark: pytest.Mark) -> str:
    """Return the id that a ``known_gap`` marker names.

    Raises:
        MarkError: there is no such gap.
    """
    identifier = gap_id_from(mark)
    known = sorted(gap.id for gap in session_of(config).gaps)
    if identifier not in known:
        raise MarkError(f"@pytest.mark.known_gap({identifier!r}): there is no such gap; there are {', '.join(known)}")
    return identifier


def skip_unless_met(item: pytest.Item, needs: list[Requirement]) -> None:
    """Skip ``item`` where a need of it is not met."""
    reason = unmet_needs(needs, session_of(item.config).facts()) if needs else None
    if reason is not None:
        raise pytest.skip.Exception(reason, _use_item_location=True)


def skip_by_gaps(item: pytest.Item) -> None:
    """Skip ``item`` where ``--raycompat-gaps-mode`` leaves it out, as far as its markers tell."""
    session = session_of(item.config)
    if session.settings.gaps_mode == "run":
        return
    runs_flows = "run_flow" in getattr(item, "fixturenames", ())
    marked = item.stash.get(GAP_IDS, ())
    leave_out(item.stash, session.judge.choose_marked(marked, parameters_of(item), runs_flows=runs_flows))


def judge_test(
    item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport, marked: Collection[str]
) -> None:
    """Give ``report`` its verdict: pytest's outcome follows from it, and the record travels with it."""
    judgement = judgement_on(item, call, report, marked)
    if judgement is None:
        return
    judgement = item.config.hook.pytest_raycompat_verdict(item=item, judgement=judgement) or judgement
    if report.when == "teardown" and item.stash.get(VERDICT, "passed") in RED:
        return  # what went wrong before says more
    item.stash[VERDICT] = judgement.verdict
    flows = item.stash.get(FLOWS, [])
    record = record_of(item.nodeid, judgement, call.duration, flows)
    report.raycompat = msgspec.to_builtins(record)  # type: ignore[attr-defined]  # pytest passes attributes on
    apply_verdict(report, judgement, record)


def apply_verdict(report: pytest.TestReport, judgement: Judgement, record: TestRecord) -> None:
    """Make pytest's outcome follow from the verdict."""
    was_failed = report.failed
    if judgement.verdict == "passed":
        report.outcome, report.longrepr = "passed", None
    elif judgement.verdict == "known-gap":
        report.outcome = "skipped"
        report.wasxfail = f"known gap {judgement.reason.splitlines()[0]}"
    elif judgement.verdict in ("unsupported", "untested"):
        if was_failed:  # a hook has replaced the verdict
            path, line, _ = report.location
            report.outcome, report.longrepr = "skipped", (path, (line or 0) + 1, f"Skipped: {judgement.reason}")
    elif judgement.verdict in RED:
        report.outcome = "failed"
        # where no flow failed, pytest's own account of the test is the better one
        if not was_failed or record.outcome not in (None, "ok"):
            report.longrepr = "\n".join(
                [
                    f"{judgement.verdict}: {judgement.reason}",
                    *(f"log: {shown(log)}" for log in record.logs),
                    *([f"reproduce: {record.reproduce}"] if record.reproduce else []),
                ]
            )


def judgement_on(
    item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport, marked: Collection[str]
) -> Judgement | None:
    """Judge one phase of a test; None where it says nothing of its own."""
    error = call.excinfo.value if call.excinfo is not None else None
    if hasattr(report, "wasxfail"):
        return Judgement("untested", "it is marked xfail; mark it known_gap(id) for a verdict")
    if report.skipped and LEFT_OUT in item.stash:
        return item.stash[LEFT_OUT]
    if report.skipped:
        return Judgement("unsupported", skip_reason(report))
    if report.when != "call" and not isinstance(error, FlowFailed):
        return Judgement("infra", f"{report.when}: {one_line(error)}") if error is not None else None
    flows = item.stash.get(FLOWS, [])
    if isinstance(error, FlowFailed):
        if error.is_control:
            return Judgement("control-failed", f"its control failed: {describe_failure(error.result.failure)}")
        return session_of(item.config).judge.flow(error.result, marked)
    if isinstance(error, ClusterError | ObserverError | LeaseError):
        return Judgement("infra", str(error))
    if error is None and report.failed:  # a strict xfail that passed
        return Judgement("failed", str(report.longrepr))
    intermittent = None
    if error is None:
        for flow in flows:
            judgement = session_of(item.config).judge.flow(flow, marked)
            if judgement.verdict != "passed":
                return judgement
            intermittent = intermittent or judgement.gap
    elif flows:
        return Judgement("failed", one_line(error))
    judgement = session_of(item.config).judge.marked(error, marked, parameters_of(item))
    return replace(judgement, gap=intermittent) if judgement == Judgement("passed") else judgement


def parameters_of(item: pytest.Item) -> dict[str, Any]:
    """Return what a test is parametrised with."""
    return dict(getattr(getattr(item, "callspec", None), "params", {}))


def skip_reason(report: pytest.TestReport) -> str:
    """Return why a test was skipped."""
    if isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: ")
    return str(report.longrepr)


def one_line(error: BaseException | None) -> str:
    """Name an error and the first line of its message."""
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no message'}"


def print_summary(reporter: Any, collector: Collector, session: Session) -> None:
    """Print the verdict table, what is behind each verdict that is not ``passed``, and where the report is."""
    records = collector.records
    if not records:
        return
    environment = session.environment
    reporter.section(f"{describe_versions(environment)}, {session.device}", bold=True)
    width = int(reporter.config.get_terminal_writer().fullwidth)
    for line, markup in terminal.table(records, width):
        reporter.write_line(line, **({markup: True} if markup else {}))
    lines = terminal.details(records, shown)
    if lines:
        reporter.write_line("")
    for line, markup in lines:
        reporter.write_line(line, **({markup: True} if markup else {}))
    reporter.write_line("")
    for line, markup in gap_lines(met_gaps(session.gaps, records)):
        reporter.write_line(line, **({markup: True} if markup else {}))
    for note in overdue(session.gaps, datetime.date.today()):
        reporter.write_line(f"note: {note}", yellow=True)
    for note in session.clusters.notes if session.settings.active else ():
        reporter.write_line(f"note: {note}", yellow=True)
    reporter.write_line(f"verdicts: {terminal.counts(records)}")
    for path in session.settings.reports:
        reporter.write_line(f"report: {shown(path)}")


def shown(path: str | Path) -> str:
    """Write a path as a user types it: relative to where they are, if it is below."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
