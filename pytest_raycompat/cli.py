"""The command ``raycompat``: a flow without pytest."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from pytest_raycompat import options
from pytest_raycompat.cluster.protocol import ClusterError
from pytest_raycompat.environment import EnvironmentProblem
from pytest_raycompat.flows.registry import FLOWS, find_flow
from pytest_raycompat.flows.runs import NeedsNotMet
from pytest_raycompat.gaps import BUILTIN_FOLDER, GapFileError, load_gaps
from pytest_raycompat.judgement import judge_flow
from pytest_raycompat.records import GREEN, FlowResult
from pytest_raycompat.session import Session
from pytest_raycompat.settings import Settings, SettingsError

USAGE_ERROR = 4
"""As pytest's own."""


class Console:
    """Shows each phase on standard error."""

    def __init__(self) -> None:
        self._said: tuple[str, str] | None = None

    def show(self, title: str, phase: str, seconds: float, left: float) -> None:
        """Say that ``title`` has come to ``phase``."""
        if self._said != (title, phase):
            self._said = (title, phase)
            print(f"{title}: {phase} (deadline in {left:.0f} s)", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Let the next flow be said anew."""
        self._said = None


class Parser(argparse.ArgumentParser):
    """Ends with pytest's own exit status where the command line is wrong."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong."""
        self.exit(USAGE_ERROR, f"{self.format_usage()}{self.prog}: {message}\n")


def build_parser() -> argparse.ArgumentParser:
    """Declare the command line."""
    parser = Parser(prog="raycompat", description="Real vLLM-on-Ray flows, without pytest.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser(
        "run",
        help="run one flow and say how it ended",
        epilog=f"flows: {', '.join(FLOWS)}; their options follow after --",
    )
    run.add_argument("flow", help="name of a flow, or a module of your own")
    for option, metavar, help_text in options.TEXTS:
        run.add_argument(option, dest=options.name_of(option), metavar=metavar, help=help_text)
    run.add_argument("--raycompat-gaps", action="append", metavar="PATH", default=[], help=options.GAPS_HELP)
    run.set_defaults(command=run_flow)
    return parser


def read_parameters(words: Sequence[str]) -> dict[str, Any]:
    """Turn a flow's options into its parameters: ``--tensor-parallel-size 2`` is ``tensor_parallel_size=2``.

    Raises:
        SettingsError: a word is neither an option nor the value of one.
    """
    parameters: dict[str, Any] = {}
    left = list(words)
    while left:
        option, equals, value = left.pop(0).partition("=")
        if not option.startswith("--"):
            raise SettingsError(f"{option!r} is not an option of the flow: write --name value")
        if not equals and left and not left[0].startswith("--"):
            equals, value = "=", left.pop(0)
        parameters[option[2:].replace("-", "_")] = read_value(value) if equals else True
    return parameters


def read_value(text: str) -> Any:
    """Read a whole number as one; everything else stays text."""
    return int(text) if text.isascii() and text.isdigit() else text


def run_flow(arguments: argparse.Namespace) -> int:
    """Run one flow; return 0 where its verdict is green, else 1."""
    find_flow(arguments.flow)  # before anything is started
    settings = Settings.read(
        root=Path.cwd(),
        cluster=arguments.ray_cluster or "local",
        python=arguments.raycompat_python,
        device=arguments.raycompat_device,
        deadline=arguments.raycompat_deadline,
        gaps=tuple(Path(path) for path in arguments.raycompat_gaps),
    )
    parameters = read_parameters(arguments.parameters)
    session = Session(settings, load_gaps([BUILTIN_FOLDER, *settings.gaps]), Console())
    try:
        print(session.headline(), file=sys.stderr)
        result = session.flows.run(arguments.flow, parameters)
        judgement = judge_flow(result, session.gaps, session.environment)
    finally:
        session.close()
    print_result(result)
    print(f"{judgement.verdict}{': ' if judgement.reason else ''}{judgement.reason}")
    return 0 if judgement.verdict in GREEN else 1


def print_result(result: FlowResult) -> None:
    """Print what there is to see of a result."""
    for completion in result.outputs.get("completions", []):
        print(json.dumps(completion["text"]))
    for name, value in result.evidence.items():
        print(f"{name}: {json.dumps(value)}")
    print("seconds: " + ", ".join(f"{phase} {seconds:.1f}" for phase, seconds in result.timings.items()))
    print("\n".join(f"log: {log}" for log in result.logs))


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    words = sys.argv[1:] if words is None else list(words)
    end = words.index("--") if "--" in words else len(words)
    arguments = build_parser().parse_args(words[:end])
    arguments.parameters = words[end + 1 :]
    try:
        return int(arguments.command(arguments))
    except (SettingsError, GapFileError, EnvironmentProblem, NeedsNotMet, ClusterError, ValueError) as error:
        print(f"raycompat: {error}", file=sys.stderr)
        return USAGE_ERROR


if __name__ == "__main__":
    sys.exit(main())
