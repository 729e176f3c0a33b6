"""``raycompat bisect``: the release where a verdict changes."""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pytest_raycompat.commands import CommandError
from pytest_raycompat.commands.matrix import add_building_options, make_measurer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_raycompat.bisection.finding import Finding
    from pytest_raycompat.bisection.judging import Judge
    from pytest_raycompat.environments.candidates import Candidate
    from pytest_raycompat.environments.dating import Releases
    from pytest_raycompat.environments.recipe import Package
    from pytest_raycompat.gaps import Gap
    from pytest_raycompat.releases.target import Target

FOLDER = Path(".raycompat/bisect")


def add(commands: Any) -> None:
    """Declare the subcommand."""
    bisect = commands.add_parser(
        "bisect",
        help="find the release of Ray or vLLM where a verdict changes",
        epilog="What follows after -- goes to pytest too. Exit status: 0 the release was found, 1 the history changes "
        "more than once, 4 a usage error, 128 and the signal where it was interrupted: the same command then goes on.",
    )
    bisect.add_argument("tests", nargs="*", metavar="TEST", help="what to run, as for pytest")
    bisect.add_argument(
        "--probe",
        metavar="FLOW",
        help="run nothing: search what 'raycompat probe' says of this flow, such as 'generate ray-v1'",
    )
    bisect.add_argument("--package", required=True, choices=("ray", "vllm"), help="what to search the releases of")
    bisect.add_argument("--good", required=True, metavar="V", help="a release on which the tests pass")
    bisect.add_argument("--bad", required=True, metavar="V", help="a release on which one fails; older or newer")
    bisect.add_argument("--ray", metavar="V", help="the Ray of every pair, where vLLM is searched; default: the newest")
    bisect.add_argument(
        "--vllm",
        metavar="V",
        help="the vLLM of every pair, where Ray is searched; default: the newest. 'none' for tests that need Ray alone",
    )
    bisect.add_argument(
        "--confirm",
        type=int,
        default=2,
        metavar="N",
        help="judge N releases more than it takes, to see whether the history changes more than once; default: 2",
    )
    add_building_options(bisect, "raycompat bisect")
    bisect.add_argument(
        "--raycompat-gaps", action="append", metavar="PATH", default=[], help="further gap files or folders"
    )
    bisect.add_argument("--output", type=Path, metavar="DIR", help=f"where runs go; default: a folder in {FOLDER}")
    bisect.set_defaults(command=run_bisect, parameters=())


def run_bisect(arguments: argparse.Namespace) -> int:
    """Search; return 0 where one change was found, and 1 where there are several."""
    from pytest_raycompat.bisection.finding import describe, edits
    from pytest_raycompat.gaps import known_gaps

    if bool(arguments.tests) == (arguments.probe is not None):
        raise CommandError("name what to run, or --probe FLOW to run nothing: one of the two")
    gaps = known_gaps(tuple(Path(path) for path in arguments.raycompat_gaps))
    finding = search_sources(arguments, gaps) if arguments.probe is not None else search_runs(arguments)
    if isinstance(finding, int):
        return finding
    print("\n".join([*describe(finding), *edits(finding, gaps)]))
    return 0 if finding.monotonic else 1


def search_runs(arguments: argparse.Namespace) -> Finding | int:
    """Search by running tests; return an exit status where it was interrupted."""
    from pytest_raycompat.bisection.judging import SuiteJudge
    from pytest_raycompat.environments import recipe
    from pytest_raycompat.matrix.cells import CellStore, Request
    from pytest_raycompat.processes.running import Interrupted, interruptible
    from pytest_raycompat.releases.target import target_of

    words = (*arguments.tests, *arguments.parameters, *(f"--raycompat-gaps={one}" for one in arguments.raycompat_gaps))
    output = (arguments.output or FOLDER / folder_name(words)).resolve()
    store = CellStore(output)
    index = open_index()
    target = target_of(arguments.python)
    package = cast("Package", arguments.package)
    other = read_other(arguments, index, target)
    try:
        with store.open(Request(arguments=words, device=arguments.device, python=target.version)), interruptible():
            measurer = make_measurer(arguments, store, words, say)
            judge = SuiteJudge(package, other, arguments.device, store, measurer, Steps().watch)
            distribution = recipe.distribution(package, arguments.device)
            return search(arguments, index, distribution, target, judge, str(other))
    except Interrupted as interrupt:
        print(f"interrupted: what was measured is kept in {output}; the same command goes on", file=sys.stderr)
        return 128 + interrupt.number


