"""``raycompat report``: reports merged, checked, and turned into other formats."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def add(commands: Any) -> None:
    """Declare the subcommand."""
    report = commands.add_parser(
        "report",
        help="merge reports of several environments, shards or runs, and write them as JSON, Markdown or a page",
        epilog="Without -o the verdicts are printed.",
    )
    report.add_argument("reports", nargs="+", metavar="REPORT", type=Path, help="a JSON report, or a folder of them")
    report.add_argument(
        "-o",
        "--output",
        dest="outputs",
        metavar="PATH",
        type=Path,
        action="append",
        default=[],
        help="where to write; the suffix is .json, .md or .html; may be given more than once",
    )
    report.set_defaults(command=run_report)


def run_report(arguments: argparse.Namespace) -> int:
    """Merge the reports and write them; return 0."""
    from pytest_raycompat.compare.merge import merge, read_sources, reports_of
    from pytest_raycompat.report.formats import check_format, write_as

    for path in arguments.outputs:
        check_format(path, "-o")
    reports = reports_of(merge(read_sources(arguments.reports)))
    for path in arguments.outputs:
        write_as(path, reports)
        print(f"report: {path}", file=sys.stderr)
    if not arguments.outputs:
        print_reports(reports)
    return 0


def print_reports(reports: Sequence[Any]) -> None:
    """Print the verdict table of each environment."""
    import shutil

    from pytest_raycompat.compare.environments import labels
    from pytest_raycompat.report import terminal

    width, indent = shutil.get_terminal_size((120, 24)).columns, "  "
    for name, report in zip(labels(reports), reports, strict=True):
        print(f"{name}{'' if report.finished else ' (the run did not finish)'}")
        for line, _ in terminal.table(report.results, width - len(indent)) if report.results else ():
            print(f"{indent}{line}".rstrip())
        print(f"{indent}verdicts: {terminal.counts(report.results) or 'none'}")
