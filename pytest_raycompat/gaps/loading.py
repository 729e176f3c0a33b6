"""Gap files in, gaps out; whatever is wrong with a file is an error that names the file and the line."""

from __future__ import annotations

import builtins
import re
import tomllib
import typing
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from pytest_raycompat.gaps.schema import Conditions, Gap, GapFileError, GapKeys, Pair, Workaround
from pytest_raycompat.versions import parse_specifier

BUILTIN_FOLDER = Path(__file__).parent / "data"
"""The gaps that this package records."""

KeyPath: TypeAlias = tuple[str | int, ...]
"""Where a value is in a TOML document: ``("when", "ray")``, ``("verified", 0, "vllm")``."""

_TABLES: dict[str, type[msgspec.Struct]] = {"when": Conditions, "workaround": Workaround, "verified": Pair}
_KEBAB_CASE = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
# Ray names the classes that it derives at run time RayTaskError(ValueError)
_QUALIFIED_NAME = re.compile(r"[^\W\d]\w*(\.([^\W\d]\w*|<locals>))*(\(\w+\))?")
_UNRELATED_MESSAGE = "zq 7: (x) y"
"""Has nothing of any real message, so only a pattern without words of its own (``.+``, ``\\w``) matches it."""


def builtin_gaps() -> tuple[Gap, ...]:
    """Load the gaps that this package records.

    Raises:
        GapFileError: a file of the package is damaged.
    """
    return load_gaps([BUILTIN_FOLDER])


def load_gaps(paths: Iterable[Path]) -> tuple[Gap, ...]:
    """Load gap files, and the ``*.toml`` of folders in the order of their names; a file that comes twice counts once.

    Raises:
        GapFileError: a path is missing, a folder holds no gap file, a file is wrong, or two files have one id.
    """
    gaps: dict[str, Gap] = {}
    seen: set[Path] = set()
    for path in paths:
        for file in _gap_files(path):
            if file.resolve() in seen:
                continue
            seen.add(file.resolve())
            gap = load_gap_file(file)
            if gap.id in gaps:
                other = gaps[gap.id]
                raise GapFileError(file, gap.line, f"id: {gap.id!r} is recorded in {other.path}:{other.line} too")
            gaps[gap.id] = gap
    return tuple(gaps.values())


def load_gap_file(path: Path) -> Gap:
    """Load one gap.

    Raises:
        GapFileError: the file cannot be read, is not TOML, or does not hold a gap.
    """
    text = _read(path)
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(path, text, error) from error
    try:
        keys = msgspec.convert(document, GapKeys, strict=True)
    except msgspec.ValidationError as error:
        where, problem = _explain(str(error), document)
        raise GapFileError(path, line_of(text, where), problem) from error
    first = next(_problems(keys, path.stem), None)
    if first is not None:
        where, problem = first
        raise GapFileError(path, line_of(text, where), f"{'.'.join(map(str, where))}: {problem}")
    return Gap(
        **{field: getattr(keys, field) for field in keys.__struct_fields__}, path=path, line=line_of(text, ("id",))
    )


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


def _gap_files(path: Path) -> list[Path]:
    if not path.exists():
        raise GapFileError(path, None, "there is no such file or folder")
    if not path.is_dir():
        return [path]
    files = sorted(path.glob("*.toml"))
    if not files:
        raise GapFileError(path, None, "the folder has no *.toml in it")
    return files


def _read(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise GapFileError(path, None, f"cannot be read: {error.strerror}") from error
    try:
        return content.decode().replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise GapFileError(path, line, f"not TOML: byte {content[error.start]:#04x} is not UTF-8") from error


def _syntax_error(path: Path, text: str, error: tomllib.TOMLDecodeError) -> GapFileError:
    problem, _, place = str(error).partition(" (at ")  # then "line 3, column 5)" or "end of document)"
    line = re.match(r"line (\d+)", place)
    return GapFileError(path, int(line[1]) if line else len(text.rstrip("\n").split("\n")), f"not TOML: {problem}")


def _explain(message: str, document: dict[str, Any]) -> tuple[KeyPath, str]:
    """Turn msgspec's message, such as "Expected `str`, got `int` - at `$.when.ray`", into a key path and a problem."""
    problem, _, place = message.partition(" - at ")
    where: list[str | int] = []
    value: Any = document
    for name, index in re.findall(r"\.(\w+)|\[(\d+|\.\.\.)\]", place):
        if index == "...":  # msgspec does not say which; all our free tables hold text
            part = next(key for key, one in value.items() if not isinstance(one, str))
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


def _problems(keys: GapKeys, stem: str) -> Iterator[tuple[KeyPath, str]]:
    """What is wrong that the types do not say."""
    if not _KEBAB_CASE.fullmatch(keys.id):
        yield ("id",), f"{keys.id!r} is not kebab-case, such as 'cgraph-version-guard'"
    if keys.id != stem:
        yield ("id",), f"{keys.id!r} differs from the name of the file, {stem!r}"
    if not keys.flows:
        yield ("flows",), "empty; name at least one flow"
    if keys.when == Conditions():
        yield ("when",), f"empty; give at least one of {', '.join(Conditions.__struct_fields__)}"
    for package in ("ray", "vllm", "torch", "python"):
        specifier = getattr(keys.when, package)
        if specifier is not None:
            yield from _specifier_problems(("when", package), specifier)
    if keys.raises is None and keys.outcome == "error":
        yield ("outcome",), "an 'error' needs the key 'raises', the exception that it shows as"
    if keys.raises is not None:
        yield from _raises_problems(keys.raises)
    if keys.message is not None:
        yield from _message_problems(keys.message)
    if not keys.links:
        yield ("links",), "empty; name at least one place that documents the gap"
    for link in keys.links:
        if not link.startswith("https://"):
            yield ("links",), f"{link!r} does not start with https://"


def _specifier_problems(where: KeyPath, specifier: str) -> Iterator[tuple[KeyPath, str]]:
    try:
        parse_specifier(specifier)
    except ValueError as error:
        yield where, str(error)


def _raises_problems(name: str) -> Iterator[tuple[KeyPath, str]]:
    if not _QUALIFIED_NAME.fullmatch(name):
        yield ("raises",), f"{name!r} is not the name of an exception, such as 'ray.exceptions.RayTaskError'"
    elif name.startswith("builtins."):
        yield ("raises",), f"write builtins without their module: {name.removeprefix('builtins.')!r}"
    elif "." not in name and not _is_builtin_exception(name):
        yield ("raises",), f"{name!r} is not a builtin exception; write its qualified name, with the module"


def _is_builtin_exception(name: str) -> bool:
    value = getattr(builtins, name, None)
    return isinstance(value, type) and issubclass(value, BaseException)


def _message_problems(pattern: str) -> Iterator[tuple[KeyPath, str]]:
    try:
        expression = re.compile(pattern)
    except re.error as error:
        yield ("message",), f"{pattern!r} is not a regular expression: {error}"
        return
    if expression.search("") or expression.search(_UNRELATED_MESSAGE):
        yield ("message",), f"{pattern!r} matches unrelated messages too; quote a part of the message that is its own"
