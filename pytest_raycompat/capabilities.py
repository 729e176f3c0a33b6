"""What the Ray under test has: asked of its interpreter, in one child process for a session."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Literal

import msgspec

from pytest_raycompat import capability_program
from pytest_raycompat.gaps import Gap
from pytest_raycompat.gaps.matching import CapabilityUnknown

LIMIT_S = 60.0
"""How long importing the Ray modules that are asked about may take, in seconds; one takes about 1 s (Ray 2.60.0)."""


class Answer(msgspec.Struct, frozen=True):
    """Whether one name exists, or why that cannot be told."""

    state: Literal["present", "absent", "unknown"]
    why: str = ""


def names_of(gaps: Iterable[Gap]) -> list[str]:
    """List the names that decide about ``gaps``, each once."""
    return list(dict.fromkeys(name for gap in gaps for name in gap.when.decisive_lacks))


def ask(python: str, names: Iterable[str], variables: Mapping[str, str]) -> dict[str, Answer]:
    """Look names up in the Ray of an interpreter.

    Args:
        python: the interpreter.
        names: as ``lacks`` of a gap file has them.
        variables: the environment of the child process.

    Returns:
        An answer for each name: ``unknown`` for all of them where the child process did not answer.
    """
    names = list(names)
    try:
        finished = subprocess.run(
            [python, capability_program.__file__],  # not isolated: the flows are not, either
            input=json.dumps(names),
            capture_output=True,
            text=True,
            errors="replace",
            cwd="/",
            env=dict(variables),
            timeout=LIMIT_S,
            check=False,
        )
        return msgspec.json.decode(finished.stdout, type=dict[str, Answer])
    except OSError as error:
        why = f"{python!r} cannot be run: {error.strerror}"
    except subprocess.TimeoutExpired:
        why = f"{python!r} did not answer within {LIMIT_S:.0f} s"
    except (msgspec.DecodeError, msgspec.ValidationError):
        last = finished.stderr.strip().splitlines()[-1:] or [f"exit status {finished.returncode}"]
        why = f"{python!r} did not answer: {last[0]}"
    return {name: Answer("unknown", why) for name in names}


class Capabilities:
    """Tells whether the Ray under test has something; all names are asked at once when the first one is needed.

    The answers are not kept for the next run: a fork's tree changes under one version, and a stale answer would excuse
    what is no gap. Asking costs an import of Ray.
    """

    def __init__(self, names: Iterable[str], ask: Callable[[list[str]], Mapping[str, Answer]]) -> None:
        self._names = list(names)
        self._ask = ask

    @cached_property
    def _answers(self) -> Mapping[str, Answer]:
        return self._ask(self._names)

    def __call__(self, name: str) -> bool:
        """Tell whether ``name`` exists.

        Raises:
            CapabilityUnknown: that cannot be told.
        """
        answer = self._answers[name]
        if answer.state == "unknown":
            raise CapabilityUnknown(f"{name}: {answer.why}")
        return answer.state == "present"
