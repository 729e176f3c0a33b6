"""Measures one pair: its environment, then one pytest whose flows run there."""

from __future__ import annotations

import datetime
import importlib.util
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import msgspec

import pytest_raycompat
from pytest_raycompat.environments.building import BuildError, Order
from pytest_raycompat.environments.dating import Calendar
from pytest_raycompat.environments.ordering import Orders, Pair
from pytest_raycompat.environments.store import EnvironmentStore
from pytest_raycompat.machine import describe_machine
from pytest_raycompat.matrix.cells import Cell, CellStore, State
from pytest_raycompat.processes.running import run_child
from pytest_raycompat.session import git_revision

USAGE_ERROR, NO_TESTS = 4, 5
"""Exit statuses of pytest that are about its arguments, and so not about a pair."""
MOST_LINES = 15

Watch = Callable[[str], None]
"""Told what a pair has come to: ``building``, ``measuring``, and now and then while pytest runs."""


class ArgumentsError(ValueError):
    """pytest refused its arguments, or found no test: every other pair would end alike."""


@dataclass
class Measurer:
    """Measures pairs.

    Args:
        cells: where what is found out goes.
        environments: where environments are.
        orders: writes what to build.
        calendar: says when releases came.
        arguments: of pytest.
    """

    cells: CellStore
    environments: EnvironmentStore
    orders: Orders
    calendar: Calendar
    arguments: tuple[str, ...]

    def measure(self, pair: Pair, watch: Watch = lambda phase: None) -> Cell:
        """Measure a pair and write down what came out.

        Raises:
            ArgumentsError: pytest refused its arguments.
            ResolverError: there is no uv.
            Interrupted: this process was asked to end; the cell is as if it had not begun.
        """
        self.cells.begin(pair.name)
        began = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
        dated = self.calendar.look_up(pair.ray, pair.vllm)
        order = self.orders.write(pair, dated.exclude_newer)
        cell = Cell(
            name=pair.name,
            ray=pair.ray.label,
            vllm=pair.vllm.label,
            device=cast('Literal["cpu", "cuda"]', pair.device),
            state="unresolvable",
            reason=dated.missing,
            notes=dated.notes,
            measured=began,
            exclude_newer=dated.exclude_newer,
            machine=describe_machine(),
            project_version=pytest_raycompat.__version__,
            git_revision=git_revision(Path.cwd()),
            arguments=self.arguments,
        )
        if not dated.missing:
            cell = self._build_and_run(cell, order, watch)
        self.cells.finish(cell)
        return cell

    def _build_and_run(self, cell: Cell, order: Order, watch: Watch) -> Cell:
        _, logs = self.cells.paths(cell.name)
        watch("building")
        try:
            with self.environments.use(order, logs / "build.log") as (python, marker):
                watch("measuring")
                cell = msgspec.structs.replace(
                    cell, build_s=marker.build_s, distributions=tuple(marker.installed.splitlines())
                )
                return self._run(cell, python, watch)
        except BuildError as error:
            return msgspec.structs.replace(cell, state=error.kind, reason=str(error))

    def _run(self, cell: Cell, python: Path, watch: Watch) -> Cell:
        report, logs = self.cells.paths(cell.name)
        command = pytest_command(self.arguments, python, cell.device, report, logs)
        began = time.monotonic()
        log = logs / "pytest.log"
        try:
            status = run_child(command, output=log, variables=variables(), look=lambda: watch("measuring"))
        except OSError as error:
            return msgspec.structs.replace(cell, state="disk-full", reason=str(error))
        seconds = time.monotonic() - began
        found = self.cells.report(cell.name)
        if status in (USAGE_ERROR, NO_TESTS) and (found is None or not found.results):
            raise ArgumentsError(f"pytest ended with exit status {status}:\n{last_lines(log)}\nits log: {log}")
        state, reason = self._judge(cell.name, status, log)
        return msgspec.structs.replace(cell, state=state, reason=reason, run_s=seconds)

    def _judge(self, name: str, status: int, log: Path) -> tuple[State, str]:
        report = self.cells.report(name)
        if report is not None and report.finished and status in (0, 1):
            return "measured", ""
        how = f"signal {-status}" if status < 0 else f"exit status {status}"
        return "unfinished", f"pytest ended with {how} before its tests did:\n{last_lines(log)}"


def pytest_command(arguments: Sequence[str], python: Path, device: str, report: Path, logs: Path) -> list[str]:
    """Write the command that runs the suites in this environment and their flows in the one of ``python``.

    The cluster is always one of our own: an attached one has the Ray that it has.
    """
    limit = ["-o", "timeout=2400"] if importlib.util.find_spec("pytest_timeout") is not None else []
    return [
        *[sys.executable, "-m", "pytest", "--ray-cluster=local", f"--raycompat-device={device}", *limit, *arguments],
        *[f"--raycompat-python={python}", f"--raycompat-report={report}", f"--raycompat-logs={logs / 'flows'}"],
    ]


def variables() -> dict[str, str]:
    """Return the environment of the pytest of a cell: ours, without what would tell it of a run around it."""
    return {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_XDIST")}


def default_arguments(folder: Path) -> tuple[str, ...]:
    """Return what is run where nothing is said: the suites of the checkout, else those of the package."""
    return ("suites",) if (folder / "suites" / "__init__.py").is_file() else ("--pyargs", "pytest_raycompat.suites")


def last_lines(log: Path) -> str:
    """Return the end of a log."""
    try:
        lines = log.read_text(errors="replace").strip().splitlines()
    except OSError as error:
        return f"({error})"
    return "\n".join(lines[-MOST_LINES:])
