"""An atlas as Markdown and as a page that needs no network."""

from __future__ import annotations

from dataclasses import asdict

from pytest_raycompat.atlas.view import Row, Shown, Table, View
from pytest_raycompat.report.markdown import cell as code_cell
from pytest_raycompat.report.markdown import mark_of, table
from pytest_raycompat.report.terminal import shortened

TITLE = "Atlas"
LEAD = (
    "What real runs have shown, pair by pair. A verdict stands for that of the test which must be seen first; "
    "the reference says what each flow does and what each verdict means."
)
MOST_CHARACTERS = 300


def markdown(view: View) -> str:
    """Write the page for the documentation."""
    blocks = [f"# {TITLE}", LEAD]
    blocks += [_table(one) for one in view.tables]
    blocks += [_red(view)] if view.red else []
    blocks += [_predictions(view)] if any(sum(row[1:]) for row in view.tally) else []
    blocks.append(_facts(view))
    return "\n\n".join(blocks) + "\n"


def _table(shown: Table) -> str:
    lines = table(["flow", *(f"Ray {ray}" for ray in shown.rays)], [_row(row) for row in shown.rows])
    notes = [
        f"- Ray {ray}: {note}, see [how each cell was measured](#how-each-cell-was-measured)"
        for ray, note in zip(shown.rays, shown.notes, strict=True)
        if note
    ]
    body = "\n".join(lines) if shown.rows else "Nothing was measured."
    return "\n\n".join([f"## {shown.title}", body, *(["\n".join(notes)] if notes else [])])


def _row(row: Row) -> list[str]:
    return [code_cell(f"{row.name} {row.parameters}".strip()), *(_cell(one) for one in row.cells)]


def _cell(shown: Shown) -> str:
    if shown.verdict is None:
        return "·"
    said = f"<br>said: {shown.prediction.said}" if shown.prediction is not None else ""
    gap = f" {code_cell(shown.gap)}" if shown.gap else ""
    return f"{mark_of(shown.verdict)} {shown.verdict}{gap}{said}"


def _red(view: View) -> str:
    rows = [
        [
            one.pair,
            code_cell(one.flow),
            one.verdict,
            code_cell(shortened(one.cause, MOST_CHARACTERS)),
            code_cell(one.explained),
        ]
        for one in view.red
    ]
    return "## What failed without a known gap\n\n" + "\n".join(table(["pair", "flow", "verdict", "how", "why"], rows))


def _predictions(view: View) -> str:
    lines = table(
        ["said", "hits", "misses", "false alarms"],
        [[said, str(hits), str(misses), str(alarms)] for said, hits, misses, alarms in view.tally],
    )
    blocks = ["## What reading the sources had said", "\n".join(lines)]
    if view.surprises:
        rows = [
            [one.score, one.pair, code_cell(one.flow), f"{one.said}, {one.verdict}", code_cell(one.explained)]
            for one in view.surprises
        ]
        blocks.append("\n".join(table(["", "pair", "flow", "said, found", "why"], rows)))
    return "\n\n".join(blocks)


def _facts(view: View) -> str:
    rows = [
        [
            one.pair,
            one.device,
            f"{one.state}{f': {one.verdicts}' if one.verdicts else ''}",
            one.measured,
            one.machine,
            code_cell(one.revision),
            code_cell(one.arguments),
            one.resolved,
            code_cell(shortened(one.reason, MOST_CHARACTERS)),
        ]
        for one in view.facts
    ]
    head = ["pair", "device", "cell", "measured", "on", "revision", "pytest", "resolved as of", "note"]
    return "## How each cell was measured\n\n" + "\n".join(table(head, rows))


def page(view: View) -> str:
    """Write the page."""
    from pytest_raycompat.report.page import KINDS, SIGNS, write_page

    return write_page("atlas.html", title=TITLE, heading=TITLE, lead=LEAD, view=asdict(view), kinds=KINDS, signs=SIGNS)
