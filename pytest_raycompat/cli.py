"""The command ``raycompat``: its subcommands are modules of :mod:`pytest_raycompat.commands`."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

USAGE_ERROR = 4
"""As pytest's own."""

COMMANDS = ("run", "probe", "gaps", "diff", "report", "matrix", "bisect", "atlas", "pack")
"""Modules of :mod:`pytest_raycompat.commands`, in the order in which ``raycompat --help`` shows them."""


class Parser(argparse.ArgumentParser):
    """Ends with pytest's own exit status where the command line is wrong."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong."""
        self.exit(USAGE_ERROR, f"{self.format_usage()}{self.prog}: {message}\n")


def build_parser() -> argparse.ArgumentParser:
    """Declare the command line."""
    parser = Parser(
        prog="raycompat", description="What works of vLLM on Ray, and what is known not to, without pytest."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name in COMMANDS:
        importlib.import_module(f"pytest_raycompat.commands.{name}").add(commands)
    return parser


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    words = sys.argv[1:] if words is None else list(words)
    end = words.index("--") if "--" in words else len(words)
    parser = build_parser()
    arguments = parser.parse_args(words[:end])
    if "parameters" in arguments:  # a command that takes what follows after -- sets a default
        arguments.parameters = words[end + 1 :]
    elif end < len(words):
        parser.error("'--' goes with the commands run, matrix and bisect only")
    try:
        status = int(arguments.command(arguments))
        sys.stdout.flush()
    except ValueError as error:
        print(f"raycompat: {error}", file=sys.stderr)
        return USAGE_ERROR
    except BrokenPipeError:  # the reader, such as head, has what it wants
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # a file that cannot be read or written; status 1 would say that something is worse
        print(f"raycompat: {f'{error.filename}: ' if error.filename else ''}{error.strerror or error}", file=sys.stderr)
        return USAGE_ERROR
    return status


if __name__ == "__main__":
    sys.exit(main())
