"""Paths as a reader wants them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any


def shown(path: str | Path) -> str:
    """Write a path as a user types it: relative to where they are, if it is below."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def from_root(value: Any, root: Path) -> Any:
    """Write the paths below pytest's root folder relative to it, in every text of ``value``, which JSON can hold.

    A report then says the same wherever the checkout is.
    """
    if root == root.parent:
        return value
    return _replaced(value, re.compile(rf"(?<![\w./-]){re.escape(str(root))}/"))


def _replaced(value: Any, start: re.Pattern[str]) -> Any:
    if isinstance(value, str):
        return start.sub("", value)
    if isinstance(value, dict):
        return {key: _replaced(one, start) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_replaced(one, start) for one in value]
    return value
