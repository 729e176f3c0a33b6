"""Reports as Markdown for GitHub: a job's summary, a comment, an issue.

Text that tests or logs bring stands in code spans and fences alone, so that none of it is read as Markdown or HTML.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from pytest_raycompat.compare.change import ORDER as CHANGES
from pytest_raycompat.compare.environments import labels
from pytest_raycompat.records import RED
from pytest_raycompat.report.document import Report, TestRecord
from pytest_raycompat.report.gaps import lines_of
from pytest_raycompat.report.measured import measured_rows
from pytest_raycompat.report.terminal import ORDER, Row, counts, rows_of

LIMIT = 65_535
"""Characters that GitHub takes in a comment or an issue."""
MOST_REASON_LINES = 12
MARKS = {"passed": "✅", "known-gap": "🟡", "unsupported": "⚪", "untested": "❔"}
"""What stands before a verdict; red ones have ❌. The verdict is always told in words too."""


def mark_of(verdict: str) -> str:
    """Return the sign that stands before a verdict."""
    return MARKS.get(verdict, "❌")


def code(text: str) -> str:
    """Write text as a code span, which nothing in it can end; one line, and no cell of a table."""
    text = " ".join(text.split())
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{space}{text}{space}{fence}" if text else ""


def cell(text: str) -> str:
    """Write text as a code span in a cell of a table, where even code may not hold a bare ``|``."""
    return code(text.replace("|", "\\|"))


def block(text: str, language: str = "text") -> str:
    """Write text as a fenced block, which nothing in it can end."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Write a table: its first two lines, then one line a row."""
    return [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}", *(f"| {' | '.join(row)} |" for row in rows)]


def fit(blocks: Sequence[str], limit: int = LIMIT, what: str = "entries") -> str:
    """Join blocks up to ``limit`` characters; say how many were left out. The first one always stays."""
    room = limit - 500  # for what is said below, and for a line that somebody puts before it
    kept: list[str] = []
    used = 0
    for text in blocks:
        if kept and used + len(text) + 2 > room:
            break
        kept.append(text)
        used += len(text) + 2
    left = len(blocks) - len(kept)
    if left:
        kept.append(f"**{left} more {what} left out**: this is as long as GitHub takes; the report has them all.")
    return "\n\n".join(kept)[: limit - 1] + "\n"


def render(reports: Sequence[Report], limit: int = LIMIT) -> str:
    """Write reports."""
    blocks: list[str] = []
    for name, report in zip(labels(reports), reports, strict=True):
        blocks += _heading(name, report)
    for name, report in zip(labels(reports), reports, strict=True):
        several = f" ({code(name)})" if len(reports) > 1 else ""
        blocks += [_detail(records, several) for records in groups(report.results)]
    return fit(blocks, limit)


def _heading(name: str, report: Report) -> list[str]:
    red = sum(record.verdict in RED for record in report.results)
    state = "❌" if red else "✅" if any(record.verdict == "passed" for record in report.results) else "⚪"
    unfinished = "" if report.finished else "\n\n**The run did not finish.** What it did not reach is `untested`."
    about = ", ".join(
        filter(
            None,
            [
                f"torch {report.environment.torch}" if report.environment.torch else "",
                f"Python {report.environment.python}",
                report.cluster.description if report.cluster else "no cluster",
                f"revision {report.git_revision[:12]}" if report.git_revision else "",
            ],
        )
    )
    rows = rows_of(report.results)
    lines = table(
        ["flow", "with", "verdict", "tests", "seconds", "gap"],
        [_row(row) for row in sorted(rows, key=lambda row: ORDER.index(row.verdict))],
    )
    met = "".join(f"\n- {code(line)}" for line, _ in lines_of(report.gaps))
    notes = f"{unfinished}{met and chr(10)}{met}{_since_baseline(report)}"
    head = f"### {state} {name}\n\n{counts(report.results) or 'no tests'} · {code(about)}{notes}"
    chunk = 50  # rows: one block would be left out whole where it is too long
    parts = ["\n".join([*lines[:2], *lines[start : start + chunk]]) for start in range(2, len(lines), chunk)]
    return [head, *parts, *_measured(report)]


def _measured(report: Report) -> list[str]:
    rows = measured_rows(report.results)
    cells = [[cell(row.flow), cell(row.parameters), cell(row.name), cell(row.value), str(row.samples)] for row in rows]
    return ["\n".join(table(["flow", "with", "measured", "median ± spread", "samples"], cells))] if rows else []


def _since_baseline(report: Report) -> str:
    """Say what became of the tests since the baseline, if there was one."""
    if report.baseline is None:
        return ""
    found = [record.change for record in report.results if record.change is not None]
    said = [f"{found.count(change)} {change}" for change in CHANGES if change in found]
    differences = "".join(f"\n- differs in {code(one)}" for one in report.baseline.differences)
    return (
        f"\n\nSince {code(report.baseline.path)}: {', '.join(said) or 'no tests'}{differences and chr(10)}{differences}"
    )


def _row(row: Row) -> list[str]:
    flaky = f" ({row.flaky} flaky)" if row.flaky else ""
    return [
        cell(row.name),
        cell(row.parameters),
        f"{mark_of(row.verdict)} {row.verdict}{flaky}",
        str(row.tests),
        f"{row.seconds:.1f}",
        cell(row.gap),
    ]


def groups(records: Iterable[TestRecord]) -> list[list[TestRecord]]:
    """Group the tests that did not pass by what is said of them, what must be seen first first."""
    found: dict[tuple[str, str], list[TestRecord]] = {}
    for record in sorted(records, key=lambda one: ORDER.index(one.verdict)):
        if record.verdict != "passed" or record.flaky:
            found.setdefault((record.verdict, record.reason), []).append(record)
    return list(found.values())


def _detail(records: Sequence[TestRecord], several: str) -> str:
    first = records[0]
    tests = f"{len(records)} tests" if len(records) > 1 else "1 test"
    opened = " open" if first.verdict in RED else ""
    lines = [f"<details{opened}><summary>{mark_of(first.verdict)} {first.verdict}: {tests}</summary>", ""]
    lines += [f"- {code(record.id)}{several}" for record in records[:5]]
    lines += [f"- and {len(records) - 5} more"] if len(records) > 5 else []
    reason = first.reason.splitlines()
    if len(reason) > MOST_REASON_LINES:
        reason = [*reason[:MOST_REASON_LINES], f"… ({len(reason) - MOST_REASON_LINES} more lines)"]
    if reason:
        lines += ["", block("\n".join(reason))]
    for number, attempt in enumerate(first.attempts, 1):
        lines += ["", f"attempt {number}: {attempt.verdict} {code(attempt.reason)}"]
    if first.verdict in RED and first.reproduce:
        lines += ["", "reproduce:", "", block(first.reproduce, "sh")]
    return "\n".join([*lines, "", "</details>"])
