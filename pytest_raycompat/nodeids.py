"""What pytest's node ids tell of tests."""

from __future__ import annotations


def sharing(nodeid: str) -> str:
    """Name what a test shares results with: its class or module, and its parameters."""
    path, bracket, parameters = nodeid.partition("[")  # which may hold anything
    scope = path.rpartition("::")[0]
    return f"{scope or path}{bracket}{parameters}"


def own_part(nodeid: str) -> str:
    """Return the name of a test with its parameters, without its file and class."""
    path, bracket, parameters = nodeid.partition("[")
    return f"{path.rpartition('::')[2]}{bracket}{parameters}"


def name_of(nodeid: str) -> str:
    """Return the name of a test without its file, class and parameters."""
    return own_part(nodeid).partition("[")[0]
