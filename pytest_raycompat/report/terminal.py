"""The verdict table and what is said of each red row: data in, lines out."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_raycompat.records import GREEN, RED, Verdict
from pytest_raycompat.report.document import TestRecord

ORDER: tuple[Verdict, ...] = (
    "infra",
    "crashed",
    "timed-out",
    "failed",
    "control-failed",
    "gap-changed",
    "gap-closed",
    "untested",
    "known-gap",
    "unsupported",
    "passed",
)
"""From what a reader must see first to what may be read last."""

LEAST_NAME = 18
"""Columns that a flow's name keeps where its parameters are long."""
SHORT_NAMES = {"tensor_parallel_size": "TP", "pipeline_parallel_size": "PP", "data_parallel_size": "DP"}


@dataclass(frozen=True)
class Row:
    """One line of the table: the tests of one flow with one set of parameters."""

    name: str
    parameters: str
    verdict: Verdict
    tests: int
    seconds: float
    gap: str
    flaky: int = 0


def color_of(verdict: Verdict) -> str:
    """The colour of a verdict, as pytest's terminal writer names it."""
    if verdict == "known-gap":
        return "yellow"
    if verdict in GREEN:
        return "green"
    return "red" if verdict in RED else "yellow"


def describe_parameters(record: TestRecord) -> str:
    """Write parameters in a few characters: ``ray-v2 TP=2``; sizes of 1 go without saying."""
    return " ".join(filter(None, [write_parameters(record.parameters), record.setting]))


def write_parameters(parameters: Mapping[str, Any]) -> str:
    """Write parameters in a few characters."""
    words = []
    for name, value in parameters.items():
        if name == "executor":
            words.append(str(value))
        elif not (name in SHORT_NAMES and value == 1):
            words.append(f"{SHORT_NAMES.get(name, name)}={value}")
    return " ".join(words)


def group_of(record: TestRecord) -> tuple[str, str]:
    """Name the row that a test belongs to: its flow, else where it stands, and with which parameters."""
    if record.flow is not None:
        return record.flow, describe_parameters(record)
    path, bracket, parameters = record.id.partition("[")
    place, _, name = path.rpartition("::")
    scope = place.rpartition("/")[2].rpartition("::")[2]
    if bracket:
        return scope, parameters.removesuffix("]")
    if record.verdict in ("unsupported", "untested") and "::" in place:
        return scope, ""  # nothing is known of each test of a class that did not run
    return name, ""


def rows_of(records: Iterable[TestRecord]) -> list[Row]:
    """Group tests by flow and parameters; the verdict that a reader must see first stands for the group."""
    groups: dict[tuple[str, str], list[TestRecord]] = {}
    for record in records:
        groups.setdefault(group_of(record), []).append(record)
    rows = []
    for (name, parameters), members in groups.items():
        worst = min(members, key=lambda record: ORDER.index(record.verdict))
        seconds = max((member.timings.get("total", 0.0) for member in members), default=0.0)
        rows.append(
            Row(
                name,
                parameters,
                worst.verdict,
                len(members),
                seconds or sum(m.seconds for m in members),
                worst.gap or "",
                sum(member.flaky for member in members),
            )
        )
    return rows


def shortened(text: str, width: int) -> str:
    """Cut ``text`` to ``width`` characters, saying so with an ellipsis."""
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"


def shortened_within(text: str, width: int) -> str:
    """Cut ``text`` to ``width`` characters in its middle: parameters often differ in the last one."""
    if len(text) <= width:
        return text
    end = max(0, width - 1) * 3 // 5
    return f"{text[: max(0, width - 1 - end)]}…{text[len(text) - end :]}"


def table(records: Sequence[TestRecord], width: int) -> list[tuple[str, str]]:
    """Lay out the table in ``width`` columns: lines with their colour."""
    rows = rows_of(records)
    names = min(max(len(row.name) for row in rows), max(12, width // 3))
    parameters = max(len("with"), *(len(row.parameters) for row in rows))
    fixed = 2 + 15 + 2 + 5 + 2 + 8
    names = max(min(names, LEAST_NAME), min(names, width - fixed - 2 - parameters))  # parameters tell rows apart
    parameters = min(parameters, max(10, width - fixed - names - 2))
    lines = [(f"{'flow':<{names}}  {'with':<{parameters}}  {'verdict':<15}  {'tests':>5}  {'seconds':>8}", "bold")]
    for row in rows:
        line = (
            f"{shortened(row.name, names):<{names}}  {shortened_within(row.parameters, parameters):<{parameters}}  "
            f"{row.verdict:<15}  {row.tests:>5}  {row.seconds:>8.1f}"
        )
        for note in (f"{row.flaky} flaky" if row.flaky else "", row.gap):
            if note and width - len(line) > len(note) + 2:
                line += f"  {note}"
        lines.append((line, color_of(row.verdict)))
    return lines


def counts(records: Iterable[TestRecord]) -> str:
    """Count the verdicts: ``10 passed, 2 known-gap``."""
    records = list(records)
    found = [record.verdict for record in records]
    said = [f"{found.count(verdict)} {verdict}" for verdict in reversed(ORDER) if verdict in found]
    flaky = sum(record.flaky for record in records)
    return ", ".join(said) + (f" ({flaky} flaky)" if flaky else "")


def details(
    records: Sequence[TestRecord], shown: Callable[[str], str] = str, width: int | None = None
) -> list[tuple[str, str]]:
    """Say what is behind every verdict that is not ``passed``.

    Args:
        records: the tests.
        shown: writes the path of a log for a reader.
        width: columns into which reasons are folded; commands and paths never are, so that they can be copied.
    """
    lines: list[tuple[str, str]] = []
    groups: dict[str, list[TestRecord]] = {}
    for record in sorted(records, key=lambda one: ORDER.index(one.verdict)):
        if record.verdict != "passed" and record.reason:  # the tests that share a flow share its failure
            groups.setdefault(f"{record.verdict}: {record.reason}", []).append(record)
        if record.flaky:
            lines += attempts(record)
    for text, members in groups.items():
        first = members[0]
        more = f" and {len(members) - 1} more" if len(members) > 1 else ""
        lines.append((f"{first.id}{more}", "bold"))
        lines += [(line, color_of(first.verdict)) for line in folded(text, width)]
        if first.verdict in RED:
            lines += [(f"  log: {shown(log)}", "") for log in first.logs]
            if first.reproduce:
                lines.append((f"  reproduce: {first.reproduce}", ""))
    return lines


def folded(text: str, width: int | None) -> list[str]:
    """Indent the lines of a reason, and fold those that are longer than ``width`` columns between words."""
    lines = text.splitlines()
    if width is None:
        return [f"  {line}" for line in lines]
    fold = textwrap.TextWrapper(
        width,
        initial_indent="  ",
        subsequent_indent="    ",
        break_long_words=False,
        break_on_hyphens=False,
        replace_whitespace=False,
        drop_whitespace=True,
    )
    return [part for line in lines for part in (fold.wrap(line) if len(line) + 2 > width else [f"  {line}"])]


def attempts(record: TestRecord) -> list[tuple[str, str]]:
    """Say how each attempt at a flaky test ended."""
    told = [
        (f"  attempt {number}: {attempt.verdict}: {(attempt.reason.splitlines() or [''])[0]}", "yellow")
        for number, attempt in enumerate(record.attempts, 1)
    ]
    last = (f"  attempt {len(told) + 1}: {record.verdict}", color_of(record.verdict))
    return [(record.id, "bold"), ("  flaky: attempts ended with other verdicts", "yellow"), *told, last]
