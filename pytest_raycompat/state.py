"""Where the plugin keeps its state: typed keys of pytest's stash, and the one way to each."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import pytest

from pytest_raycompat.options import read_options

if TYPE_CHECKING:
    from pytest_raycompat.judgement import Judgement
    from pytest_raycompat.markers import Requirement
    from pytest_raycompat.records import FlowResult, Verdict
    from pytest_raycompat.report.collector import Collector
    from pytest_raycompat.session import Session

SESSION: pytest.StashKey[Session] = pytest.StashKey()
COLLECTOR: pytest.StashKey[Collector] = pytest.StashKey()
FLOWS: pytest.StashKey[list[FlowResult]] = pytest.StashKey()
"""The flows that one test ran, in order."""
FORGIVEN: pytest.StashKey[bool] = pytest.StashKey()
"""Whether a test is red, and was in the baseline too."""
VERDICT: pytest.StashKey[Verdict] = pytest.StashKey()
"""The verdict on a test so far."""
REQUIREMENTS: pytest.StashKey[list[Requirement]] = pytest.StashKey()
"""What a test needs, as its markers say, in the order in which they are written."""
GAP_IDS: pytest.StashKey[Collection[str]] = pytest.StashKey()
"""The gaps that a test is marked with."""

LEFT_OUT: pytest.StashKey[Judgement] = pytest.StashKey()
"""The verdict on a test that is not run because of the gaps that apply to it, or because none does."""


def is_worker(config: pytest.Config) -> bool:
    """Whether this process is a worker of pytest-xdist, whose controller does the reporting."""
    return hasattr(config, "workerinput")


def is_rerun(item: pytest.Item) -> bool:
    """Whether this is another attempt at a test, as with pytest-rerunfailures, which counts them on the item."""
    return bool(getattr(item, "execution_count", 1) > 1)


def session_of(config: pytest.Config) -> Session:
    """Return the run's session, made on first use: a run that needs nothing of ours pays nothing.

    Raises:
        pytest.UsageError: an option or a gap file is not right.
    """
    session = config.stash.get(SESSION, None)
    if session is None:
        session = config.stash[SESSION] = _new_session(config)
    return session


def _new_session(config: pytest.Config) -> Session:
    from pytest_raycompat.distribution import shared_folder
    from pytest_raycompat.gaps import GapFileError, known_gaps
    from pytest_raycompat.report.progress import Progress
    from pytest_raycompat.report.workers import WorkerProgress
    from pytest_raycompat.session import Session

    settings = read_options(config)
    try:
        gaps = known_gaps(settings.gaps, config.rootpath)
    except GapFileError as error:
        raise pytest.UsageError(f"--raycompat-gaps: {error}") from None
    return Session(
        settings,
        gaps,
        WorkerProgress(config) if is_worker(config) else Progress(config),
        lambda result: config.hook.pytest_raycompat_flow_finished(config=config, result=result),
        shared_folder(config) if is_worker(config) else None,
    )
