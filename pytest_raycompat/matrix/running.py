"""Measures the pairs of a matrix that are not measured yet, and merges what came out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pytest_raycompat.compare.merge import MergeError, Source, merge, reports_of
from pytest_raycompat.environments.candidates import Candidate
from pytest_raycompat.environments.ordering import Pair
from pytest_raycompat.matrix.cells import PASSING, Cell, CellStore, is_red
from pytest_raycompat.matrix.measuring import Watch
from pytest_raycompat.matrix.progress import Progress, tell
from pytest_raycompat.report.document import Report


class Measures(Protocol):
    """What measures a pair; :class:`pytest_raycompat.matrix.measuring.Measurer` is one."""

    def measure(self, pair: Pair, watch: Watch) -> Cell:
        """Measure a pair and write down what came out."""
        ...


@dataclass(frozen=True)
class Outcome:
    """What a matrix gave."""

    cells: tuple[Cell, ...]
    red: bool
    """Whether any cell has a red verdict, or none at all."""


def pairs_of(rays: Sequence[Candidate], vllms: Sequence[Candidate], device: str) -> list[Pair]:
    """List every pair: all Rays of one vLLM, then of the next, so that what uv unpacked last is what it needs next."""
    return [Pair(ray, vllm, device) for vllm in vllms for ray in rays]


def pending(pairs: Sequence[Pair], cells: CellStore, *, retry: bool = False) -> list[Pair]:
    """List the pairs that are to be measured: those that have no cell, and those whose cell says nothing of the pair.

    Args:
        pairs: all of them.
        cells: what is measured already.
        retry: whether a cell without verdicts is measured again, whatever the reason.
    """
    left = []
    for pair in pairs:
        cell = cells.find(pair.name)
        if cell is None or cell.state in PASSING or (retry and cell.state != "measured"):
            left.append(pair)
    return left


def run_pairs(
    pairs: Sequence[Pair], cells: CellStore, measurer: Measures, progress: Progress, *, retry: bool = False
) -> Outcome:
    """Measure what is left of ``pairs``, and say what came out of all of them.

    Raises:
        ArgumentsError: pytest refused its arguments.
        Interrupted: this process was asked to end; what was measured is kept.
    """
    for pair in pending(pairs, cells, retry=retry):
        progress.begin(str(pair))

        def watch(phase: str, name: str = pair.name) -> None:
            progress.watch(phase, lambda: cells.report(name))

        measured = measurer.measure(pair, watch)
        progress.end(measured, cells.report(measured.name))
    found = [cell for pair in pairs if (cell := cells.find(pair.name)) is not None]
    return Outcome(tuple(found), any(is_red(cell, cells.report(cell.name)) for cell in found))


def merged(cells: Sequence[Cell], store: CellStore) -> tuple[Report, ...]:
    """Put the reports of cells together.

    Two cells may have the same versions, where one is a wheel of one's own: their reports then stay apart if they
    contradict each other.
    """
    sources: list[Source] = []
    for cell in cells:
        report = store.report(cell.name)
        if report is not None:
            sources.append(Source(store.paths(cell.name)[0], report))
    if not sources:
        return ()
    try:
        return reports_of(merge(sources))
    except MergeError:
        return tuple(source.report for source in sources)


def write_merged(reports: Sequence[Report], folder: Path) -> list[Path]:
    """Write the merged report in each format that can be written here, and return the paths."""
    from pytest_raycompat.report.formats import has_jinja2, write_as

    paths = [folder / f"report{suffix}" for suffix in (".json", ".md", *([".html"] if has_jinja2() else []))]
    for path in paths if reports else ():
        write_as(path, reports)
    return paths if reports else []


def summary(outcome: Outcome, store: CellStore) -> list[str]:
    """Say what became of every pair, one line each."""
    if not outcome.cells:
        return []
    rays = max(len("Ray"), *(len(cell.ray) for cell in outcome.cells))
    vllms = max(len("vLLM"), *(len(cell.vllm) for cell in outcome.cells))
    lines = [f"  {'Ray':<{rays}}  {'vLLM':<{vllms}}  verdicts"]
    for cell in outcome.cells:
        report = store.report(cell.name)
        sign = "!" if is_red(cell, report) else " "
        lines.append(f"{sign} {cell.ray:<{rays}}  {cell.vllm:<{vllms}}  {tell(cell, report)}")
    return lines
