"""The verdict on a test: found from what pytest saw of it, and told to pytest, its reports and its JUnit XML."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import pytest

from pytest_raycompat import options
from pytest_raycompat.cluster.protocol import ClusterError, ObserverError
from pytest_raycompat.fixtures import FlowFailed
from pytest_raycompat.judgement import Judgement, describe_failure, one_line
from pytest_raycompat.lease import LeaseError
from pytest_raycompat.records import RED
from pytest_raycompat.report.collector import record_of, to_travel
from pytest_raycompat.report.document import TestRecord
from pytest_raycompat.report.paths import shown
from pytest_raycompat.state import FLOWS, FORGIVEN, LEFT_OUT, VERDICT, session_of
from pytest_raycompat.wiring import parameters_of


def judge_test(
    item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport, marked: Collection[str]
) -> None:
    """Give ``report`` its verdict: pytest's outcome follows from it, and the record travels with it."""
    judgement = judgement_on(item, call, report, marked)
    if judgement is None:
        return
    judgement = item.config.hook.pytest_raycompat_verdict(item=item, judgement=judgement) or judgement
    if report.when == "teardown" and item.stash.get(VERDICT, "passed") in RED:
        if FORGIVEN in item.stash:
            forgive(report, "what went wrong before it was so in the baseline too")
        return  # what went wrong before says more
    item.stash[VERDICT] = judgement.verdict
    flows = item.stash.get(FLOWS, [])
    file, line, _ = item.location
    record = record_of(
        item.nodeid,
        judgement,
        call.duration,
        flows,
        file=file,
        line=(line or 0) + 1,
        reproduce=options.command_of(item.config, identifier_of(item)),
    )
    report.raycompat = to_travel(record, item.config.rootpath)  # type: ignore[attr-defined]  # pytest passes it on
    apply_verdict(report, judgement, record)
    apply_baseline(item, report, record)
    tell_junit(item, report, judgement)


def identifier_of(item: pytest.Item) -> str:
    """Write what pytest finds a test by in its root folder: with ``--pyargs`` a node id does not begin with a path."""
    file, separator, rest = item.nodeid.partition("::")
    root = item.config.rootpath
    if (root / file).exists():
        return item.nodeid
    path = item.path.relative_to(root) if item.path.is_relative_to(root) else item.path
    return f"{path}{separator}{rest}"


def apply_baseline(item: pytest.Item, report: pytest.TestReport, record: TestRecord) -> None:
    """Fail a test that got worse, and no other: what was as bad in the baseline is an expected failure."""
    baseline = session_of(item.config).baseline
    if baseline is None:
        return
    compared = baseline.compare(record)
    if record.verdict in RED and not compared.worse:
        forgive(report, f"{compared.change}, {record.verdict}: it was {compared.old} in {shown(baseline.path)}")
        item.stash[FORGIVEN] = True
    elif compared.worse:
        was = f"it was {compared.old} in {shown(baseline.path)}" if compared.old else "it is not in the baseline"
        said = f"{compared.change}: {was}, and is {record.verdict} now"
        if record.verdict not in RED:
            report.outcome, report.longrepr = "failed", f"{said}: {record.reason}"
            vars(report).pop("wasxfail", None)
        elif isinstance(report.longrepr, str):
            report.longrepr = f"{said}\n{report.longrepr}"
        else:
            report.sections.append(("raycompat", said))


def forgive(report: pytest.TestReport, why: str) -> None:
    """Make a failure an expected one."""
    report.outcome = "skipped"
    report.wasxfail = why


def tell_junit(item: pytest.Item, report: pytest.TestReport, judgement: Judgement) -> None:
    """Give pytest's JUnit XML the verdict as properties of the test; it writes those of the tear-down's report."""
    environment = session_of(item.config).environment
    given = {
        "raycompat.verdict": judgement.verdict,
        "raycompat.gap": judgement.gap,
        "raycompat.ray": environment.ray,
        "raycompat.vllm": environment.vllm,
        "raycompat.torch": environment.torch,
        "raycompat.python": environment.python,
    }
    others = [(name, value) for name, value in item.user_properties if name not in given]
    item.user_properties[:] = [*others, *((name, value) for name, value in given.items() if value is not None)]
    report.user_properties[:] = item.user_properties


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
        return session_of(item.config).judge.finding(error, flows, marked)
    judgement = session_of(item.config).judge.marked(error, marked, parameters_of(item))
    return replace(judgement, gap=intermittent) if judgement == Judgement("passed") else judgement


def skip_reason(report: pytest.TestReport) -> str:
    """Return why a test was skipped."""
    if isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: ")
    return str(report.longrepr)
