"""Reports as files of any format that there is, by their suffix."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_raycompat.files import check_output, write_file

if TYPE_CHECKING:
    from pytest_raycompat.report.document import Report


FORMATS = (".json", ".md", ".html")
"""Suffixes of reports."""
NEEDS_JINJA2 = "needs jinja2: pip install 'pytest-raycompat[report]'"


def check_format(path: Path, option: str) -> None:
    """Make sure before anything runs that a report can be written to ``path``.

    Raises:
        ValueError: it cannot; names the option, what is wrong and what would be right.
    """
    written = f"{option}: {str(path)!r}"
    if path.suffix not in FORMATS:
        raise ValueError(f"{written} has no known format: write a path that ends in .json, .md or .html")
    check_output(path, option)
    if path.suffix == ".html" and not has_jinja2():
        raise ValueError(
            f"{written} {NEEDS_JINJA2}, or write a .json report here and the page elsewhere with raycompat report"
        )


def has_jinja2() -> bool:
    """Whether pages can be written here."""
    return importlib.util.find_spec("jinja2") is not None


def write_as(path: Path, reports: Sequence[Report]) -> None:
    """Write reports to ``path``, whole or not at all, in the format that its suffix names; see :func:`check_format`."""
    from pytest_raycompat.report.document import ReportSet, write_report

    if path.suffix == ".json":
        write_report(path, reports[0] if len(reports) == 1 else ReportSet(reports=tuple(reports)))
    elif path.suffix == ".md":
        from pytest_raycompat.report import markdown

        write_file(path, markdown.render(reports).encode())
    else:
        from pytest_raycompat.report import page

        write_file(path, page.render(reports).encode())
