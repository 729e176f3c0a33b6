"""Where uv takes distributions from: it has no settings in common with pip, so pip's are handed on.

Needs the standard library alone: tox loads it too.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping


def find_links(variables: Mapping[str, str] | None = None) -> str | None:
    """Return the folder in which pip is set up to look for wheels."""
    variables = os.environ if variables is None else variables
    return variables.get("PIP_FIND_LINKS") or pip_setting("find-links")


def index_url(variables: Mapping[str, str] | None = None) -> str | None:
    """Return the address of the package index that pip is set up with; None where that is its default."""
    variables = os.environ if variables is None else variables
    return variables.get("PIP_INDEX_URL") or pip_setting("index-url")


def pip_setting(name: str) -> str | None:
    """Ask pip for a setting of its files; None where it has none, or where there is no pip."""
    asked = subprocess.run(
        [sys.executable, "-m", "pip", "config", "get", f"global.{name}"], capture_output=True, text=True, check=False
    )
    return asked.stdout.strip() or None


def uv_variables(device: str, variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the variables with which uv looks where pip does; what is set for uv itself wins.

    vLLM's CPU build pins ``torch==…+cpu``, which only PyTorch's own index has, unless a folder of wheels does.
    """
    variables = os.environ if variables is None else variables
    found: dict[str, str] = {}
    if "UV_FIND_LINKS" not in variables and "UV_TORCH_BACKEND" not in variables:
        folder = find_links(variables) if device == "cpu" else None
        if folder is not None:
            found["UV_FIND_LINKS"] = folder
        else:
            found["UV_TORCH_BACKEND"] = "cpu" if device == "cpu" else "auto"
    if not {"UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX"} & variables.keys():
        address = index_url(variables)
        if address is not None:
            found["UV_DEFAULT_INDEX"] = address
    return found
