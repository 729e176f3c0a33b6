"""What the hooks do before tests run: checking options, environment and markers, and skipping."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from pytest_raycompat import distribution
from pytest_raycompat.cluster.protocol import ClusterError
from pytest_raycompat.environment import EnvironmentProblem
from pytest_raycompat.fixtures import leave_out
from pytest_raycompat.lease import LeaseError
from pytest_raycompat.markers import MarkError, Requirement, gap_id_from, requirement_from, unmet_needs
from pytest_raycompat.report.document import ReportError
from pytest_raycompat.session import Session
from pytest_raycompat.state import FLOWS, FORGIVEN, GAP_IDS, LEFT_OUT, REQUIREMENTS, VERDICT, is_worker, session_of
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
    except (ClusterError, LeaseError) as error:
        raise pytest.UsageError(f"{option}: {error}") from None
    except OSError as error:
        kept = "logs, and what is kept between runs, go there: choose another root folder with --rootdir"
        raise pytest.UsageError(f"{option}: {error.filename}: {error.strerror}; {kept}") from None


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
        distribution.tell(config, distribution.WRONG, list(wrong))
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


def parameters_of(item: pytest.Item) -> dict[str, Any]:
    """Return what a test is parametrised with."""
    return dict(getattr(getattr(item, "callspec", None), "params", {}))


def forget_attempt(item: pytest.Item) -> None:
    """Forget what an attempt at a test did, before the next one."""
    keys: tuple[pytest.StashKey[Any], ...] = (FLOWS, VERDICT, FORGIVEN, LEFT_OUT)
    for key in keys:
        if key in item.stash:
            del item.stash[key]
