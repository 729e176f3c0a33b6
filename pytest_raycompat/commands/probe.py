"""``raycompat probe``: what the sources of a Ray and a vLLM say about the two together."""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_raycompat.commands import CommandError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_raycompat.probe.findings import FlowResult
    from pytest_raycompat.probe.nearest import Nearest
    from pytest_raycompat.probe.programs import Program
    from pytest_raycompat.probe.rendering import Cell
    from pytest_raycompat.probe.session import Session
    from pytest_raycompat.probe.subjects import Subject
    from pytest_raycompat.releases import Release

PACKAGES = ("ray", "vllm")
NARROW, WIDE = 80, 120


def add(commands: Any) -> None:
    """Declare the subcommand."""
    probe = commands.add_parser(
        "probe",
        help="say from the sources alone what keeps a Ray and a vLLM from fitting together",
        description="Reads the sources of a Ray and a vLLM, and runs neither. It never says that a flow works.",
        epilog="Exit status: 0 no flow breaks, 1 one does or a pair cannot be read, 4 nothing can be said.",
    )
    for package in PACKAGES:
        probe.add_argument(
            f"--{package}",
            action="append",
            default=[],
            metavar="WHAT",
            help="a version, a specifier such as '>=2.44,<2.50' for all releases in it, a wheel, or a folder; "
            "may be given more than once; default: that of --raycompat-python",
        )
    probe.add_argument("--raycompat-python", metavar="PATH", help="take what this interpreter has installed")
    probe.add_argument("--python", metavar="X.Y", help="the Python whose wheels are read; default: this one's")
    probe.add_argument("--flow", action="append", metavar="FLOW", help="only this flow; may be given more than once")
    probe.add_argument("--nearest", choices=PACKAGES, help="look for the closest release of this without obstacles")
    probe.add_argument(
        "--raycompat-gaps", action="append", metavar="PATH", default=[], help="further gap files or folders"
    )
    probe.add_argument("--format", choices=("text", "json", "md"), default="text", help="default: text")
    probe.add_argument("-o", "--output", metavar="PATH", type=Path, help="where to write; default: standard output")
    probe.add_argument("--refresh", action="store_true", help="ask the index anew which releases there are")
    probe.add_argument(
        "-v", "--verbose", action="store_true", help="list the names that could not be followed to the end"
    )
    probe.set_defaults(command=run_probe)


def run_probe(arguments: argparse.Namespace) -> int:
    """Probe the pairs that are asked for; return 1 where a flow breaks."""
    from pytest_raycompat.files import check_output, write_file
    from pytest_raycompat.gaps import known_gaps
    from pytest_raycompat.probe.session import Session
    from pytest_raycompat.releases import ReleaseError

    if arguments.output is not None:
        check_output(arguments.output, "-o")
    programs = chosen(arguments.flow)
    gaps = known_gaps(Path(path) for path in arguments.raycompat_gaps)
    with Session(python=arguments.python, gaps=gaps, refresh=arguments.refresh, warn=warn) as session:
        try:
            asked = {package: named(session, arguments, package) for package in PACKAGES}
        except ModuleNotFoundError as error:
            raise CommandError(str(error)) from error
        several = any(len(one) > 1 for one in asked.values())
        if several and arguments.nearest:
            raise CommandError("--nearest goes with one pair: give --ray and --vllm once")
        cells = [
            probed(session, ray, vllm, programs, alone=not several) for ray in asked["ray"] for vllm in asked["vllm"]
        ]
        if all(cell.result is None for cell in cells):
            raise ReleaseError("; ".join(dict.fromkeys(cell.error or "" for cell in cells)))
        near = closest(session, cells[0], asked, arguments.nearest, programs) if arguments.nearest else []
    content = rendered(cells, near, arguments)
    if arguments.output is None:
        sys.stdout.write(content)
    else:
        write_file(arguments.output, content.encode())
        print(f"probe: {arguments.output}", file=sys.stderr)
    return 1 if any(breaks(cell) for cell in cells) else 0


def warn(text: str) -> None:
    """Say something beside the result."""
    print(f"raycompat: {text}", file=sys.stderr)


def chosen(flows: list[str] | None, option: str = "--flow") -> Sequence[Program]:
    """Return the flows to walk: those that are named, with an executor or without.

    Raises:
        CommandError: there is no such flow.
    """
    from pytest_raycompat.probe.programs import PROGRAMS

    if not flows:
        return PROGRAMS
    known = dict.fromkeys(name for program in PROGRAMS for name in (program.flow, program.name))
    for flow in flows:
        if flow not in known:
            raise CommandError(f"{option}: {flow!r} is not a flow: write one of {', '.join(map(repr, known))}")
    return tuple(program for program in PROGRAMS if program.flow in flows or program.name in flows)


