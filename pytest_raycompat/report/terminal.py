"""The verdict table and what is said of each red row: data in, lines out."""

from __future__ import annotations

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
    if bracket:
        return place.rpartition("/")[2].rpartition("::")[2], parameters.removesuffix("]")
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


def table(records: Sequence[TestRecord], width: int) -> list[tuple[str, str]]:
    """Lay out the table in ``width`` columns: lines with their colour."""
    rows = rows_of(records)
    names = min(max(len(row.name) for row in rows), max(12, width // 3))
    parameters = max(len("with"), *(len(row.parameters) for row in rows))
    fixed = names + 2 + 15 + 2 + 5 + 2 + 8
    parameters = min(parameters, max(10, width - fixed - 2))
    lines = [(f"{'flow':<{names}}  {'with':<{parameters}}  {'verdict':<15}  {'tests':>5}  {'seconds':>8}", "bold")]
    for row in rows:
        line = (
            f"{shortened(row.name, names):<{names}}  {shortened(row.parameters, parameters):<{parameters}}  "
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


def details(records: Sequence[TestRecord], shown: Callable[[str], str] = str) -> list[tuple[str, str]]:
    """Say what is behind every verdict that is not ``passed``; ``shown`` writes the path of a log for a reader."""
    lines: list[tuple[str, str]] = []
    said: set[str] = set()
    for record in sorted(records, key=lambda one: ORDER.index(one.verdict)):
        if record.flaky:
            lines += attempts(record)
        if record.verdict == "passed" or not record.reason:
            continue
        text = f"{record.verdict}: {record.reason}"
        if text in said:  # the tests that share a flow share its failure
            continue
        said.add(text)
        lines.append((record.id, "bold"))
        lines += [(f"  {line}", color_of(record.verdict)) for line in text.splitlines()]
        if record.verdict in RED:
            lines += [(f"  log: {shown(log)}", "") for log in record.logs]
            if record.reproduce:
                lines.append((f"  reproduce: {record.reproduce}", ""))
    return lines


def attempts(record: TestRecord) -> list[tuple[str, str]]:
    """Say how each attempt at a flaky test ended."""
    told = [
        (f"  attempt {number}: {attempt.verdict}: {(attempt.reason.splitlines() or [''])[0]}", "yellow")
        for number, attempt in enumerate(record.attempts, 1)
    ]
    last = (f"  attempt {len(told) + 1}: {record.verdict}", color_of(record.verdict))
    return [(record.id, "bold"), ("  flaky: attempts ended with other verdicts", "yellow"), *told, last]
