"""``raycompat gaps``: list, explain, check, format and draft known gaps."""

from __future__ import annotations

import argparse
import datetime
import difflib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_raycompat.commands import CommandError

if TYPE_CHECKING:
    from pytest_raycompat.gaps import Gap

USAGE_ERROR = 4
OVERLAY_HELP = "further gap files or folders, as for pytest; may be given more than once"


def add(commands: Any) -> None:
    """Declare the subcommand and its own."""
    gaps = commands.add_parser("gaps", help="list, explain, check, format and draft known gaps")
    actions = gaps.add_subparsers(required=True, metavar="ACTION")

    listing = actions.add_parser("list", help="list the gaps, all or those that a pair will meet")
    listing.add_argument("--ray", metavar="VERSION", help="only gaps that this Ray may meet")
    listing.add_argument("--vllm", metavar="VERSION", help="only gaps that this vLLM may meet")
    listing.add_argument("--flow", help="only gaps of this flow")
    listing.add_argument(
        "--executor", choices=("ray-v0", "ray-v1", "ray-v2", "mp", "uni"), help="only gaps of this executor"
    )
    listing.add_argument("--device", choices=("cpu", "cuda"), help="only gaps of this device")
    listing.add_argument("--format", choices=("text", "json", "md"), default="text", help="default: text")
    listing.set_defaults(command=list_gaps)

    explain = actions.add_parser("explain", help="say all there is to know of one gap")
    explain.add_argument("id")
    explain.set_defaults(command=explain_gap)
    for parser in (listing, explain):
        parser.add_argument("--raycompat-gaps", action="append", metavar="PATH", default=[], help=OVERLAY_HELP)

    check = actions.add_parser("lint", help="check gap files: 4 where one cannot be loaded, 1 where a review is due")
    check.set_defaults(command=lint_gaps)
    order = actions.add_parser("format", help="put gap files into canonical order")
    order.add_argument("--check", action="store_true", help="write nothing; 1 where a file is not in order")
    order.set_defaults(command=format_gaps)
    for parser in (check, order):
        parser.add_argument("paths", nargs="*", type=Path, metavar="PATH", help="files or folders; default: our own")

    propose = actions.add_parser("propose", help="draft gap files for the failures of a report that no gap explains")
    propose.add_argument("report", type=Path, metavar="REPORT.json")
    propose.set_defaults(command=propose_gaps)


def list_gaps(arguments: argparse.Namespace) -> int:
    """List the gaps that pass the filter."""
    from pytest_raycompat.gaps.listing import Filter, as_data, listed
    from pytest_raycompat.gaps.page import page

    asked = Filter(arguments.ray, arguments.vllm, arguments.flow, arguments.executor, arguments.device)
    loaded = load(arguments)
    flows = sorted({flow for gap in loaded for flow in gap.flows})
    if asked.flow is not None and asked.flow not in known_flows(flows):
        raise CommandError(f"--flow: {asked.flow!r} is not a flow: write one of {', '.join(known_flows(flows))}")
    gaps = [gap for gap in loaded if asked.admits(gap)]
    if arguments.format == "json":
        print(json.dumps([as_data(gap) for gap in gaps], indent=2))
        return 0
    if arguments.format == "md":
        print(page(gaps), end="")
        return 0
    print("\n".join([*listed(gaps), f"{len(gaps)} of {len(loaded)} gaps"]))
    return 0


def known_flows(recorded: list[str]) -> list[str]:
    """List the flows that may be asked about: those there are, and those that a gap names."""
    from pytest_raycompat.flows.registry import FLOWS

    return sorted({*FLOWS, *recorded})


def explain_gap(arguments: argparse.Namespace) -> int:
    """Explain one gap."""
    from pytest_raycompat.gaps.listing import explained

    gaps = {gap.id: gap for gap in load(arguments)}
    if arguments.id not in gaps:
        near = difflib.get_close_matches(arguments.id, gaps, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(sorted(gaps))}"
        raise CommandError(f"{arguments.id!r} is not a gap: {hint}")
    print("\n".join(explained(gaps[arguments.id])))
    return 0


def load(arguments: argparse.Namespace) -> tuple[Gap, ...]:
    """Load the gaps that a run with the same options would."""
    from pytest_raycompat.gaps import known_gaps

    return known_gaps((Path(path) for path in arguments.raycompat_gaps), Path.cwd())


def lint_gaps(arguments: argparse.Namespace) -> int:
    """Check gap files; return 4 where one cannot be loaded, else 1 where something is due, else 0."""
    from pytest_raycompat.gaps import BUILTIN_FOLDER
    from pytest_raycompat.gaps.lint import lint
    from pytest_raycompat.gaps.loading import gap_files

    paths = arguments.paths or [BUILTIN_FOLDER]
    findings = lint(paths, datetime.date.today())
    for finding in findings:
        print(f"{finding.problem}{'' if finding.fatal else ' (due)'}")
    count = len(gap_files(paths))
    print(f"{len(findings)} problems in {count} {'file' if count == 1 else 'files'}", file=sys.stderr)
    if any(finding.fatal for finding in findings):
        return USAGE_ERROR
    return 1 if findings else 0


def format_gaps(arguments: argparse.Namespace) -> int:
    """Put gap files into canonical order; with ``--check`` only say which are not, and return 1."""
    from pytest_raycompat.gaps import BUILTIN_FOLDER
    from pytest_raycompat.gaps.formatting import formatted
    from pytest_raycompat.gaps.loading import gap_files
    from pytest_raycompat.gaps.reading import read_text

    changed = []
    for file in gap_files(arguments.paths or [BUILTIN_FOLDER]):
        text = read_text(file)
        result = formatted(file, text)
        if result != text:
            changed.append(file)
            print(f"{file}: {'not in order' if arguments.check else 'put in order'}")
            if not arguments.check:
                replace_text(file, result)
    return 1 if changed and arguments.check else 0


def replace_text(path: Path, text: str) -> None:
    """Write a file whole or not at all, with the permissions that it had."""
    from pytest_raycompat.files import write_file

    try:
        write_file(path, text.encode(), mode=path.stat().st_mode & 0o7777)
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from error


def propose_gaps(arguments: argparse.Namespace) -> int:
    """Print a draft for each unexplained failure of a report."""
    from pytest_raycompat.gaps.drafts import drafts
    from pytest_raycompat.report.document import read_reports

    found = drafts(read_reports(arguments.report))
    for name, text in found:
        print(f"# {name}: a draft. Complete it, check it with `raycompat gaps lint`, and have it reviewed.\n{text}")
    print(f"{len(found)} failures that no gap explains", file=sys.stderr)
    return 0
