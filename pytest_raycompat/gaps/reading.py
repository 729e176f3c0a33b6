"""A gap file as text: reading it, and finding the line that a problem is on."""

from __future__ import annotations

import re
import tomllib
import typing
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from pytest_raycompat.gaps.schema import Conditions, GapFileError, GapKeys, Pair, Workaround

KeyPath: TypeAlias = tuple[str | int, ...]
"""Where a value is in a TOML document: ``("when", "ray")``, ``("verified", 0, "vllm")``."""

_TABLES: dict[str, type[msgspec.Struct]] = {"when": Conditions, "workaround": Workaround, "verified": Pair}


def line_of(text: str, where: KeyPath) -> int:
    """Find the line on which a key of a TOML document begins, or that of the nearest table around it.

    It is where the text up to there first has the key: so a key in a comment or in a string is not taken for one.
    """
    lines = text.split("\n")
    first = 1
    for last in range(1, len(lines) + 1):
        try:
            document = tomllib.loads("\n".join(lines[:last]))
        except tomllib.TOMLDecodeError:
            continue  # in the middle of a value that has several lines
        if _holds(document, where):
            return first
        first = last + 1
    return line_of(text, where[:-1])  # ends: every document holds the empty path


def _holds(value: Any, where: KeyPath) -> bool:
    try:
        for part in where:
            value = value[part]
    except (KeyError, IndexError):
        return False
    return True


def read_text(path: Path) -> str:
    """Read a file as UTF-8, with the line ends of Unix.

    Raises:
        GapFileError: it cannot be read, or is not UTF-8.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise GapFileError(path, None, f"cannot be read: {error.strerror}") from error
    try:
        return content.decode().replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise GapFileError(path, line, f"not TOML: byte {content[error.start]:#04x} is not UTF-8") from error


def parse(path: Path, text: str) -> dict[str, Any]:
    """Parse TOML.

    Raises:
        GapFileError: it is not TOML, or beyond what can be read.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(path, text, error) from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets in brackets
        problem = "nested too deeply" if isinstance(error, RecursionError) else str(error).partition(";")[0]
        raise GapFileError(path, _breaking_line(text), f"not readable: {problem}") from error


def decode(path: Path, text: str) -> GapKeys:
    """Read a gap's keys.

    Raises:
        GapFileError: it is not TOML, or a key is missing, unknown or of another type.
    """
    document = parse(path, text)
    try:
        return msgspec.convert(document, GapKeys, strict=True)
    except msgspec.ValidationError as error:
        where, problem = _explain(str(error), document)
        raise GapFileError(path, line_of(text, where), problem) from error


def _syntax_error(path: Path, text: str, error: tomllib.TOMLDecodeError) -> GapFileError:
    problem, _, place = str(error).partition(" (at ")  # then "line 3, column 5)" or "end of document)"
    line = re.match(r"line (\d+)", place)
    return GapFileError(path, int(line[1]) if line else len(text.rstrip("\n").split("\n")), f"not TOML: {problem}")


def _breaking_line(text: str) -> int:
    lines = text.split("\n")
    for last in range(1, len(lines)):
        try:
            tomllib.loads("\n".join(lines[:last]))
        except tomllib.TOMLDecodeError:
            continue
        except (ValueError, RecursionError):
            return last
    return len(lines)


def _explain(message: str, document: dict[str, Any]) -> tuple[KeyPath, str]:
    """Turn msgspec's message, such as "Expected `str`, got `int` - at `$.when.ray`", into a key path and a problem."""
    problem, _, place = message.partition(" - at ")
    where: list[str | int] = []
    value: Any = document
    for name, index in re.findall(r"\.(\w+)|\[(\d+|\.\.\.)\]", place):
        if index == "...":  # msgspec does not say which
            hint = typing.get_type_hints(_TABLES[str(where[0])])[str(where[-1])]
            part = next(key for key, one in value.items() if not isinstance(one, typing.get_args(hint)[1]))
        else:
            part = name or int(index)
        where.append(part)
        value = value[part]
    name = ".".join(str(part) for part in where)
    struct = _TABLES[str(where[0])] if where and where[0] in _TABLES else GapKeys

    field = re.search(r"field `(.*)`", problem)
    if field:
        key = field[1]
        if problem.startswith("Object missing"):
            return tuple(where), f"the key {'.'.join(filter(None, (name, key)))!r} is missing"
        table = f" in {name}" if name else ""
        known = ", ".join(struct.__struct_fields__)
        return (*where, key), f"unknown key {key!r}{table}; the keys are {known}"
    if problem.startswith("Invalid enum value"):
        hint = typing.get_type_hints(struct)[str(where[-1])]
        return tuple(where), f"{name}: {value!r} is not one of {', '.join(_choices(hint))}"
    in_toml = problem.replace(" | null", "").replace("`object`", "`table`")
    return tuple(where), f"{name}: {in_toml[:1].lower()}{in_toml[1:]}"


def _choices(hint: Any) -> list[str]:
    if isinstance(hint, str):
        return [hint]
    return [choice for argument in typing.get_args(hint) for choice in _choices(argument)]
