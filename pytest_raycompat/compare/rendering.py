"""A comparison as text, Markdown, JSON, and annotations for GitHub."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from pytest_raycompat.compare.comparison import (
    Comparison,
    Entry,
    EnvironmentComparison,
    Group,
    count,
    describe_counts,
    groups_of,
)
from pytest_raycompat.markers import plural
from pytest_raycompat.report.github import Annotation
from pytest_raycompat.report.markdown import LIMIT, block, cell, code, fit, table

MOST_MEASUREMENTS = 20
CHUNK = 50
"""Rows of a table that are left out together where there is no room."""
SIGNS = {"regressed": "❌", "gap-closed": "🔔", "fixed": "✅", "new": "🆕", "vanished": "👻", "still-failing": "🟡"}
EXPLANATIONS = {"tested": "may be the cause", "machine": "so timings and measurements are not compared", "named": ""}


def json_text(comparison: Comparison) -> str:
    """Write a comparison as JSON."""
    return msgspec.json.format(msgspec.json.encode(comparison), indent=2).decode() + "\n"


def verdicts(entry: Entry) -> str:
    """Write the verdicts before and now: ``passed → failed``."""
    return f"{entry.old or 'not there'} → {entry.new or 'not there'}"


def told(entries: Iterable[Entry]) -> list[Entry]:
    """Keep the entries that are named one by one."""
    return [entry for entry in entries if entry.change != "unchanged"]


def headline(comparison: Comparison) -> str:
    """Say in a line how it came out."""
    worse = sum(entry.worse for environment in comparison.environments for entry in environment.entries)
    measured = sum(environment.measured_worse for environment in comparison.environments)
    parts = [f"{worse} worse" if worse else "", f"{plural(measured, 'measurement')} worse" if measured else ""]
    return ", ".join(filter(None, parts)) or "nothing is worse"


def text(comparison: Comparison) -> str:
    """Write a comparison for a terminal."""
    lines = [f"{comparison.old} → {comparison.new}: {headline(comparison)}"]
    for environment in comparison.environments:
        lines += ["", environment.name, f"  {describe_counts(count(environment.entries))}"]
        lines += [f"  note: {note}" for note in notes(environment)]
        for group in groups_of(told(environment.entries)):
            lines += _text_of(group)
        for change in environment.measurements:
            lines.append(f"  {'! ' if change.worse else '  '}{change.how:<13}  {change}")
    return "\n".join(lines) + "\n"


def _text_of(group: Group) -> list[str]:
    entry = group.first
    flaky = " (flaky)" if entry.flaky else ""
    worse = "! " if entry.worse else "  "
    lines = [f"  {worse}{entry.change:<13}  {group.name}: {verdicts(entry)}{flaky}"]
    lines += [f"      {len(group.tests)} tests: {', '.join(group.tests)}"] if group.tests else []
    if entry.worse:
        lines += [f"      {line}" for line in entry.reason.splitlines()]
        lines += [f"      reproduce: {entry.reproduce}"] if entry.reproduce else []
    return lines


def notes(environment: EnvironmentComparison) -> list[str]:
    """Say what a reader must know before they believe the table."""
    said = []
    if environment.old is None:
        said.append("this environment was not there before")
    if environment.new is None:
        said.append("this environment is not there any more")
    for difference in environment.differences:
        why = EXPLANATIONS[difference.effect]
        said.append(f"{difference}{f' ({why})' if why else ''}")
    if not environment.old_finished:
        said.append("the run before did not finish")
    if not environment.new_finished:
        said.append("the run now did not finish")
    return said


def markdown(comparison: Comparison, limit: int = LIMIT) -> str:
    """Write a comparison for GitHub, within its limit."""
    sign = "❌" if comparison.worse else "✅"
    blocks = [f"### {sign} vLLM on Ray: {headline(comparison)}\n\n{describe_counts(comparison.counts)}"]
    for environment in comparison.environments:
        said = "".join(f"\n- {code(note)}" for note in notes(environment))
        counts = describe_counts(count(environment.entries))
        blocks.append(f"#### {code(environment.name)}\n\n{counts}{chr(10) if said else ''}{said}")
        blocks += _tables(groups_of(told(environment.entries)))
        blocks += _measurements(environment)
    for environment in comparison.environments:
        blocks += [_detail(entries) for entries in _grouped(environment.entries)]
    return fit(blocks, limit)


def _tables(groups: Sequence[Group]) -> list[str]:
    head = ["", "change", "test", "before", "now", "gap"]
    rows = [
        [
            SIGNS[entry.change],
            f"**{entry.change}**" if entry.worse else entry.change,
            cell(group.name)
            + (f" ({len(group.tests)} tests)" if group.tests else "")
            + (" (flaky)" if entry.flaky else ""),
            entry.old or "not there",
            entry.new or "not there",
            cell(entry.gap or ""),
        ]
        for group in groups
        for entry in (group.first,)
    ]
    return ["\n".join(table(head, rows[start : start + CHUNK])) for start in range(0, len(rows), CHUNK)]


def _measurements(environment: EnvironmentComparison) -> list[str]:
    lines = [f"- {f'**{one.how}** ' if one.worse else ''}{code(str(one))}" for one in environment.measurements]
    if not lines:
        return []
    shown, left = lines[:MOST_MEASUREMENTS], len(lines) - MOST_MEASUREMENTS
    return ["Timings and measurements:\n\n" + "\n".join([*shown, *([f"- and {left} more"] if left > 0 else [])])]


def _grouped(entries: Iterable[Entry]) -> list[list[Entry]]:
    found: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        if entry.worse and entry.reason:
            found.setdefault((entry.change, entry.reason), []).append(entry)
    return list(found.values())


def _detail(entries: Sequence[Entry]) -> str:
    first = entries[0]
    lines = [f"<details open><summary>{first.change}, {first.new}: {len(entries)}</summary>", ""]
    lines += [f"- {code(entry.id)}" for entry in entries[:5]]
    lines += [f"- and {len(entries) - 5} more"] if len(entries) > 5 else []
    lines += ["", block("\n".join(first.reason.splitlines()[:12]))]
    lines += ["", "reproduce:", "", block(first.reproduce, "sh")] if first.reproduce else []
    return "\n".join([*lines, "", "</details>"])


def annotations_of(comparison: Comparison) -> list[Annotation]:
    """List what GitHub shows at lines of files: what is worse."""
    return [
        Annotation(
            title=f"{entry.change}: {entry.new or 'not there'}",
            test=f"{entry.id} ({environment.name}): {verdicts(entry)}",
            reason=entry.reason,
            reproduce=entry.reproduce,
            file=entry.file,
            line=entry.line,
        )
        for environment in comparison.environments
        for entry in environment.entries
        if entry.worse
    ]
