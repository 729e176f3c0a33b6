from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import pytest

from pytest_raycompat.gaps import Conditions, Gap


class MakeGap(Protocol):
    def __call__(self, id: str = ..., **keys: Any) -> Gap: ...


@pytest.fixture
def make_gap() -> MakeGap:
    """Make a gap, of which a test says what matters to it."""

    def make(id: str = "some-gap", **keys: Any) -> Gap:
        defaults: dict[str, Any] = {
            "title": "Some gap",
            "flows": ("generate",),
            "when": Conditions(ray="<2.43"),
            "phase": "start",
            "raises": "ValueError",
            "message": r"needs \d+ of them",
            "fix": "ray",
            "links": ("https://example.org/1",),
            "path": Path(f"gaps/{id}.toml"),
            "line": 1,
        }
        return Gap(id=id, **(defaults | keys))

    return make
