"""What was found, as text, Markdown and JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

import msgspec

from pytest_raycompat.probe.findings import Finding, FlowResult, PairResult
from pytest_raycompat.probe.nearest import Nearest

SCHEMA_VERSION = 1
MARKS = {"no obstacle found": "-", "guarded": "guarded", "absent": "absent", "unknown": "unknown", "breaks": "BREAKS"}
UNREADABLE = "not read"
LEAST_COLUMN = 8
"""Of the overview: a mark and a space."""


class Cell(msgspec.Struct, frozen=True, omit_defaults=True):
    """A pair that was asked for: what was found, or why it could not be read."""

    ray: str
    vllm: str
    result: PairResult | None = None
    error: str | None = None


class Document(msgspec.Struct, frozen=True):
    """The JSON."""

    schema_version: int
    pairs: tuple[Cell, ...]
    nearest: tuple[Nearest, ...] = ()


def json_text(cells: Iterable[Cell], near: Iterable[Nearest]) -> str:
    """Write JSON."""
    document = Document(SCHEMA_VERSION, tuple(cells), tuple(near))
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"


def text(cells: Sequence[Cell], near: Sequence[Nearest], width: int, *, verbose: bool) -> str:
    """Write what a terminal shows."""
    if len(cells) > 1:
        lines = list(_overview(cells, width))
    else:
        lines = [line for cell in cells for line in _pair(cell, width, verbose)]
    lines += [line for one in near for line in _wrapped(said_of(one), width, "")]
    return "\n".join(lines) + "\n"


def _pair(cell: Cell, width: int, verbose: bool) -> Iterable[str]:
    result = cell.result
    if result is None:
        yield from _wrapped(f"{cell.ray}, {cell.vllm}: {cell.error}", width, "")
        return
    yield f" {result.ray}, {result.vllm} ".center(width, "=")
    column = max(len(flow.flow) for flow in result.flows) + 2
    for flow in result.flows:
        first = next((one for one in flow.findings if one.status == flow.status), None)
        why = missing(first) if first else f"{result.vllm} has no such executor" if flow.status == "absent" else ""
        yield f"{flow.flow:<{column}}{flow.status}{f': {why}' if why else ''}"[:width]
    for finding, flows in grouped(result.flows):
        yield ""
        yield from _wrapped(f"{finding.status} {', '.join(flows)}", width, "")
        for line in told(finding):
            yield from _wrapped(line, width, "  ")
    if verbose:
        yield from _unseen(result, width)
    if result.notes:
        yield ""
    for note in result.notes:
        yield from _wrapped(f"note: {note}", width, "")


def _unseen(result: PairResult, width: int) -> Iterable[str]:
    seen = dict.fromkeys(one for flow in result.flows for one in flow.unseen)
    if seen:
        yield ""
        yield "not followed to the end:"
        for one in seen:
            yield from _wrapped(one, width, "  ")


def grouped(flows: Iterable[FlowResult]) -> list[tuple[Finding, list[str]]]:
    """Bring the flows with the same finding together, breaks first."""
    found: dict[tuple[str, str, str, str], tuple[Finding, list[str]]] = {}
    for flow in flows:
        for one in flow.findings:
            key = (one.status, one.missing, str(one.used), str(one.guard))
            found.setdefault(key, (one, []))[1].append(flow.flow)
    order = ("breaks", "unknown", "guarded")
    return sorted(found.values(), key=lambda one: order.index(one[0].status))


def missing(finding: Finding) -> str:
    """Say in short what is missing."""
    name, sign, version = finding.missing.partition("<")
    if sign and name == finding.package:
        return f"{finding.subject} is older than {version}"
    if any(sign in finding.missing for sign in "<>=!"):
        return f"the code compares {finding.subject}: {finding.missing}"
    return f"{finding.subject} has no {finding.missing}"


def told(finding: Finding) -> list[str]:
    """Say all of a finding, a line for each part."""
    lines = [missing(finding)]
    lines.append(f"used at {finding.used}")
    if finding.guard is not None:
        lines.append(f"behind {finding.guard}: {finding.guard.text}")
    if finding.exception:
        lines.append(f"{finding.exception}: {finding.messages[-1] if finding.messages[-1] != '…' else finding.message}")
    if finding.history is not None:
        if finding.history.last_before is not None:
            lines.append(f"last seen in {finding.history.last_before}")
        if finding.history.first_after is not None:
            lines.append(f"first seen in {finding.history.first_after}")
    if finding.status == "breaks":
        lines.append(f"known gap: {finding.gap}" if finding.gap else "no known gap is recorded for it")
    elif finding.gap:
        lines.append(f"known gap: {finding.gap}")
    return lines


def said_of(one: Nearest) -> str:
    """Say the closest releases for a flow."""
    title = {"ray": "Ray", "vllm": "vLLM"}[one.package]
    newer = f"{title} {one.newer}" if one.newer else "no newer one"
    older = f"{title} {one.older}" if one.older else "no older one"
    return f"nearest for {one.flow}: {newer}, {older}"


def _overview(cells: Sequence[Cell], width: int) -> Iterable[str]:
    """Make a table with a row for each pair; where the flows do not fit side by side, one below the other."""
    flows = next(([flow.flow for flow in cell.result.flows] for cell in cells if cell.result), [])
    first = max(len(f"{cell.ray}  {cell.vllm}") for cell in cells) + 2
    most = max(1, (width - first) // LEAST_COLUMN)
    for begin in range(0, max(1, len(flows)), most):
        some = slice(begin, begin + most)
        column = max(LEAST_COLUMN, (width - first) // max(1, len(flows[some])))
        for number in range(2 if any(" " in flow for flow in flows[some]) else 1):
            words = [[*flow.split(), ""][number] for flow in flows[some]]
            yield " " * first + "".join(f"{word[: column - 1]:<{column}}" for word in words).rstrip()
        for cell in cells:
            row = f"{cell.ray}  {cell.vllm}"
            if cell.result is not None:
                marks = [MARKS[flow.status] for flow in cell.result.flows[some]]
                yield f"{row:<{first}}{''.join(f'{mark:<{column}}' for mark in marks)}".rstrip()
            elif begin == 0:
                yield from _wrapped(f"{row:<{first}}{UNREADABLE}: {cell.error}", width, "")
    yield "- no obstacle found"


def markdown(cells: Sequence[Cell], near: Sequence[Nearest]) -> str:
    """Write Markdown: a table of the pairs, and what was found for each."""
    flows = next(([flow.flow for flow in cell.result.flows] for cell in cells if cell.result), [])
    lines = [f"| Ray | vLLM |{''.join(f' {flow} |' for flow in flows)}", f"|{' --- |' * (len(flows) + 2)}"]
    for cell in cells:
        states = [flow.status for flow in cell.result.flows] if cell.result else [UNREADABLE] * len(flows)
        lines.append(f"| {cell.ray} | {cell.vllm} |{''.join(f' {one} |' for one in states)}")
    for cell in cells:
        lines += ["", f"## {cell.ray}, {cell.vllm}", ""]
        if cell.result is None:
            lines.append(escaped(f"{UNREADABLE}: {cell.error}"))
            continue
        for finding, named in grouped(cell.result.flows):
            lines.append(f"- **{finding.status}** {', '.join(named)}")
            lines += [f"  - {escaped(line)}" for line in told(finding)]
        lines += [f"- note: {escaped(note)}" for note in cell.result.notes]
    lines += [f"- {escaped(said_of(one))}" for one in near]
    return "\n".join(lines) + "\n"


def escaped(words: str) -> str:
    """Keep what Markdown and HTML would take for their own."""
    for sign, instead in (
        ("&", "&amp;"),
        ("<", "&lt;"),
        (">", "&gt;"),
        ("_", "\\_"),
        ("*", "\\*"),
        ("`", "\\`"),
        ("|", "\\|"),
    ):
        words = words.replace(sign, instead)
    return words


def _wrapped(words: str, width: int, indent: str) -> list[str]:
    return textwrap.wrap(
        words, width, initial_indent=indent, subsequent_indent=f"{indent}  ", break_on_hyphens=False
    ) or [indent]
