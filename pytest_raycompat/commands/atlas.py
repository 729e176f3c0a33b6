"""``raycompat atlas``: what many runs have shown, on one page."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from pytest_raycompat.commands import CommandError


def add(commands: Any) -> None:
    """Declare the subcommand."""
    atlas = commands.add_parser(
        "atlas",
        help="put the cells of matrices and reports of single runs together into one folder with one page",
        epilog="The folder has the cells, as JSON, index.md and, where jinja2 is installed, index.html. It can be one "
        "of the folders that are read, which adds to it.",
    )
    atlas.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        type=Path,
        help="a folder that 'raycompat matrix' or this command has written, or a JSON report",
    )
    atlas.add_argument("-o", "--output", metavar="DIR", type=Path, required=True, help="where to write")
    atlas.add_argument(
        "--predictions",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help="what was said of each pair before it was run, such as 'raycompat probe --format json' writes; may be "
        "given more than once",
    )
    atlas.add_argument(
        "--first",
        metavar="VLLM",
        help="the vLLM whose tables come first, such as that of the pair that matters to you (default: the newest)",
    )
    atlas.set_defaults(command=run_atlas)


def run_atlas(arguments: argparse.Namespace) -> int:
    """Write an atlas; return 0."""
    from pytest_raycompat.atlas.entries import in_order, read_entries, write_entries
    from pytest_raycompat.atlas.predictions import read_predictions
    from pytest_raycompat.atlas.rendering import markdown, page
    from pytest_raycompat.atlas.view import view
    from pytest_raycompat.files import write_file
    from pytest_raycompat.report.formats import has_jinja2

    output: Path = arguments.output
    if output.is_file():
        raise CommandError(f"-o: {str(output)!r} is a file: write the path of a folder")
    predictions = read_predictions(arguments.predictions)
    entries = read_entries(arguments.paths)
    if arguments.first not in (None, *(entry.cell.vllm for entry in entries)):
        measured = ", ".join(dict.fromkeys(entry.cell.vllm for entry in in_order(entries)))
        raise CommandError(f"--first: no cell has vLLM {arguments.first!r}: write one of {measured}")
    shown = view(entries, predictions, first=arguments.first)
    write_entries(entries, output)
    write_file(output / "index.md", markdown(shown).encode())
    if has_jinja2():
        write_file(output / "index.html", page(shown).encode())
    print(f"atlas: {len(entries)} cells in {output}", file=sys.stderr)
    return 0
