"""Paths as a reader wants them."""

from __future__ import annotations

import os
from pathlib import Path


def shown(path: str | Path) -> str:
    """Write a path as a user types it: relative to where they are, if it is below."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
