"""What a report says of a gap that is closed or has changed."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from pytest_raycompat.gaps.matching import Comparison
from pytest_raycompat.gaps.narrowing import line_of_condition, narrow
from pytest_raycompat.gaps.schema import Gap
from pytest_raycompat.records import Environment

KEY_WIDTH = 7
CELL_WIDTH = 31
"""So that a row has 74 columns, and 78 where a summary indents it."""
MOST_LINES = 6


def describe_pair(environment: Environment) -> str:
    """Name what was tested together."""
    return f"Ray {environment.ray} with vLLM {environment.vllm}"


def side_by_side(compared: Iterable[Comparison]) -> list[str]:
    """Lay out what a gap records beside what was found; what differs is marked with ``!``."""
    lines = [f"  {'':<{KEY_WIDTH}}  {'recorded':<{CELL_WIDTH}}  found"]
    for one in compared:
        left, right = _wrapped(one.recorded), _wrapped(one.found)
        for number in range(max(len(left), len(right))):
            key = one.key if number == 0 else ""
            mark = "!" if number == 0 and not one.agrees else " "
            recorded = left[number] if number < len(left) else ""
            found = right[number] if number < len(right) else ""
            lines.append(f"{mark} {key:<{KEY_WIDTH}}  {recorded:<{CELL_WIDTH}}  {found}".rstrip())
    return lines


def what_to_write(gap: Gap, environment: Environment) -> str:
    """Say how to change the file of ``gap``, which is recorded for ``environment`` although it passed there."""
    narrowing = narrow(gap, environment)
    if narrowing is not None:
        place = f"{gap.file}:{line_of_condition(gap, narrowing.package)}"
        now = f"now {narrowing.package} = {quoted(narrowing.before)}" if narrowing.before else "there is none now"
        lines = [f"write {narrowing.package} = {quoted(narrowing.after)} in {place} ({now}), or remove the file"]
    elif any((pair.ray, pair.vllm) == (environment.ray, environment.vllm) for pair in gap.verified):
        lines = [
            f"it was shown on this very pair: see what else has changed, then remove the pair from `verified` in "
            f"{gap.place}, or write intermittent = true if it comes and goes"
        ]
    else:
        lines = [f"no version would be left: remove the file {gap.place}"]
    if gap.when.decisive_lacks:
        lines.append(
            f"this Ray lacks {' or '.join(gap.when.decisive_lacks)} (`lacks`), and the flow does not need it any more"
        )
    return "\n".join(lines)


def quoted(text: str) -> str:
    """Write text as TOML does."""
    return f'"{text}"'


def _wrapped(text: str) -> list[str]:
    lines = [part for line in text.splitlines() or [""] for part in _cut(line)]
    return lines if len(lines) <= MOST_LINES else [*lines[: MOST_LINES - 1], "…"]


def _cut(line: str) -> list[str]:
    """Cut a line to the width of a cell: at blanks, and names that are longer after a dot where they have one."""
    lines: list[str] = []
    for part in textwrap.wrap(line, CELL_WIDTH, break_long_words=False, break_on_hyphens=False) or [""]:
        while len(part) > CELL_WIDTH:
            end = part.rfind(".", 0, CELL_WIDTH) + 1 or CELL_WIDTH
            lines.append(part[:end])
            part = part[end:]
        lines.append(part)
    return lines
