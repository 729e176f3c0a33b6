"""What the hooks do once there is something of ours to do: checking, skipping, judging, and the summary."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import msgspec
import pytest

from pytest_raycompat import distribution, options
from pytest_raycompat.cluster.protocol import ClusterError, ObserverError
from pytest_raycompat.environment import EnvironmentProblem
from pytest_raycompat.fixtures import FlowFailed
from pytest_raycompat.judgement import Judgement, describe_failure, judge_flow, judge_marked
from pytest_raycompat.markers import MarkError, Requirement, gap_id_from, requirement_from, unmet_needs
from pytest_raycompat.records import RED
from pytest_raycompat.report.collector import record_of
from pytest_raycompat.report.document import ReportError, TestRecord
from pytest_raycompat.report.paths import shown
from pytest_raycompat.session import Session
from pytest_raycompat.state import FLOWS, FORGIVEN, GAP_IDS, REQUIREMENTS, VERDICT, is_worker, session_of
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


def check_baseline(session: Session) -> None:
    """Read the baseline, if there is one, before anything runs.

    Raises:
        pytest.UsageError: it cannot be compared with; names the option and says why.
    """
    try:
        _ = session.baseline
    except ReportError as error:
        raise pytest.UsageError(f"--raycompat-baseline: {error}") from None


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
    reason = unmet_needs(needs, session_of(item.config).facts())
    if reason is not None:
        raise pytest.skip.Exception(reason, _use_item_location=True)


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
        reproduce=options.command_of(item.config, item.nodeid),
    )
    report.raycompat = msgspec.to_builtins(record)  # type: ignore[attr-defined]  # pytest passes attributes on
    apply_verdict(report, judgement, record)
    apply_baseline(item, report, judgement)
    tell_junit(item, report, judgement)


def apply_baseline(item: pytest.Item, report: pytest.TestReport, judgement: Judgement) -> None:
    """Fail a test that got worse, and no other: what was as bad in the baseline is an expected failure."""
    baseline = session_of(item.config).baseline
    if baseline is None:
        return
    compared = baseline.compare(item.nodeid, judgement.verdict)
    if judgement.verdict in RED and not compared.worse:
        forgive(report, f"{compared.change}, {judgement.verdict}: it was {compared.old} in {shown(baseline.path)}")
        item.stash[FORGIVEN] = True
    elif compared.worse:
        was = f"it was {compared.old} in {shown(baseline.path)}" if compared.old else "it is not in the baseline"
        said = f"{compared.change}: {was}, and is {judgement.verdict} now"
        if judgement.verdict not in RED:
            report.outcome, report.longrepr = "failed", f"{said}: {judgement.reason}"
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


def forget_attempt(item: pytest.Item) -> None:
    """Forget what an attempt at a test did, before the next one."""
    keys: tuple[pytest.StashKey[Any], ...] = (FLOWS, VERDICT, FORGIVEN)
    for key in keys:
        if key in item.stash:
            del item.stash[key]


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
    if report.skipped:
        return Judgement("unsupported", skip_reason(report))
    if report.when != "call" and not isinstance(error, FlowFailed):
        return Judgement("infra", f"{report.when}: {one_line(error)}") if error is not None else None
    session = session_of(item.config)
    flows = item.stash.get(FLOWS, [])
    if isinstance(error, FlowFailed):
        if error.is_control:
            return Judgement("control-failed", f"its control failed: {describe_failure(error.result.failure)}")
        return judge_flow(error.result, session.gaps, session.environment, marked)
    if isinstance(error, ClusterError | ObserverError):
        return Judgement("infra", str(error))
    if error is None and report.failed:  # a strict xfail that passed
        return Judgement("failed", str(report.longrepr))
    if error is None:
        for flow in flows:
            judgement = judge_flow(flow, session.gaps, session.environment, marked)
            if judgement.verdict != "passed":
                return judgement
    elif flows:
        return Judgement("failed", one_line(error))
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    return judge_marked(error, marked, session.gaps, session.environment, session.device, parameters)


def skip_reason(report: pytest.TestReport) -> str:
    """Return why a test was skipped."""
    if isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: ")
    return str(report.longrepr)


def one_line(error: BaseException | None) -> str:
    """Name an error and the first line of its message."""
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no message'}"
