"""What the workers of pytest-xdist do, told to the controller through files, and shown there while they do it."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Generator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from pytest_raycompat import distribution
from pytest_raycompat.report.progress import Doing, Shown

LOOK_EVERY_S = 0.5
PAUSE_S = 1.0
"""How long nothing is shown after a worker was lost: pytest-xdist then writes without a hook."""
SUFFIX = ".doing"


class WorkerProgress:
    """A worker's side: it has no terminal, and writes down which phase it is in when that changes."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._worker = str(config.workerinput["workerid"])  # type: ignore[attr-defined]  # xdist adds it in workers
        self._told: tuple[str, str] | None = None

    def show(self, title: str, phase: str, seconds: float, left: float) -> None:
        """Tell that ``title`` is in ``phase``, since when, and when it will be ended, in seconds."""
        if self._told != (title, phase):
            self._told = (title, phase)
            now = time.monotonic()  # the same clock in every process of a machine
            doing = Doing(title, phase, now - seconds, now + left, self._worker)
            distribution.tell(self._config, self._worker + SUFFIX, asdict(doing))

    def clear(self) -> None:
        """Tell that the flow is over."""
        self._told = None
        distribution.forget(self._config, self._worker + SUFFIX)


def read_doings(folder: Path) -> list[Doing]:
    """Read what each worker does, in the order of their names; none does anything that has told nothing."""
    found = []
    for path in sorted(folder.glob(f"*{SUFFIX}"), key=lambda path: (len(path.name), path.name)):
        with contextlib.suppress(FileNotFoundError):  # it has just finished
            found.append(Doing(**json.loads(path.read_text())))
    return found


class WorkersProgress:
    """The controller's side: a plugin whose thread looks what the workers do.

    The thread and pytest never write at the same time: what is shown is taken away before a hook that writes.
    """

    def __init__(self, config: pytest.Config, folder: Path) -> None:
        self._shown = Shown(config)
        self._folder = folder
        self._lock = threading.RLock()
        self._over = threading.Event()
        self._not_before = 0.0
        self._thread = threading.Thread(target=self._watch, name="raycompat-progress", daemon=True)

    def _watch(self) -> None:
        while not self._over.wait(LOOK_EVERY_S):
            with self._lock:
                if not self._over.is_set() and time.monotonic() >= self._not_before:
                    self._shown.show(read_doings(self._folder))

    @contextlib.contextmanager
    def _out_of_the_way(self) -> Generator[None]:
        with self._lock:
            self._shown.clear()
            yield

    def start(self) -> None:
        """Begin to look."""
        if self._shown.wanted and not self._thread.is_alive():
            self._thread.start()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self) -> Generator[None, Any, Any]:
        """Look no more: however the run ended, pytest says how."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        self._shown.clear()
        return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logstart(self) -> Generator[None, Any, Any]:
        """Let pytest write."""
        with self._out_of_the_way():
            return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logreport(self) -> Generator[None, Any, Any]:
        """Let pytest write."""
        with self._out_of_the_way():
            return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logfinish(self) -> Generator[None, Any, Any]:
        """Let pytest write."""
        with self._out_of_the_way():
            return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_internalerror(self) -> Generator[None, Any, Any]:
        """Let pytest write."""
        with self._out_of_the_way():
            return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True, optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> Generator[None, Any, Any]:
        """Let pytest-xdist write, and forget what a worker did that is lost."""
        with self._out_of_the_way():
            (self._folder / f"{node.gateway.id}{SUFFIX}").unlink(missing_ok=True)
            self._not_before = time.monotonic() + PAUSE_S
            return (yield)