def named(session: Session, arguments: argparse.Namespace, package: str) -> list[str | Subject]:
    """List what is asked for of a package: releases of a specifier one by one.

    Raises:
        CommandError: it is neither named nor installed.
        ReleaseError: no release is in a specifier, or the index cannot be asked.
    """
    found: list[str | Subject] = []
    for text in getattr(arguments, package):
        is_specifier = re.match(r"\s*[<>=!~]", text) is not None
        found += releases_in(session, package, text) if is_specifier else [text]
    if found:
        return found
    if arguments.raycompat_python is None:
        raise CommandError(f"which {package}? Give --{package} (a version, a wheel, a folder), or --raycompat-python")
    installed = session.installed(arguments.raycompat_python)
    if package not in installed:
        raise CommandError(f"--raycompat-python: {arguments.raycompat_python} has no {package}: give --{package}")
    return [installed[package]]


def releases_in(session: Session, package: str, specifier: str) -> list[str | Subject]:
    """List the versions of final releases that a specifier admits.

    Raises:
        CommandError: there is none.
    """
    from pytest_raycompat.probe.session import candidates
    from pytest_raycompat.versions import parse_specifier

    admitted = parse_specifier(specifier)
    target = session.opener.target
    releases = [one for one in candidates(session.index.releases(package), target) if admitted.contains(one.parsed)]
    if not releases:
        raise CommandError(f"--{package}: no release with a wheel for {target} is in {specifier!r}")
    return [one.version for one in releases]


def probed(
    session: Session, ray: str | Subject, vllm: str | Subject, programs: Sequence[Program], *, alone: bool
) -> Cell:
    """Probe one pair; one that cannot be read is a cell that says why, and the others go on."""
    from pytest_raycompat.probe.rendering import Cell
    from pytest_raycompat.releases import ReleaseError

    shown = {package: label(package, what) for package, what in (("ray", ray), ("vllm", vllm))}
    try:
        subjects = {package: opened(session, package, what) for package, what in (("ray", ray), ("vllm", vllm))}
        result = session.pair(subjects["ray"], subjects["vllm"], programs)
        if alone:
            result = session.with_history(result, subjects)
    except ReleaseError as error:
        return Cell(shown["ray"], shown["vllm"], error=str(error))
    except ModuleNotFoundError as error:  # griffe or httpx is missing; the message says how to get it
        raise CommandError(str(error)) from error
    return Cell(result.ray, result.vllm, result)


def opened(session: Session, package: str, what: str | Subject) -> Subject:
    """Open what is named, where it is not open."""
    return session.subject(package, what) if isinstance(what, str) else what


def label(package: str, what: str | Subject) -> str:
    """Name a subject before it is opened."""
    return f"{'Ray' if package == 'ray' else 'vLLM'} {what}" if isinstance(what, str) else what.label


def closest(
    session: Session,
    cell: Cell,
    asked: dict[str, list[str | Subject]],
    package: str,
    programs: Sequence[Program],
) -> list[Nearest]:
    """Look for the closest releases for the flows that an obstacle is in the way of.

    Raises:
        CommandError: the version to start from is not known.
    """
    from pytest_raycompat.probe.nearest import nearest
    from pytest_raycompat.probe.session import candidates
    from pytest_raycompat.releases import ReleaseError

    subjects = {one: opened(session, one, asked[one][0]) for one in PACKAGES}
    version = subjects[package].version
    if version is None:
        raise CommandError(f"--nearest: {subjects[package].label}: the sources do not say its version")
    # which executors there are is vLLM's matter alone
    wanting = ("breaks", "unknown", "absent") if package == "vllm" else ("breaks", "unknown")
    blocked = {flow.flow for flow in cell.result.flows if flow.status in wanting} if cell.result else set()

    def probe_release(release: Release, wanted: Sequence[Program]) -> Sequence[FlowResult]:
        try:
            other = session.subject(package, release.version)
            return session.pair(**{**subjects, package: other}, programs=wanted).flows
        except ReleaseError as error:
            warn(str(error))
            return ()

    releases = candidates(session.index.releases(package), session.opener.target)
    return nearest(package, version, releases, [one for one in programs if one.name in blocked], probe_release)


def rendered(cells: list[Cell], near: list[Nearest], arguments: argparse.Namespace) -> str:
    """Write the result in the format that is asked for."""
    from pytest_raycompat.probe import rendering

    if arguments.format == "json":
        return rendering.json_text(cells, near)
    if arguments.format == "md":
        return rendering.markdown(cells, near)
    columns = shutil.get_terminal_size((NARROW, 24)).columns
    return rendering.text(cells, near, WIDE if columns >= WIDE else NARROW, verbose=arguments.verbose)


def breaks(cell: Cell) -> bool:
    """Tell whether a flow breaks, or nothing could be said."""
    return cell.result is None or any(flow.status == "breaks" for flow in cell.result.flows)
