"""Why a file is not a report: says what it is instead, as far as that can be told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

OTHER_TOOLS: tuple[tuple[frozenset[str], str], ...] = (
    (frozenset({"exitcode", "tests"}), "pytest-json-report"),
    (frozenset({"machine_info", "benchmarks"}), "pytest-benchmark"),
    (frozenset({"$report_type"}), "pytest-reportlog"),
    (frozenset({"meta", "files", "totals"}), "coverage.py"),
)
"""Keys by which JSON files of other tools are told, from what these tools write."""


def why_no_json(content: bytes, error: Exception) -> str:
    """Say why ``content`` is not JSON."""
    if not content.strip():
        return "the file is empty; a report is a JSON object"
    if content.lstrip().startswith(b"<"):
        return "not JSON but XML or HTML; give the .json report"
    if b'"$report_type"' in content[:200]:
        return "not JSON but JSON lines, as pytest-reportlog writes; a report is one JSON object"
    if isinstance(error, RecursionError):
        return "not a report: brackets in brackets, too deep to read"
    if isinstance(error, UnicodeDecodeError):
        return f"not JSON: it is not UTF-8: {error.reason}"
    if "truncated" in str(error):
        return f"truncated: the JSON ends after {len(content)} bytes in the middle of a value"
    return f"not JSON: {error}"


def why_no_report(raw: object) -> str | None:
    """Say why a JSON value is not a report at all; None where it may be one."""
    if not isinstance(raw, dict):
        names = {list: "array", str: "string", int: "number", float: "number", bool: "boolean", type(None): "null"}
        return f"it holds a JSON {names[type(raw)]}, not an object"
    if "schema_version" in raw:
        return None
    other = next((name for keys, name in OTHER_TOOLS if keys <= raw.keys()), None)
    return f"it looks like one of {other}" if other else "it has no schema_version"


def why_other_schema(raw: Mapping[str, Any], expected: int) -> str | None:
    """Say that a report is of another schema version; None where it is not."""
    version = raw["schema_version"]
    if version == expected and not isinstance(version, bool):
        return None
    said = f"schema_version is {version!r}, this version of pytest-raycompat reads {expected}"
    if isinstance(version, int) and version > expected:
        return f"{said}: it was written by pytest-raycompat {raw.get('project_version', 'of a later version')}; update"
    return said


def why_ambiguous(identifiers: Iterable[str], place: str) -> str | None:
    """Say that two results have the same id; None where all differ. ``place`` is where the results are."""
    seen: dict[str, int] = {}
    for number, identifier in enumerate(identifiers):
        first = seen.setdefault(identifier, number)
        if first != number:
            return (
                f"{place}results[{number}].id {identifier!r} is that of {place}results[{first}] too; "
                "a test has one result"
            )
    return None
