"""Reports as one page that needs no network: what a test or a log says goes in as text, never as markup."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from importlib import resources
from typing import Any

import msgspec
from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup, escape

import pytest_raycompat
from pytest_raycompat.compare.comparison import Comparison, count, describe_counts, groups_of
from pytest_raycompat.compare.environments import brief, facts, labels
from pytest_raycompat.compare.rendering import headline, notes, told
from pytest_raycompat.nodeids import own_part
from pytest_raycompat.records import RED
from pytest_raycompat.report.chart import chart_of
from pytest_raycompat.report.document import Report, TestRecord
from pytest_raycompat.report.gaps import is_red, said_of
from pytest_raycompat.report.measured import measured_rows
from pytest_raycompat.report.terminal import ORDER, counts, describe_parameters, group_of

KINDS = {"passed": "ok", "known-gap": "known", "unsupported": "idle", "untested": "idle"} | dict.fromkeys(RED, "bad")
"""The look of a verdict."""
SIGNS = {"passed": "✓", "known-gap": "≈", "unsupported": "○", "untested": "?"} | dict.fromkeys(RED, "✗")
"""What stands before a verdict, so that it is not told by colour alone."""

_BREAKS = re.compile(r"::|[_/=]|[a-z](?=[A-Z])")


def render(reports: Sequence[Report]) -> str:
    """Write reports as a page; several as a matrix of environments."""
    names = labels(reports)
    tests = sorted(
        ((column, record) for column, report in enumerate(reports) for record in report.results),
        key=lambda one: ORDER.index(one[1].verdict),
    )
    records = [record for _, record in tests]
    short = brief(names)
    rows = [_row(number, record, short[column]) for number, (column, record) in enumerate(tests)]
    red = sum(record.verdict in RED for record in records)
    heading = f"{red} of {len(records)} tests are red" if red else "Nothing is red"
    return write_page(
        "report.html",
        title=f"{heading}: {names[0] if len(names) == 1 else 'vLLM on Ray'}",
        heading=heading if records else "No tests",
        environments=[_environment(name, report) for name, report in zip(names, reports, strict=True)],
        totals=_totals([record.verdict for record in records], ORDER),
        changes=_totals([record.change for record in records if record.change is not None], None),
        counts=counts(records) or "none",
        flaky=sum(record.flaky for record in records),
        rows=rows,
        matrix=_matrix(tests, names),
        chart=chart_of(tests, short),
        measured=[
            (name, row) for name, report in zip(short, reports, strict=True) for row in measured_rows(report.results)
        ],
        gaps=[
            {"id": gap.id, "title": gap.title, "said": said_of(gap), "red": is_red(gap), "environment": name}
            for name, report in zip(names, reports, strict=True)
            for gap in report.gaps
        ],
        kinds=KINDS,
        signs=SIGNS,
        data=_script_data(
            [
                {
                    **msgspec.to_builtins(record),
                    "column": column,
                    "environment": names[column] if len(names) > 1 else "",
                    "with": describe_parameters(record),
                    "order": ORDER.index(record.verdict),
                }
                for column, record in tests
            ]
        ),
    )


def render_comparison(comparison: Comparison) -> str:
    """Write a comparison as a page."""
    heading = headline(comparison)
    return write_page(
        "comparison.html",
        title=f"{heading}: {comparison.old} → {comparison.new}",
        heading=heading[:1].upper() + heading[1:],
        comparison=comparison,
        counts=describe_counts(comparison.counts),
        environments=[
            {
                "name": environment.name,
                "counts": describe_counts(count(environment.entries)),
                "notes": notes(environment),
                "groups": groups_of(told(environment.entries)),
                "measurements": environment.measurements,
            }
            for environment in comparison.environments
        ],
    )


def write_page(template: str, **context: Any) -> str:
    """Fill in a template of ours, with our style and script in it."""
    script = _load("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment = Environment(
        loader=FunctionLoader(_load), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["breakable"] = breakable
    return environment.get_template(template).render(
        version=pytest_raycompat.__version__,
        style=Markup(_load("page.css")),
        script=Markup(script),
        script_hash=digest,
        **context,
    )


def breakable(text: str) -> Markup:
    """Escape an identifier, and let lines break between its words."""
    return Markup(_BREAKS.sub(r"\g<0><wbr>", str(escape(text))))


def _load(name: str) -> str:
    return resources.files(__package__).joinpath("templates", name).read_text(encoding="utf-8")


def _script_data(value: Any) -> Markup:
    """Encode data for a ``script`` element, which nothing in it can end."""
    text = msgspec.json.encode(value).decode()
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _environment(name: str, report: Report) -> dict[str, Any]:
    differences = report.baseline.differences if report.baseline else ()
    said = [(title, value) for title, value, _ in facts(report) if value != "none"]
    return {
        "label": name,
        "finished": report.finished,
        "facts": [
            *said,
            *([("cluster is", report.cluster.description)] if report.cluster else []),
            *([("memory", f"{report.machine.memory_gb:g} GiB")] if report.machine else []),
            ("interpreter", report.environment.executable),
            ("began", report.created),
            *([("revision", report.git_revision)] if report.git_revision else []),
            ("pytest-raycompat", report.project_version),
            *([("compared with", report.baseline.path)] if report.baseline else []),
            *([("differs in", "; ".join(differences))] if differences else []),
        ],
    }


def _row(number: int, record: TestRecord, environment: str) -> dict[str, Any]:
    flow = f"{record.flow} {describe_parameters(record)}".strip() if record.flow else ""
    return {
        "number": number,
        "place": record.id[: len(record.id) - len(own_part(record.id))],
        "name": own_part(record.id),
        "verdict": record.verdict,
        "environment": environment,
        "flow": flow,
        "seconds": f"{record.timings.get('total', record.seconds):.1f}",
        "change": record.change,
        "flaky": record.flaky,
    }


def _totals(found: Sequence[str], order: Sequence[str] | None) -> list[tuple[str, int]]:
    return [(name, found.count(name)) for name in (order or sorted(set(found))) if name in found]


def _matrix(tests: Sequence[tuple[int, TestRecord]], names: Sequence[str]) -> list[dict[str, Any]]:
    """Lay out flows as rows and environments as columns; a cell leads to the test that must be seen first.

    ``tests`` are in the order in which they must be seen, so that the first of a cell stands for it. A test that ran no
    flow in one environment is in the row of the flow that it ran in another.
    """
    rows = {record.id: group_of(record) for _, record in tests if record.flow is not None}
    flows = set(rows.values())  # which come first
    found: dict[tuple[str, str], dict[int, list[int]]] = {}
    for number, (column, record) in enumerate(tests):
        row = group_of(record) if record.flow is not None else rows.get(record.id) or group_of(record)
        found.setdefault(row, {}).setdefault(column, []).append(number)
    return [
        {
            "name": name,
            "parameters": parameters,
            "cells": [_cell(tests, columns.get(column, []), label) for column, label in enumerate(names)],
        }
        for (name, parameters), columns in sorted(found.items(), key=lambda row: (row[0] not in flows, row[0]))
    ]


def _cell(tests: Sequence[tuple[int, TestRecord]], numbers: Sequence[int], label: str) -> dict[str, Any]:
    if not numbers:
        return {"verdict": "untested", "href": None, "tests": 0, "label": label}
    verdict = tests[numbers[0]][1].verdict
    return {"verdict": verdict, "href": f"t{numbers[0]}", "tests": len(numbers), "label": label}
