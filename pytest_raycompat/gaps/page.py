"""The gaps as a page of the documentation: docs/reference/known-gaps.md."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_raycompat.gaps.listing import FIXES, describe_conditions, describe_confidence, describe_failure
from pytest_raycompat.gaps.schema import Gap

OPENING = """\
# Known gaps

<!-- Written by `raycompat gaps list --format md`; change the files of the gaps instead. -->

What is recorded not to work, one entry for each [gap file](gap-file.md) that comes with the package. `raycompat gaps
list --ray VERSION --vllm VERSION` picks those that a pair will meet.

"""


def page(gaps: Iterable[Gap]) -> str:
    """Write the page: how many gaps a run has shown, those of each flow, and all there is to know of each."""
    gaps = sorted(gaps, key=lambda gap: gap.id)
    shown = sum(bool(gap.verified) for gap in gaps)
    summary = f"Of {len(gaps)} gaps, {shown} have been shown by a run, and {len(gaps) - shown} have not.\n"
    return OPENING + "\n".join([summary, *_table(gaps), "", *(_entry(gap) for gap in gaps)])


def _table(gaps: Iterable[Gap]) -> list[str]:
    rows = (
        f"| [{gap.id}](#{gap.id}) | {', '.join(gap.flows)} | {_code(describe_conditions(gap.when))} | {_shown(gap)} |"
        for gap in gaps
    )
    return ["| gap | flows | applies to | shown |", "| --- | --- | --- | --- |", *rows]


def _shown(gap: Gap) -> str:
    if gap.verified:
        return "yes"
    return f"no; it needs {_text(gap.needs)}" if gap.needs else "no"


def _entry(gap: Gap) -> str:
    workaround = gap.workaround
    variables = workaround.env.items() if workaround is not None else ()
    facts = [
        ("flows", ", ".join(gap.flows)),
        ("applies to", _code(describe_conditions(gap.when))),
        ("shows as", _code(describe_failure(gap))),
        ("cause", _text(gap.cause or "")),
        ("workaround", _text(workaround.text) if workaround is not None else "none is known"),
        ("variables", ", ".join(_code(f"{name}={value}") for name, value in variables)),
        ("fix", FIXES[gap.fix]),
        ("confidence", describe_confidence(gap)),
        ("needs", _text(gap.needs or "")),
        ("links", ", ".join(f"<{link}>" for link in gap.links)),
    ]
    listed = "\n".join(f"- {name}: {text}" for name, text in facts if text)
    return f"## {gap.id}\n\n{_text(gap.title)}\n\n{listed}\n"


def _code(text: str) -> str:
    """Quote text that Markdown must leave as it is; a bar would end the cell of a table."""
    return f"`{text}`" if "`" not in text else f"`` {text} ``"


def _text(text: str) -> str:
    """Put text on one line, with what Markdown would read as markup escaped."""
    line = " ".join(text.split())
    parts = line.split("`")  # what is quoted already stays as it is
    return "`".join(part if index % 2 else _escaped(part) for index, part in enumerate(parts))


def _escaped(text: str) -> str:
    for mark in ("\\", "*", "_", "[", "]", "<", "|"):
        text = text.replace(mark, f"\\{mark}")
    return text
