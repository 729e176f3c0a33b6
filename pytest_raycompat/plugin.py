"""The plugin: hooks and wiring only. Loaded for every pytest run, so nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Collection, Generator
from typing import TYPE_CHECKING, Any

import pytest

from pytest_raycompat import hookspecs, markers, options
from pytest_raycompat.fixtures import free_port as free_port
from pytest_raycompat.fixtures import make_ray_cluster as make_ray_cluster
from pytest_raycompat.fixtures import ray_cluster as ray_cluster
from pytest_raycompat.fixtures import run_flow as run_flow
from pytest_raycompat.fixtures import tiny_model as tiny_model
from pytest_raycompat.state import COLLECTOR, SESSION, session_of

if TYPE_CHECKING:
    from pytest_raycompat.report.collector import Collector

CLUSTER_FIXTURES = frozenset({"ray_cluster", "make_ray_cluster", "run_flow"})
REQUIREMENTS: pytest.StashKey[list[markers.Requirement]] = pytest.StashKey()
GAP_IDS: pytest.StashKey[Collection[str]] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    options.add_options(parser)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Declare the plugin's own hooks."""
    pluginmanager.add_hookspecs(hookspecs)


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers; read the options where one was given, so that a bad one ends the run at once."""
    for signature in markers.SIGNATURES:
        config.addinivalue_line("markers", signature)
    config.pluginmanager.register(Recorder(config), "raycompat-recorder")
    if options.any_given(config):
        session = session_of(config)
        if session.settings.active and not config.option.collectonly:
            from pytest_raycompat.wiring import check_cluster

            check_cluster(config, session)


class Recorder:
    """Takes verdicts in as pytest's reports arrive, from this process or from xdist's workers."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Take in one report, if it has a verdict."""
        data = getattr(report, "raycompat", None)
        if data is not None and not is_worker(self._config):
            collector_of(self._config).add(data)


def is_worker(config: pytest.Config) -> bool:
    """Whether this process is a worker of pytest-xdist, whose controller does the reporting."""
    return hasattr(config, "workerinput")


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say what was found, where a cluster was asked for."""
    session = config.stash.get(SESSION, None)
    if session is None or not session.settings.active or config.option.collectonly:
        return None
    return f"raycompat: {session.headline()}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Check the arguments of our markers, all of them before any test runs."""
    wrong = []
    for item in items:
        needs: list[markers.Requirement] = []
        gaps: list[str] = []
        for mark in item.iter_markers():
            try:
                requirement = markers.requirement_from(mark)
                if requirement is not None:
                    needs.append(requirement)
                elif mark.name == "known_gap":
                    gaps.append(check_gap(config, markers.gap_id_from(mark)))
            except markers.MarkError as error:
                path, line, _ = item.location
                wrong.append(f"{path}:{(line or 0) + 1}: {error}")
        if needs:
            item.stash[REQUIREMENTS] = needs[::-1]  # as they are written, from top to bottom
        if gaps:
            item.stash[GAP_IDS] = gaps
    if wrong:
        raise pytest.UsageError("\n".join(dict.fromkeys(wrong)))


def check_gap(config: pytest.Config, identifier: str) -> str:
    """Return ``identifier`` if there is such a gap; a :class:`~pytest_raycompat.markers.MarkError` if not."""
    known = [gap.id for gap in session_of(config).gaps]
    if identifier not in known:
        listed = ", ".join(sorted(known))
        raise markers.MarkError(f"@pytest.mark.known_gap({identifier!r}): there is no such gap; there are {listed}")
    return identifier


def pytest_collection_finish(session: pytest.Session) -> None:
    """Note which tests are to have a verdict."""
    if session.config.option.collectonly:
        return
    ours = [item.nodeid for item in session.items if is_ours(item)]
    if ours and not is_worker(session.config):
        collector_of(session.config).expect(ours)


def is_ours(item: pytest.Item) -> bool:
    """Whether a test is one that gets a verdict."""
    names = getattr(item, "fixturenames", ())
    return REQUIREMENTS in item.stash or GAP_IDS in item.stash or not CLUSTER_FIXTURES.isdisjoint(names)


def collector_of(config: pytest.Config) -> Collector:
    """Return the run's collector of verdicts, made on first use."""
    if COLLECTOR not in config.stash:
        from pytest_raycompat.report.collector import Collector

        config.stash[COLLECTOR] = Collector(session_of(config), config.rootpath)
    return config.stash[COLLECTOR]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose needs are not met, with one reason that names them all."""
    needs = item.stash.get(REQUIREMENTS, None)
    if needs is None:
        return
    from pytest_raycompat.wiring import skip_unless_met

    skip_unless_met(item, needs)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn what happened into a verdict."""
    report = yield
    if is_ours(item):
        from pytest_raycompat.wiring import judge_test

        judge_test(item, call, report, item.stash.get(GAP_IDS, []))
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the reports."""
    if COLLECTOR in session.config.stash:
        session.config.stash[COLLECTOR].write(finished=True)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the verdict table, and what is behind every verdict that is not ``passed``."""
    if COLLECTOR in config.stash:
        from pytest_raycompat.wiring import print_summary

        print_summary(terminalreporter, config.stash[COLLECTOR], session_of(config))


def pytest_unconfigure(config: pytest.Config) -> None:
    """End everything that this run started."""
    session = config.stash.get(SESSION, None)
    if session is not None:
        session.close()
