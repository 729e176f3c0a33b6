"""Sphinx settings. The documentation is Markdown, read through MyST."""

import sys
from pathlib import Path
from typing import Any

from pytest_raycompat import __version__

sys.path.append(str(Path(__file__).parents[1]))  # last, so that the package that is installed is documented

from docs import report_pages

project = "pytest-raycompat"
release = __version__
extensions = ["myst_parser"]
exclude_patterns = ["_build"]
myst_heading_anchors = 2
html_theme = "furo"
html_title = f"{project} {release}"


def setup(app: Any) -> None:
    """Link to the HTML pages of the reports, and write them."""
    app.connect("source-read", link_to_pages)
    app.connect("build-finished", write_pages)


def link_to_pages(app: Any, name: str, source: list[str]) -> None:
    """Put the links into the page of the reports."""
    if name == "reports/index" and app.builder.format == "html":
        source[0] = report_pages.with_links(source[0])


def write_pages(app: Any, problem: Exception | None) -> None:
    """Write the pages beside the one that links to them."""
    if problem is None and app.builder.format == "html":
        report_pages.write_html(Path(app.outdir, "reports"))
