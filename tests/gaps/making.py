"""Gaps for the tests of what is made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytest_raycompat.gaps import Conditions, Gap


def make_gap(id: str = "some-gap", **keys: Any) -> Gap:
    """Make a gap, of which a test says what matters to it."""
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
