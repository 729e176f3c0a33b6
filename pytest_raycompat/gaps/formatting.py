"""Canonical order for gap files: keys as the schema has them, each with the comments above it."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from pytest_raycompat.gaps.reading import parse
from pytest_raycompat.gaps.schema import Conditions, GapFileError, GapKeys, Pair, Workaround

ORDER: dict[str, tuple[str, ...]] = {
    "": GapKeys.__struct_fields__,
    "when": Conditions.__struct_fields__,
    "workaround": Workaround.__struct_fields__,
    "verified": Pair.__struct_fields__,
}
"""The keys of each table, in order; the root's own keys come before every table."""


@dataclass
class Statement:
    """A key and its value, with the comments above."""

    key: tuple[str, ...]
    lines: list[str]


@dataclass
class Table:
    """A header and the statements below it; the root has an empty name and no header."""

    name: tuple[str, ...]
    header: list[str]
    statements: list[Statement] = field(default_factory=list)


def formatted(path: Path, text: str) -> str:
    """Return the text of a gap file in canonical order: what it says stays the same, and so do its comments.

    Raises:
        GapFileError: it is not TOML, or cannot be put into order without changing what it says.
    """
    document = parse(path, text)
    opening, tables, closing = _split(text)
    root, *others = tables
    root.statements.sort(key=lambda one: _rank("", one.key))
    others.sort(key=lambda one: _table_rank(one.name))
    parts = [*([opening] if opening else []), [line for one in root.statements for line in one.lines]]
    for table in others:
        table.statements.sort(key=lambda one, name=table.name: _rank(".".join(name), one.key))  # type: ignore[misc]
        parts.append([*table.header, *(line for one in table.statements for line in one.lines)])
    if closing:
        parts.append(closing)
    result = "\n\n".join("\n".join(lines) for lines in parts if lines) + "\n"
    if _parsed([result]) != document:
        raise GapFileError(path, None, "cannot be put into order without changing what it says; do it by hand")
    return result


def _split(text: str) -> tuple[list[str], list[Table], list[str]]:
    """Cut a document into the comment that opens it, its tables, and the comment that closes it."""
    opening: list[str] = []
    tables = [Table((), [])]
    comments: list[str] = []
    pending: list[str] = []
    for line in text.rstrip().split("\n"):
        pending.append(line)
        if len(pending) == 1 and not line.strip():
            if comments and not tables[0].statements and len(tables) == 1 and not opening:
                opening, comments = comments, []  # set off by a blank line: about the file, not about its first key
            pending = []
        elif len(pending) == 1 and line.lstrip().startswith("#"):
            comments.append(line.strip())
            pending = []
        elif (parsed := _parsed(pending)) is not None:
            whole = [*comments, *_trimmed(pending)]
            if line.lstrip().startswith("[") and len(pending) == 1:
                tables.append(Table(_path(parsed), whole))
            else:
                tables[-1].statements.append(Statement(_path(parsed), whole))
            comments, pending = [], []
    return opening, tables, comments


def _parsed(lines: list[str]) -> dict[str, object] | None:
    """Parse lines that may be the beginning of a value that goes on."""
    try:
        return tomllib.loads("\n".join(lines))
    except tomllib.TOMLDecodeError:
        return None


def _trimmed(lines: list[str]) -> list[str]:
    """Take the blanks at the ends of a statement away, none of which is in a text of several lines."""
    return [line.rstrip() for line in lines] if len(lines) == 1 else lines


def _path(parsed: dict[str, object]) -> tuple[str, ...]:
    """Return the dotted key of a statement or header: ``when.ray``, ``workaround.env``."""
    path = []
    value: object = parsed
    while isinstance(value, dict) and len(value) == 1:
        ((key, value),) = value.items()
        path.append(key)
    return tuple(path)


def _rank(table: str, key: tuple[str, ...]) -> tuple[int, int]:
    """Place a key of a table; where the key is dotted, its second part places it among those with the same first."""
    order = ORDER.get(table, ())
    first = order.index(key[0]) if key and key[0] in order else len(order)
    inner = ORDER.get(key[0], ()) if not table and key else ()
    second = inner.index(key[1]) if len(key) > 1 and key[1] in inner else len(inner)
    return first, second


def _table_rank(name: tuple[str, ...]) -> tuple[int, int]:
    return _rank("", name[:1])[0], len(name)
