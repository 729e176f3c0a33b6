"""What GitHub Actions shows of a run: annotations on lines of files, and the summary of a job."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

MOST_ANNOTATIONS = 10
"""GitHub shows ten errors of a step and drops the rest unsaid."""


@dataclass(frozen=True)
class Annotation:
    """A test to see at a line of a file; ``file`` is relative to the folder that tests were run from."""

    title: str
    test: str
    reason: str
    reproduce: str = ""
    file: str = ""
    line: int = 0


def in_actions(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether this runs in a workflow of GitHub Actions."""
    return environ.get("GITHUB_ACTIONS") == "true"


def escape_data(text: str) -> str:
    """Escape the message of a workflow command (actions/toolkit, packages/core/src/command.ts, ``escapeData``)."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def escape_property(text: str) -> str:
    """Escape a property of a workflow command (the same file, ``escapeProperty``)."""
    return escape_data(text).replace(":", "%3A").replace(",", "%2C")


def commands(
    annotations: Sequence[Annotation], root: Path, environ: Mapping[str, str] = os.environ, level: str = "error"
) -> list[str]:
    """Write workflow commands: one for each thing that is wrong; the tenth counts what is left."""
    groups: dict[tuple[str, str], list[Annotation]] = {}
    for annotation in annotations:  # the tests that share a flow share its failure
        groups.setdefault((annotation.title, annotation.reason), []).append(annotation)
    found = list(groups.values())
    shown = found if len(found) <= MOST_ANNOTATIONS else found[: MOST_ANNOTATIONS - 1]
    lines = [_command(level, group, root, environ) for group in shown]
    left = sum(len(group) for group in found[len(shown) :])
    if left:
        lines.append(f"::{level}::{left} more; the summary of this job and the report have them all")
    return lines


def _command(level: str, group: Sequence[Annotation], root: Path, environ: Mapping[str, str]) -> str:
    annotation = group[0]
    others = f" and {len(group) - 1} more" if len(group) > 1 else ""
    message = f"{annotation.test}{others}\n{annotation.reason}"
    if annotation.reproduce:
        message += f"\nreproduce: {annotation.reproduce}"
    properties = {"title": annotation.title}
    if annotation.file:
        properties = {"file": in_workspace(root / annotation.file, environ), **properties}
        if annotation.line:
            properties["line"] = str(annotation.line)
    written = ",".join(f"{name}={escape_property(value)}" for name, value in properties.items())
    return f"::{level} {written}::{escape_data(message)}"


def in_workspace(path: Path, environ: Mapping[str, str]) -> str:
    """Write a path relative to the checkout, as GitHub finds files by."""
    workspace = environ.get("GITHUB_WORKSPACE")
    return os.path.relpath(path, workspace) if workspace else str(path)


def append_summary(text: str, environ: Mapping[str, str] = os.environ) -> Path | None:
    """Append to the summary of the job, where there is one; return its path."""
    name = environ.get("GITHUB_STEP_SUMMARY")
    if not name:
        return None
    path = Path(name)
    with path.open("a", encoding="utf-8") as stream:
        stream.write(text if text.endswith("\n") else f"{text}\n")
    return path