def search_sources(arguments: argparse.Namespace, gaps: Sequence[Gap]) -> Finding:
    """Search by reading the sources of both.

    Raises:
        CommandError: what reads them is not installed, or there is no such flow.
    """
    from pytest_raycompat.bisection.judging import SourceJudge
    from pytest_raycompat.commands.probe import chosen
    from pytest_raycompat.releases.target import target_of

    target = target_of(arguments.python)
    package = cast("Package", arguments.package)
    other: Package = "vllm" if package == "ray" else "ray"
    try:
        from pytest_raycompat.bisection.reading import SourceReader
        from pytest_raycompat.probe.session import Session

        with Session(python=target.version, gaps=gaps, warn=say) as session:
            reader = SourceReader(session, chosen([arguments.probe], "--probe"))
            version = other_version(arguments, session.index, other, other, target)
            judge = SourceJudge(package, version, reader)
            named = f"{'Ray' if other == 'ray' else 'vLLM'} {version}, read and not run"
            return search(arguments, session.index, package, target, judge, named)
    except ModuleNotFoundError as error:
        raise CommandError(f"{error}: pip install 'pytest-raycompat[probe]'") from error


def search(
    arguments: argparse.Namespace, index: Releases, distribution: str, target: Target, judge: Judge, beside: str
) -> Finding:
    """Search the releases between the two that were named."""
    from pytest_raycompat.bisection.history import read_history
    from pytest_raycompat.bisection.running import bisect

    history = read_history(index, distribution, (arguments.good, arguments.bad), target)
    for version, reason in history.left_out:
        say(f"left out: {distribution} {version} ({reason})")
    first, last = history.versions[0], history.versions[-1]
    say(f"{len(history.versions)} releases of {distribution}, {first} to {last}; {beside}")
    bad = index.release(distribution, arguments.bad).version
    return bisect(cast("Package", arguments.package), history, bad, judge, say, confirm=arguments.confirm)


def read_other(arguments: argparse.Namespace, index: Releases, target: Target) -> Candidate:
    """Read what is paired with each version.

    Raises:
        CommandError: it is said to be what is searched, or is nothing that can be built.
    """
    from pytest_raycompat.environments import recipe
    from pytest_raycompat.environments.candidates import CandidateError, read_candidate

    other: Package = "vllm" if arguments.package == "ray" else "ray"
    text = other_version(arguments, index, other, recipe.distribution(other, arguments.device), target)
    try:
        return read_candidate(other, text, arguments.device, FOLDER.resolve() / "wheels")
    except CandidateError as error:
        raise CommandError(f"--{other}: {error}") from error


def other_version(
    arguments: argparse.Namespace, index: Releases, other: Package, distribution: str, target: Target
) -> str:
    """Return what is paired with each version, as it is named, or the newest release.

    Raises:
        CommandError: it is said to be what is searched.
    """
    from pytest_raycompat.bisection.history import newest

    if getattr(arguments, arguments.package) is not None:
        raise CommandError(f"--{arguments.package}: its releases are searched; name the other with --{other}")
    named: str | None = getattr(arguments, other)
    return named if named is not None else newest(index.releases(distribution), distribution, target)


def open_index() -> Releases:
    """Set up the client of the package index.

    Raises:
        CommandError: it is not installed.
    """
    try:
        from pytest_raycompat.releases.index import Index

        return Index(warn=say)
    except ImportError as error:
        raise CommandError("the package index is asked with httpx: pip install 'pytest-raycompat[matrix]'") from error


def folder_name(words: tuple[str, ...]) -> str:
    """Name the folder of a search by what is run, so that another one has another."""
    digest = hashlib.sha256("\0".join(words).encode()).hexdigest()[:8]
    return f"{re.sub(r'[^A-Za-z0-9_]+', '-', words[0]).strip('-')[-60:]}-{digest}"


def say(text: str) -> None:
    """Say what goes on."""
    print(text, file=sys.stderr, flush=True)


class Steps:
    """Says what the step that is under way has come to, once."""

    def __init__(self) -> None:
        self._said = ""

    def watch(self, phase: str) -> None:
        """The step has come to ``phase``."""
        if phase != self._said:
            self._said = phase
            if sys.stderr.isatty():
                print(f"  {phase} …", file=sys.stderr, flush=True)
