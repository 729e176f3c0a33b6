"""Builds environments with uv, and says why one cannot be built."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

from pytest_raycompat.packing.resolver import find_uv
from pytest_raycompat.processes.running import run_child

Kind = Literal["unresolvable", "unbuildable", "unreachable", "disk-full"]
"""Why there is no environment: no distributions meet the requirements, one cannot be installed, the index cannot be
reached, or there is no room. The last two say nothing of the pair."""

MEANING: dict[Kind, str] = {
    "disk-full": "there is no room on the disk ('uv cache prune' makes some); uv said:\n",
    "unreachable": "the package index cannot be reached; uv said:\n",
}
"""What is said before uv's own words, where these do not say it plainly."""
MOST_LINES = 12
MARKS: tuple[tuple[Kind, str], ...] = (
    ("disk-full", r"No space left on device|os error 28\b|Disk quota exceeded|os error 122\b"),
    (
        "unreachable",
        r"error sending request|dns error|tcp connect error|Could not connect|Connection refused|Network is unreachable"
        r"|operation timed out|Failed to fetch|client error \(Connect\)|network was disabled",
    ),
    ("unresolvable", r"No solution found|requirements are unsatisfiable|no version of"),
)
"""What uv (0.9 to 0.13) says where; the first that is found decides."""


class BuildError(Exception):
    """There is no environment; ``kind`` says what kind of reason ``str`` gives."""

    def __init__(self, kind: Kind, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """An environment to build."""

    name: str
    """What a reader knows it by; a folder's name begins with it."""
    python: str
    """A version such as ``3.11``, or the path of an interpreter."""
    requirements: tuple[str, ...]
    override: tuple[str, ...] = ()
    exclude_newer: str | None = None
    """A day such as ``2026-08-01``: distributions are taken as they were then."""
    undated: tuple[str, ...] = ()
    """Distributions for which that does not hold."""
    variables: Mapping[str, str] = {}
    """Of uv."""
    room_gib: float = 1.0
    """How much disk it may take."""

    @property
    def folder_name(self) -> str:
        """Name the folder: two orders share one only if they are the same."""
        digest = hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()[:8]
        return f"{self.name}-{digest}"


def build(order: Order, folder: Path, log: Path) -> None:
    """Build an environment in ``folder``, which may hold files already; uv's words go to ``log``.

    Raises:
        BuildError: it cannot be built.
        ResolverError: there is no uv.
        Interrupted: this process was asked to end.
    """
    uv = find_uv("matrix")
    variables = {**os.environ, **order.variables}
    variables.pop("VIRTUAL_ENV", None)
    try:
        with tempfile.TemporaryDirectory(prefix="raycompat-build-") as name:
            overrides = Path(name, "overrides.txt")
            overrides.write_text("".join(f"{line}\n" for line in order.override))
            _call([uv, "venv", "--quiet", "--allow-existing", "--python", order.python, str(folder)], variables, log)
            _call(
                [
                    *[uv, "pip", "install", "--quiet", "--python", str(folder / "bin" / "python")],
                    *["--override", str(overrides), *_as_of(order), "--requirements", "-"],
                ],
                variables,
                log,
                given="".join(f"{line}\n" for line in order.requirements),
            )
    except OSError as error:
        kind: Kind = "disk-full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "unbuildable"
        raise BuildError(kind, str(error)) from error


def installed(folder: Path, scratch: Path) -> str:
    """List what an environment has, as ``pip freeze`` does; empty where uv cannot say."""
    log = scratch / f"{folder.name}.freeze"
    status = run_child([find_uv("matrix"), "pip", "freeze", "--python", str(folder / "bin" / "python")], output=log)
    text = log.read_text(errors="replace")
    log.unlink()
    lines = [line for line in text.splitlines() if re.match(r"[A-Za-z0-9._-]+(==| @ )", line)]
    return "".join(f"{line}\n" for line in lines) if status == 0 else ""


def kind_of(text: str) -> Kind:
    """Tell from what uv said why there is no environment."""
    return next((kind for kind, pattern in MARKS if re.search(pattern, text)), "unbuildable")


def reason_of(text: str) -> str:
    """Cut what uv said to its reason."""
    lines = [line.rstrip() for line in text.strip().splitlines()]
    kept = [line for line in lines if line.strip() and not re.match(r"\s*(warning|Using|Resolved|Prepared)\b", line)]
    more = [f"… ({len(kept) - MOST_LINES} more lines)"] if len(kept) > MOST_LINES else []
    return "\n".join([*kept[:MOST_LINES], *more])


def _as_of(order: Order) -> list[str]:
    if order.exclude_newer is None:
        return []
    return ["--exclude-newer", order.exclude_newer, *(f"--exclude-newer-package={one}=false" for one in order.undated)]


def _call(command: list[str], variables: Mapping[str, str], log: Path, given: str | None = None) -> None:
    status = run_child(command, output=log, variables=variables, given=given)
    if status:
        said = log.read_text(errors="replace")
        kind = kind_of(said)
        reason = reason_of(said) or f"uv ended with exit status {status}"
        raise BuildError(kind, f"{MEANING.get(kind, '')}{reason}")
