"""The JSON Schema of the report, made from the structs that are the report.

``python -m pytest_raycompat.report.schema`` writes it anew; a test fails where that was forgotten.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from pytest_raycompat.report.document import SCHEMA_VERSION, Report, ReportSet

PATH = Path(__file__).with_name("report.schema.json")
TITLE = f"Report of pytest-raycompat, schema version {SCHEMA_VERSION}"


def build() -> dict[str, Any]:
    """Make the schema. Unknown fields are allowed: a later version may add some without a new schema version."""
    (report, several), components = msgspec.json.schema_components((Report, ReportSet), ref_template="#/$defs/{name}")
    for name in ("Report", "ReportSet"):
        definition = components[name]
        definition["properties"]["schema_version"] = {"const": SCHEMA_VERSION}
        definition["required"] = ["schema_version", *definition.get("required", [])]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": TITLE,
        "if": {"required": ["reports"]},
        "then": several,
        "else": report,
        "$defs": dict(sorted(components.items())),
    }


def text() -> str:
    """Return the schema as it is shipped."""
    return json.dumps(build(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8")
