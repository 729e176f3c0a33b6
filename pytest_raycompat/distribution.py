"""What pytest-xdist's workers collect, told to the controller: it collects nothing itself."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from pytest_raycompat.nodeids import sharing
from pytest_raycompat.state import SESSION

FOLDER = "raycompat_folder"
"""Key of ``workerinput``: where workers write what they collected. All collect the same, so the last one wins."""
EXPECTED = "expected.json"
ALONE = "alone.json"
"""Tests whose flows have their GPUs to themselves; written only where there are any."""
NEEDED = "needed.json"
"""How many GPUs each test says that it needs; written where ``ALONE`` is."""
LET_GO = "alone.let-go"
"""There once a flow that had its GPUs to itself lets others onto them."""
AT_ONCE_S = 1.0
"""What takes no longer keeps no other worker waiting."""
WRONG = "wrong.json"
PROGRESS = "raycompat-progress"


def tell(config: pytest.Config, name: str, value: Any) -> None:
    """Write ``value``, which JSON can hold, for the controller."""
    from pytest_raycompat.files import write_file

    write_file(shared_folder(config) / name, json.dumps(value).encode())


def forget(config: pytest.Config, name: str) -> None:
    """Take back what was told, if anything was."""
    (shared_folder(config) / name).unlink(missing_ok=True)


def shared_folder(config: pytest.Config) -> Path:
    """Return the folder of a worker's run, which is removed at its end."""
    return Path(config.workerinput[FOLDER])  # type: ignore[attr-defined]  # xdist adds it in workers


def expected(tests: Iterable[str], seconds: Mapping[str, float]) -> float:
    """Return how long a piece of work is expected to take: one of which no test is known may take long."""
    known = [seconds[test] for test in tests if test in seconds]
    return sum(known) if known else float("inf")


def first_of(pieces: Mapping[str, Iterable[str]], seconds: Mapping[str, float], priorities: Mapping[str, int]) -> str:
    """Name the piece of work to begin with: by its priority, then what took longest; of those alike, the first.

    Args:
        pieces: the tests of each, at least one piece with at least one test.
        seconds: how long a test took.
        priorities: of tests, 0 where none is named. A piece has the highest of its tests.
    """

    def rank(name: str) -> tuple[int, float]:
        return max(priorities.get(test, 0) for test in pieces[name]), expected(pieces[name], seconds)

    return max(pieces, key=rank)


def shortest_of(pieces: Mapping[str, Iterable[str]], seconds: Mapping[str, float]) -> str:
    """Name the piece of work that is over first; of those alike, and where nothing is known, the first."""
    return min(pieces, key=lambda name: expected(pieces[name], seconds))


class Controller:
    """The controller's side; registered where tests are distributed."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._folder = tempfile.TemporaryDirectory(prefix="raycompat-xdist-")

    def told(self, name: str) -> list[str]:
        """Read what the workers told."""
        return list(self._read(name, []))

    def _read(self, name: str, otherwise: Any) -> Any:
        path = Path(self._folder.name, name)
        return json.loads(path.read_text()) if path.exists() else otherwise

    def has_let_go(self) -> bool:
        """Tell whether a flow that had its GPUs to itself has let others onto them."""
        return Path(self._folder.name, LET_GO).exists()

    def need_all_of(self, count: int) -> frozenset[str]:
        """Name the tests that cannot begin while another has some of ``count`` GPUs to itself."""
        return frozenset(test for test, needed in self._read(NEEDED, {}).items() if needed >= max(count, 1))

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell a worker where to write."""
        node.workerinput[FOLDER] = self._folder.name

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self) -> None:
        """Note which tests are to have a verdict, whatever becomes of the worker, and show what workers do."""
        from pytest_raycompat.plugin import collector_of

        expected = self.told(EXPECTED)
        if expected:
            collector_of(self._config).expect(expected)
            if not self._config.pluginmanager.has_plugin(PROGRESS):
                from pytest_raycompat.report.workers import WorkersProgress

                progress = WorkersProgress(self._config, Path(self._folder.name))
                self._config.pluginmanager.register(progress, PROGRESS)
                progress.start()

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> Any:
        """Keep the tests that share a flow's result on one worker, unless the user has chosen how to distribute."""
        session = config.stash.get(SESSION, None)  # a cluster that is asked for has one; no other run is to make one
        if config.getvalue("dist") != "load" or session is None or not session.settings.active:
            return None
        from xdist.scheduler.loadscope import LoadScopeScheduling

        from pytest_raycompat.durations import kept_in, read_durations

        before = session.baseline.seconds if session.baseline is not None else {}
        seconds = {**read_durations(kept_in(session.settings.folder, session.device)), **before}
        alone = cache(lambda: frozenset(self.told(ALONE)))  # workers tell while they collect
        need_all = cache(lambda: self.need_all_of(len(session.visible_gpus)))
        has_let_go = self.has_let_go

        class FlowScheduling(LoadScopeScheduling):  # type: ignore[misc, unused-ignore]  # xdist may not be installed
            """Takes a class, or a module, with the same parameters for one piece of work."""

            def _split_scope(self, nodeid: str) -> str:
                return sharing(nodeid)

            def _assign_work_unit(self, node: Any) -> None:
                """Begin with what needs GPUs alone, then with what took longest before: no such comes last.

                Later, what needs GPUs alone would have to wait for all that has begun. What needs all GPUs cannot begin
                meanwhile, so workers take the rest first; then it has waited enough.
                """
                priorities = dict.fromkeys(need_all(), -1 if self._has_some_alone() else 1) | dict.fromkeys(alone(), 2)
                if self._keeps_waiting(node):
                    piece = shortest_of(self.workqueue, seconds)
                else:
                    piece = first_of(self.workqueue, seconds, priorities)
                self.workqueue.move_to_end(piece, last=False)
                super()._assign_work_unit(node)

            def _keeps_waiting(self, node: Any) -> bool:
                """Tell whether what a worker is given next waits for a flow: that of a piece with one test.

                The worker runs it once it knows the one after it, which another worker could have run meanwhile.
                """
                left = [tests for tests in self.assigned_work[node].values() if not all(tests.values())]
                return len(left) == 1 and len(left[0]) == 1 and expected(left[0], seconds) > AT_ONCE_S

            def _has_some_alone(self) -> bool:
                begun = (tests for pieces in self.assigned_work.values() for tests in pieces.values())
                busy = any(test in alone() and not done for tests in begun for test, done in tests.items())
                return busy and not has_let_go()

            def _reschedule(self, node: Any) -> None:
                """Give a worker its next piece only when it needs it: a flow takes a minute, and others could have it.

                A worker runs its last test once it knows the one after it. pytest-xdist gives the next piece at two
                tests left, which is all that many pieces have.
                """
                if self.workqueue and self._pending_of(self.assigned_work[node]) > 1:
                    return
                super()._reschedule(node)

        return FlowScheduling(config, log)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        """End the run as one process would have: markers with wrong arguments are a usage error."""
        wrong = self.told(WRONG)
        if wrong:
            raise pytest.UsageError("\n".join(wrong))

    def pytest_unconfigure(self) -> None:
        """Remove the folder."""
        self._folder.cleanup()
