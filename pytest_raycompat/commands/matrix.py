"""``raycompat matrix``: pairs of Ray and vLLM, measured for real."""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_raycompat.commands import CommandError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_raycompat.environments.dating import Calendar
    from pytest_raycompat.environments.ordering import Pair
    from pytest_raycompat.matrix.cells import CellStore
    from pytest_raycompat.matrix.measuring import Measurer
    from pytest_raycompat.matrix.shards import Shard

FOLDER = Path(".raycompat/matrix")
KEEP = 2
"""Environments have about 4 GB each, of which uv's cache shares most."""


def add(commands: Any) -> None:
    """Declare the subcommand."""
    matrix = commands.add_parser(
        "matrix",
        help="build the environment of each pair of Ray and vLLM, run the suites in it, and merge the reports",
        epilog="What follows after -- goes to pytest; default: all suites. Exit status: 0 every pair was measured and "
        "nothing is red, 1 something is, 4 a usage error, 128 and the signal where it was interrupted: the same "
        "command then goes on.",
    )
    matrix.add_argument(
        "--ray",
        required=True,
        action="append",
        metavar="V[,V…]",
        help="releases of Ray, or paths of wheels or folders; may be given more than once",
    )
    matrix.add_argument(
        "--vllm",
        required=True,
        action="append",
        metavar="V[,V…]",
        help="the same of vLLM; 'none' for pairs without it, for suites that need Ray alone",
    )
    add_building_options(matrix, "raycompat matrix")
    matrix.add_argument(
        "--output", type=Path, default=FOLDER, metavar="DIR", help=f"where cells and reports go; default: {FOLDER}"
    )
    matrix.add_argument("--shard", default="1/1", metavar="I/N", help="measure only this part of the pairs")
    matrix.add_argument("--retry", action="store_true", help="measure again the pairs that have no verdicts")
    matrix.add_argument("--dry-run", action="store_true", help="say what is left to measure, and end")
    matrix.set_defaults(command=run_matrix, parameters=())


def add_building_options(parser: Any, command: str) -> None:
    """Declare what commands that build environments have in common."""
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="what flows run on; default: cpu")
    parser.add_argument(
        "--python",
        default=sys.executable,
        metavar="X.Y",
        help=f"of the environments, a version or the path of an interpreter; default: the one of {command}",
    )
    parser.add_argument(
        "--keep",
        type=int,
        default=KEEP,
        metavar="N",
        help=f"keep the newest N environments and delete the others that raycompat made; default: {KEEP}",
    )
    parser.add_argument("--environments", type=Path, metavar="DIR", help="where environments are kept")


def run_matrix(arguments: argparse.Namespace) -> int:
    """Measure what is left; return 0 where nothing is red."""
    from pytest_raycompat.matrix.cells import CellStore, Request
    from pytest_raycompat.matrix.measuring import default_arguments
    from pytest_raycompat.matrix.shards import read_shard
    from pytest_raycompat.processes.running import Interrupted, interruptible
    from pytest_raycompat.releases.target import target_of

    python = target_of(arguments.python).version
    shard = read_shard(arguments.shard)
    words = tuple(arguments.parameters) or default_arguments(Path.cwd())
    store = CellStore(arguments.output.resolve())
    request = Request(arguments=words, device=arguments.device, python=python)
    with tempfile.TemporaryDirectory(prefix="raycompat-matrix-") as scratch:
        pairs = read_pairs(arguments, shard, Path(scratch))
        if arguments.dry_run:
            store.check(request)
            return tell_pending(pairs, store, retry=arguments.retry)
        try:
            with store.open(request), interruptible():
                return measure(arguments, pairs, store, words)
        except Interrupted as interrupt:
            print(
                f"interrupted: what is measured is kept in {arguments.output}; the same command goes on",
                file=sys.stderr,
            )
            return 128 + interrupt.number


def read_pairs(arguments: argparse.Namespace, shard: Shard, scratch: Path) -> list[Pair]:
    """Read which pairs this machine measures."""
    from pytest_raycompat.environments.candidates import read_candidates
    from pytest_raycompat.matrix.running import pairs_of

    rays = read_candidates("ray", arguments.ray, arguments.device, scratch)
    vllms = read_candidates("vllm", arguments.vllm, arguments.device, scratch)
    return shard.of(pairs_of(rays, vllms, arguments.device))


def tell_pending(pairs: list[Pair], store: CellStore, *, retry: bool) -> int:
    """Print what is left."""
    from pytest_raycompat.matrix.running import pending

    left = pending(pairs, store, retry=retry)
    for pair in left:
        print(pair)
    print(f"{len(left)} of {len(pairs)} pairs left")
    return 0


def make_measurer(
    arguments: argparse.Namespace, store: CellStore, words: tuple[str, ...], say: Callable[[str], None]
) -> Measurer:
    """Put together what measures a pair.

    Raises:
        CommandError: an option is wrong, or uv is missing.
    """
    from pytest_raycompat.environments.ordering import Orders
    from pytest_raycompat.environments.store import EnvironmentStore, default_folder
    from pytest_raycompat.matrix.measuring import Measurer
    from pytest_raycompat.packing.resolver import ResolverError, find_uv

    if arguments.keep < 1:
        raise CommandError(f"--keep: {arguments.keep} is not a number of environments: write 1 or more")
    try:
        find_uv("matrix")
    except ResolverError as error:
        raise CommandError(str(error)) from error
    folder = (arguments.environments or default_folder()).expanduser().resolve()
    return Measurer(
        cells=store,
        environments=EnvironmentStore(folder, keep=arguments.keep, tell=say),
        orders=Orders.read(arguments.python, arguments.device),
        calendar=make_calendar(arguments.device, say),
        arguments=words,
    )


def make_calendar(device: str, say: Callable[[str], None]) -> Calendar:
    """Set up what looks up when releases came; without the client of the package index it knows nothing."""
    from pytest_raycompat.environments.dating import Calendar

    try:
        from pytest_raycompat.releases.index import Index

        return Calendar(Index(warn=say), device)
    except ImportError:
        say(
            "note: everything is resolved as of today: the dates of releases need httpx, "
            "which comes with pip install 'pytest-raycompat[matrix]'"
        )
        return Calendar(None, device)


def measure(arguments: argparse.Namespace, pairs: list[Pair], store: CellStore, words: tuple[str, ...]) -> int:
    """Measure pairs, and write and print what came out."""
    from pytest_raycompat.markers import plural
    from pytest_raycompat.matrix.progress import Progress
    from pytest_raycompat.matrix.running import merged, pending, run_pairs, summary, write_merged

    left = pending(pairs, store, retry=arguments.retry)
    progress = Progress(sys.stderr, len(left))
    measurer = make_measurer(arguments, store, words, progress.say)
    done = len(pairs) - len(left)
    progress.say(
        f"{plural(len(pairs), 'pair')}{f', {done} measured before' if done else ''}; pytest {shlex.join(words)}"
    )
    outcome = run_pairs(pairs, store, measurer, progress, retry=arguments.retry)
    measurer.environments.prune(arguments.keep)
    print("\n".join(summary(outcome, store)))
    for path in write_merged(merged(outcome.cells, store), store.folder):
        print(f"report: {path}", file=sys.stderr)
    return 1 if outcome.red else 0
