"""``raycompat run``: a flow without pytest."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_raycompat import options
from pytest_raycompat.commands import CommandError
from pytest_raycompat.flows.registry import FLOWS, find_flow
from pytest_raycompat.records import GREEN, FlowResult

if TYPE_CHECKING:
    from pytest_raycompat.judgement import Judgement
    from pytest_raycompat.settings import Settings


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


def add(commands: Any) -> None:
    """Declare the subcommand."""
    run = commands.add_parser(
        "run",
        help="run one flow and say how it ended",
        epilog=f"flows: {', '.join(FLOWS)}; their options follow after --",
    )
    run.add_argument("flow", help="name of a flow, or a module of your own")
    helps = {"--ray-cluster": f"the Ray cluster that the flow runs on (default: local): off, {options.CLUSTERS}"}
    for option, metavar, help_text in options.FLOW_TEXTS:
        run.add_argument(option, dest=options.name_of(option), metavar=metavar, help=helps.get(option, help_text))
    run.add_argument("--raycompat-gaps", action="append", metavar="PATH", default=[], help=options.GAPS_HELP)
    run.set_defaults(command=run_flow, parameters=())


def read_parameters(words: Sequence[str]) -> dict[str, Any]:
    """Turn a flow's options into its parameters: ``--tensor-parallel-size 2`` is ``tensor_parallel_size=2``.

    Raises:
        CommandError: a word is neither an option nor the value of one.
    """
    parameters: dict[str, Any] = {}
    left = list(words)
    while left:
        option, equals, value = left.pop(0).partition("=")
        if not option.startswith("--"):
            raise CommandError(f"{option!r} is not an option of the flow: write --name value")
        if not equals and left and not left[0].startswith("--"):
            equals, value = "=", left.pop(0)
        parameters[option[2:].replace("-", "_")] = read_value(value) if equals else True
    return parameters


def read_value(text: str) -> Any:
    """Read a whole number as one; everything else stays text."""
    return int(text) if text.isascii() and text.isdigit() else text


def run_flow(arguments: argparse.Namespace) -> int:
    """Run one flow; return 0 where its verdict is green, else 1.

    Raises:
        CommandError: it cannot be run here; says why.
    """
    from pytest_raycompat.cluster.observation import ObserverError
    from pytest_raycompat.cluster.protocol import ClusterError
    from pytest_raycompat.environment import EnvironmentProblem
    from pytest_raycompat.flows.needs import NeedsNotMet
    from pytest_raycompat.lease import LeaseError
    from pytest_raycompat.settings import Settings

    find_flow(arguments.flow)  # before anything is started
    settings = Settings.read(
        root=Path.cwd(),
        cluster=arguments.ray_cluster or "local",
        python=arguments.raycompat_python,
        device=arguments.raycompat_device,
        deadline=arguments.raycompat_deadline,
        gaps=tuple(Path(path) for path in arguments.raycompat_gaps),
    )
    try:
        result, judgement = run_and_judge(settings, arguments.flow, read_parameters(arguments.parameters))
    except (ClusterError, EnvironmentProblem, LeaseError, NeedsNotMet, ObserverError) as error:
        raise CommandError(str(error)) from error
    print_result(result)
    print(f"{judgement.verdict}{': ' if judgement.reason else ''}{judgement.reason}")
    return 0 if judgement.verdict in GREEN else 1


def run_and_judge(settings: Settings, flow: str, parameters: dict[str, Any]) -> tuple[FlowResult, Judgement]:
    """Run a flow in a session of its own."""
    from pytest_raycompat.gaps import known_gaps
    from pytest_raycompat.session import Session

    session = Session(settings, known_gaps(settings.gaps, Path.cwd()), Console())
    try:
        print(session.headline(), file=sys.stderr)
        result = session.flows.run(flow, parameters)
        return result, session.judge.flow(result)
    finally:
        session.close()


def print_result(result: FlowResult) -> None:
    """Print what there is to see of a result."""
    for completion in result.outputs.get("completions", []):
        print(json.dumps(completion["text"]))
    for name, value in result.evidence.items():
        print(f"{name}: {json.dumps(value)}")
    print("seconds: " + ", ".join(f"{phase} {seconds:.1f}" for phase, seconds in result.timings.items()))
    print("\n".join(f"log: {log}" for log in result.logs))
