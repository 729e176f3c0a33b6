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
    from pytest_raycompat.bisection.finding import Finding
    from pytest_raycompat.bisection.judging import Judge
    from pytest_raycompat.environments.candidates import Candidate
    from pytest_raycompat.environments.dating import Releases
    from pytest_raycompat.environments.recipe import Package
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
    bisect.add_argument("tests", nargs="+", metavar="TEST", help="what to run, as for pytest")
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
    from pytest_raycompat.matrix.cells import CellStore, Request
    from pytest_raycompat.processes.running import Interrupted, interruptible

    gaps = known_gaps(tuple(Path(path) for path in arguments.raycompat_gaps))
    words = (*arguments.tests, *arguments.parameters, *(f"--raycompat-gaps={one}" for one in arguments.raycompat_gaps))
    output = (arguments.output or FOLDER / folder_name(words)).resolve()
    store = CellStore(output)
    try:
        with store.open(Request(arguments=words, device=arguments.device)), interruptible():
            finding = search(arguments, words, store)
    except Interrupted as interrupt:
        print(f"interrupted: what was measured is kept in {output}; the same command goes on", file=sys.stderr)
        return 128 + interrupt.number
    print("\n".join([*describe(finding), *edits(finding, gaps)]))
    return 0 if finding.monotonic else 1


def search(arguments: argparse.Namespace, words: tuple[str, ...], store: Any) -> Finding:
    """Search the releases between the two that were named."""
    from pytest_raycompat.bisection.history import read_history, target_of
    from pytest_raycompat.bisection.judging import SuiteJudge
    from pytest_raycompat.bisection.running import bisect
    from pytest_raycompat.environments import recipe

    index = open_index()
    target = target_of(arguments.python)
    package = cast("Package", arguments.package)
    other = read_other(arguments, index, target)
    distribution = recipe.distribution(package, arguments.device)
    history = read_history(index, distribution, (arguments.good, arguments.bad), target)
    for version, reason in history.left_out:
        say(f"left out: {distribution} {version} ({reason})")
    say(f"{len(history.versions)} releases of {distribution}, {history.versions[0]} to {history.versions[-1]}; {other}")
    judge: Judge = SuiteJudge(
        package, other, arguments.device, store, make_measurer(arguments, store, words, say), Steps().watch
    )
    bad = str(index.release(distribution, arguments.bad).version)
    return bisect(package, history, bad, judge, say, confirm=arguments.confirm)


def read_other(arguments: argparse.Namespace, index: Releases, target: Target) -> Candidate:
    """Read what is paired with each version.

    Raises:
        CommandError: it is said to be what is searched.
    """
    from pytest_raycompat.bisection.history import newest
    from pytest_raycompat.environments import recipe
    from pytest_raycompat.environments.candidates import CandidateError, read_candidate

    other: Package = "vllm" if arguments.package == "ray" else "ray"
    if getattr(arguments, arguments.package) is not None:
        raise CommandError(f"--{arguments.package}: its releases are searched; name the other with --{other}")
    text = getattr(arguments, other)
    if text is None:
        distribution = recipe.distribution(other, arguments.device)
        text = newest(index.releases(distribution), distribution, target)
    try:
        return read_candidate(other, text, arguments.device, FOLDER.resolve() / "wheels")
    except CandidateError as error:
        raise CommandError(f"--{other}: {error}") from error


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
