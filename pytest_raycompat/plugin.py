"""The plugin: hooks and wiring only. Loaded for every pytest run, so nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

from pytest_raycompat import hookspecs, options
from pytest_raycompat.fixtures import free_port as free_port
from pytest_raycompat.fixtures import make_ray_cluster as make_ray_cluster
from pytest_raycompat.fixtures import ray_cluster as ray_cluster
from pytest_raycompat.fixtures import run_flow as run_flow
from pytest_raycompat.fixtures import tiny_model as tiny_model
from pytest_raycompat.state import COLLECTOR, GAP_IDS, REQUIREMENTS, SESSION, is_rerun, is_worker, session_of

if TYPE_CHECKING:
    from pytest_raycompat.report.collector import Collector

MARKERS = (
    "ray_version(spec): run only where the Ray under test satisfies the PEP 440 specifier, such as '>=2.44.1'",
    "vllm_version(spec): run only where the vLLM under test satisfies the PEP 440 specifier",
    "gpus(n, min_memory_gb=None, alone=False): run only where there are n GPUs, each with that many GiB of memory "
    "free; alone=True keeps other flows off them where flows share GPUs",
    "nodes(n): run only where the Ray cluster has n nodes",
    "known_gap(id): a failure that matches this recorded gap is expected; any other, and a pass, is not",
)
PERFORMANCE = "performance: measures how fast flows are; such tests of the suites run only where -m names this marker"
MARKER_NAMES = frozenset(signature.partition("(")[0] for signature in MARKERS)
CLUSTER_FIXTURES = frozenset({"ray_cluster", "make_ray_cluster", "run_flow"})


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    options.add_options(parser)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Declare the plugin's own hooks."""
    pluginmanager.add_hookspecs(hookspecs)


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers; read the options where one was given, so that a bad one ends the run at once."""
    for signature in (*MARKERS, PERFORMANCE):
        config.addinivalue_line("markers", signature)
    config.pluginmanager.register(Recorder(config), "raycompat-recorder")
    if is_distributing(config):
        from pytest_raycompat.distribution import Controller

        config.pluginmanager.register(Controller(config), "raycompat-controller")
    if options.any_given(config) and not only_tells(config):
        from pytest_raycompat.wiring import check_baseline, check_cluster, check_environment

        session = session_of(config)
        check_environment(session)
        check_baseline(session)
        if session.settings.active and runs_tests(config):
            check_cluster(config, session)


def only_tells(config: pytest.Config) -> bool:
    """Whether pytest says something of itself, and needs nothing that the options name."""
    return any(getattr(config.option, name, None) for name in ("help", "markers", "showfixtures", "cacheshow"))


def runs_tests(config: pytest.Config) -> bool:
    """Whether tests are to run, and not only to be collected or shown."""
    names = ("collectonly", "show_fixtures_per_test", "setupplan")
    return not only_tells(config) and not any(getattr(config.option, name, None) for name in names)


def is_distributing(config: pytest.Config) -> bool:
    """Whether this process gives its tests to the workers of pytest-xdist, however they were asked for."""
    option = config.option
    return getattr(option, "dist", "no") != "no" and bool(getattr(option, "tx", ())) and not is_worker(config)


class Recorder:
    """Takes verdicts in as pytest's reports arrive, from this process or from xdist's workers."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Take in one report, if it has a verdict."""
        if is_worker(self._config):
            return
        data = getattr(report, "raycompat", None)
        if data is not None:
            collector_of(self._config).add(data, again=report.outcome == "rerun")
        elif report.when == "???" and COLLECTOR in self._config.stash:  # xdist's, for a test that took its worker along
            collector_of(self._config).lose(report.nodeid, str(report.longrepr))


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say what was found, where a cluster was asked for, and which gaps are not ours."""
    session = config.stash.get(SESSION, None)
    if session is None:
        return []
    from pytest_raycompat.report.gaps import overridden

    found = [session.headline()] if session.settings.active and runs_tests(config) else []
    return [f"raycompat: {line}" for line in [*found, *overridden(session.gaps)]]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Check the arguments of our markers, all of them before any test runs."""
    marked = [(item, marks) for item in items if (marks := [m for m in item.iter_markers() if m.name in MARKER_NAMES])]
    if marked:
        from pytest_raycompat.wiring import read_markers

        if not read_markers(config, marked):
            items.clear()  # a worker, whose controller says what is wrong


@pytest.hookimpl(tryfirst=True)  # before xdist tells its controller that this worker has collected
def pytest_collection_finish(session: pytest.Session) -> None:
    """Note which tests are to have a verdict."""
    if not runs_tests(session.config):
        return
    ours = [item.nodeid for item in session.items if is_ours(item)]
    if not ours:
        return
    if is_worker(session.config):
        from pytest_raycompat import distribution
        from pytest_raycompat.markers import asked_of_gpus, gpus_needed

        distribution.tell(session.config, distribution.EXPECTED, ours)
        needs = [(item.nodeid, item.stash[REQUIREMENTS]) for item in session.items if REQUIREMENTS in item.stash]
        alone = [nodeid for nodeid, requirements in needs if asked_of_gpus(requirements).alone]
        if alone:
            distribution.tell(session.config, distribution.ALONE, alone)
            needed = {nodeid: gpus_needed(requirements) for nodeid, requirements in needs}
            distribution.tell(session.config, distribution.NEEDED, needed)
    else:
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
    """Skip a test whose needs are not met, with one reason that names them all, or that gaps leave out."""
    if SESSION in item.config.stash:
        item.config.stash[SESSION].make_way()
    if not is_ours(item):
        return
    from pytest_raycompat.wiring import forget_attempt, skip_by_gaps, skip_unless_met

    if is_rerun(item):
        forget_attempt(item)
    skip_unless_met(item, item.stash.get(REQUIREMENTS, []))
    skip_by_gaps(item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn what happened into a verdict."""
    report = yield
    if is_ours(item):
        from pytest_raycompat.verdict import judge_test

        judge_test(item, call, report, item.stash.get(GAP_IDS, []))
    return report


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Write the reports."""
    config = session.config
    if is_worker(config) or not runs_tests(config):
        return
    if COLLECTOR not in config.stash and not (SESSION in config.stash and config.stash[SESSION].settings.reports):
        return
    from pytest_raycompat.report.publishing import publish

    session.exitstatus = publish(collector_of(config), session_of(config), config, exitstatus)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the verdict table, and what is behind every verdict that is not ``passed``."""
    if COLLECTOR in config.stash:
        from pytest_raycompat.report.publishing import print_summary

        print_summary(terminalreporter, config.stash[COLLECTOR], session_of(config))


def pytest_unconfigure(config: pytest.Config) -> None:
    """End everything that this run started."""
    session = config.stash.get(SESSION, None)
    if session is not None:
        session.close()
