"""The subcommands of ``raycompat``, one module each, which :mod:`pytest_raycompat.cli` lists.

A module has ``add(commands)``, which declares its parser there and sets ``command`` to a function that takes the parsed
arguments and returns an exit status. It imports what it needs inside that function, so that no subcommand pays for
another one. What is wrong with a user's input is raised as a :class:`CommandError` or another ``ValueError``: it is
printed as one line, and the exit status is 4.
"""

from __future__ import annotations


class CommandError(ValueError):
    """What was asked for cannot be done; says why, and what would be right."""
