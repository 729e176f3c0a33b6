"""``raycompat diff``: what got worse from one report to another."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_raycompat.commands import CommandError

if TYPE_CHECKING:
    from pytest_raycompat.compare.comparison import Comparison

FORMATS = ("text", "md", "html", "json", "github")


def add(commands: Any) -> None:
    """Declare the subcommand."""
    diff = commands.add_parser(
        "diff",
        help="say what got worse from one report to another",
        epilog="Exit status: 0 nothing is worse, 1 something is, 4 the reports cannot be compared.",
    )
    diff.add_argument(
        "old",
        metavar="OLD",
        type=Path,
        help="the JSON report before, or a folder of them: repeated runs or shards, which are merged",
    )
    diff.add_argument("new", metavar="NEW", type=Path, help="the same of now")
    diff.add_argument(
        "--format",
        choices=FORMATS,
        default="text",
        help="text (default), md, html, json, or github: annotations on standard output, and Markdown appended to "
        "$GITHUB_STEP_SUMMARY",
    )
    diff.add_argument("-o", "--output", metavar="PATH", type=Path, help="where to write; default: standard output")
    diff.add_argument("--fail-on-vanished", action="store_true", help="a test that passed and is gone is worse")
    diff.set_defaults(command=run_diff)


def run_diff(arguments: argparse.Namespace) -> int:
    """Compare two reports; return 1 where anything is worse, else 0."""
    from pytest_raycompat.compare.comparison import compare
    from pytest_raycompat.compare.merge import read_side
    from pytest_raycompat.files import check_output, write_file
    from pytest_raycompat.report.formats import NEEDS_JINJA2, has_jinja2

    if arguments.output is not None:
        check_output(arguments.output, "-o")
    if arguments.format == "html" and not has_jinja2():
        raise CommandError(f"--format=html {NEEDS_JINJA2}, or choose --format=md")
    comparison = compare(
        read_side(arguments.old),
        read_side(arguments.new),
        names=(str(arguments.old), str(arguments.new)),
        vanished_is_worse=arguments.fail_on_vanished,
    )
    content = render(comparison, arguments.format)
    if arguments.output is not None:
        write_file(arguments.output, content.encode())
        print(f"diff: {arguments.output}", file=sys.stderr)
    else:
        sys.stdout.write(content)
    if arguments.format == "github":
        from pytest_raycompat.compare import rendering
        from pytest_raycompat.report import github

        github.append_summary(rendering.markdown(comparison))
    return 1 if comparison.worse else 0


def render(comparison: Comparison, chosen: str) -> str:
    """Write a comparison in one of :data:`FORMATS`."""
    from pytest_raycompat.compare import rendering

    if chosen == "json":
        return rendering.json_text(comparison)
    if chosen == "md":
        return rendering.markdown(comparison)
    if chosen == "html":
        from pytest_raycompat.report import page

        return page.render_comparison(comparison)
    if chosen == "github":
        from pytest_raycompat.report import github

        lines = github.commands(rendering.annotations_of(comparison), Path(os.environ.get("GITHUB_WORKSPACE", ".")))
        return "".join(f"{line}\n" for line in lines)
    return rendering.text(comparison)
