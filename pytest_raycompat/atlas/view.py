"""What the page of an atlas shows, whatever it is written in."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_raycompat.atlas.entries import Entry, in_order
from pytest_raycompat.atlas.predictions import Prediction, Predictions, Score, score, tally
from pytest_raycompat.compare.change import NOT_RUN
from pytest_raycompat.records import RED, Verdict
from pytest_raycompat.report.document import TestRecord
from pytest_raycompat.report.terminal import ORDER, counts, group_of


@dataclass(frozen=True)
class Shown:
    """What became of one flow on one pair."""

    verdict: Verdict | None
    """None where it was not measured."""
    cause: str = ""
    """Why it is red; empty where it is not."""
    explained: str = ""
    """What somebody has written about that."""
    tests: int = 0
    gap: str = ""
    prediction: Prediction | None = None
    score: Score = "not scored"
    about: str = ""
    """When, on what and by which revision it was measured, or why it was not."""


@dataclass(frozen=True)
class Row:
    """One flow with its parameters on every Ray of a table."""

    name: str
    parameters: str
    cells: tuple[Shown, ...]


@dataclass(frozen=True)
class Table:
    """All Rays with one vLLM on one kind of machine."""

    title: str
    rays: tuple[str, ...]
    notes: tuple[str, ...]
    """Of each Ray, why nothing was measured on it; empty where something was."""
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Fact:
    """How one cell was measured."""

    pair: str
    device: str
    state: str
    verdicts: str
    measured: str
    machine: str
    revision: str
    arguments: str
    resolved: str
    reason: str


@dataclass(frozen=True)
class Surprise:
    """What was not as it had been said."""

    pair: str
    flow: str
    said: str
    verdict: str
    score: Score
    why: str
    explained: str


@dataclass(frozen=True)
class Red:
    """What failed without a known gap."""

    pair: str
    flow: str
    verdict: str
    cause: str
    explained: str


@dataclass(frozen=True)
class View:
    """An atlas."""

    tables: tuple[Table, ...]
    facts: tuple[Fact, ...]
    tally: tuple[tuple[str, int, int, int], ...]
    surprises: tuple[Surprise, ...]
    red: tuple[Red, ...]


def view(entries: Sequence[Entry], predictions: Predictions | None = None, *, first: str | None = None) -> View:
    """Lay out an atlas; what was measured with the vLLM ``first`` comes first."""
    ordered = sorted(in_order(entries), key=lambda entry: entry.cell.vllm != first)
    predictions = predictions or Predictions()
    keys = dict.fromkeys((entry.cell.vllm, entry.device) for entry in ordered)
    tables = [_table([one for one in ordered if (one.cell.vllm, one.device) == key], predictions) for key in keys]
    scored = [
        (table, ray, row, shown)
        for table in tables
        for row in table.rows
        for ray, shown in zip(table.rays, row.cells, strict=True)
        if shown.prediction is not None and shown.score != "not scored"
    ]
    return View(
        tables=tuple(tables),
        facts=tuple(fact(entry) for entry in ordered),
        tally=tuple(tally((shown.prediction.said, shown.score) for _, _, _, shown in scored if shown.prediction)),
        surprises=tuple(
            Surprise(
                pair=f"Ray {ray}, {table.title}",
                flow=_title(row),
                said=shown.prediction.said,
                verdict=shown.verdict or "",
                score=shown.score,
                why=shown.prediction.why,
                explained=predictions.explained(shown.prediction.flow, shown.prediction.ray, shown.prediction.vllm),
            )
            for table, ray, row, shown in scored
            if shown.prediction is not None and shown.score != "hit"
        ),
        red=tuple(
            Red(f"Ray {ray}, {table.title}", _title(row), shown.verdict or "", shown.cause, shown.explained)
            for table in tables
            for row in table.rows
            for ray, shown in zip(table.rays, row.cells, strict=True)
            if shown.cause
        ),
    )


def _title(row: Row) -> str:
    return f"{row.name} {row.parameters}".strip()


def _table(entries: Sequence[Entry], predictions: Predictions) -> Table:
    """Lay out what was measured with one vLLM: flows as rows, Rays as columns."""
    rays = tuple(dict.fromkeys(entry.cell.ray for entry in entries))
    found: dict[tuple[str, str], dict[str, list[tuple[Entry, TestRecord]]]] = {}
    told = [(entry, record) for entry in entries if entry.report is not None for record in entry.report.results]
    ran = {(entry.cell.ray, record.id) for entry, record in told if record.verdict not in NOT_RUN}
    for entry, record in told:
        if record.verdict not in NOT_RUN or (entry.cell.ray, record.id) not in ran:  # another run reached that test
            found.setdefault(group_of(record), {}).setdefault(entry.cell.ray, []).append((entry, record))
    rows = [
        Row(name, parameters, tuple(_shown(_newest(columns.get(ray, [])), predictions) for ray in rays))
        for (name, parameters), columns in sorted(found.items())
    ]
    rows.sort(key=lambda row: all(shown.verdict in (None, *NOT_RUN) for shown in row.cells))  # what says least is last
    vllm = entries[0].cell.vllm
    title = f"{'no vLLM' if vllm == 'none' else f'vLLM {vllm}'}, {entries[0].device}"
    return Table(title, rays, tuple(_why_nothing(entries, ray) for ray in rays), tuple(rows))


def _why_nothing(entries: Sequence[Entry], ray: str) -> str:
    cells = [entry.cell for entry in entries if entry.cell.ray == ray]
    return "" if any(cell.state == "measured" for cell in cells) else cells[0].state


def _newest(records: Sequence[tuple[Entry, TestRecord]]) -> list[tuple[Entry, TestRecord]]:
    """Keep what the newest run says that has run the flow; where none has, what the newest one says."""
    if not records:
        return []
    ran = [one for one in records if one[1].verdict not in NOT_RUN]
    newest, _ = max(ran or records, key=lambda one: one[0].measured)
    return [(entry, record) for entry, record in records if entry is newest]


def _shown(records: Sequence[tuple[Entry, TestRecord]], predictions: Predictions) -> Shown:
    if not records:
        return Shown(None)
    entry, record = min(records, key=lambda one: ORDER.index(one[1].verdict))
    prediction = predictions.of(entry.cell.ray, entry.cell.vllm, record)
    flow = " ".join(filter(None, [record.flow or record.id, record.parameters.get("executor")]))
    red = record.verdict in RED
    return Shown(
        verdict=record.verdict,
        cause=(record.reason or record.verdict) if red else "",
        explained=predictions.explained(flow, entry.cell.ray, entry.cell.vllm) if red else "",
        tests=len(records),
        gap=record.gap or "",
        prediction=prediction,
        score=score(prediction, record.verdict),
        about=_about(entry),
    )


def _about(entry: Entry) -> str:
    found = fact(entry)
    return f"measured {found.measured} on {found.machine}, revision {found.revision}"


def fact(entry: Entry) -> Fact:
    """Say how a cell was measured."""
    cell = entry.cell
    machine = f"{cell.machine.cpu}, {cell.machine.cpus} CPUs" if cell.machine is not None else "a machine not known"
    return Fact(
        pair=f"Ray {cell.ray}, {'no vLLM' if cell.vllm == 'none' else f'vLLM {cell.vllm}'}",
        device=entry.device,
        state=cell.state,
        verdicts=counts(entry.report.results) if entry.report is not None else "",
        measured=cell.measured,
        machine=machine,
        revision=(cell.git_revision or "not known")[:12],
        arguments=shlex.join(cell.arguments),
        resolved=cell.exclude_newer or cell.measured[:10],
        reason=" ".join([*cell.notes, cell.reason]).strip(),
    )
