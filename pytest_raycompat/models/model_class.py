"""Finds out, for vLLM's cache, what vLLM wants to know of a model's class before it starts an engine.

vLLM has a process of its own find it out, which imports vLLM once more (``inspect_model_cls``,
vllm/model_executor/models/registry.py, 0.32.0): 15 s of the start of each engine that finds an empty cache, on a host
of H200. Where many begin at the same time, it is found out once, while their clusters start.

By hand: ``python -m pytest_raycompat.models.model_class FOLDER``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_raycompat.processes.children import Child
    from pytest_raycompat.session import Session

BEGUN = "model-class.begun"
CACHE = "modelinfos"
"""The folder of what is known, in ``VLLM_CACHE_ROOT``."""


def find_out_beside(session: Session) -> Child | None:
    """Begin to find out about the tiny model, in the first of several workers and where nothing is known yet."""
    if session.shared_folder is None or session.device != "cuda" or session.environment.vllm is None:
        return None
    if (Path(session.variables["VLLM_CACHE_ROOT"]) / CACHE).exists():
        return None
    try:
        (session.shared_folder / BEGUN).touch(exist_ok=False)
    except FileExistsError:
        return None
    command = [session.settings.python, "-m", __name__, str(session.tiny_model)]
    with (session.log_folder / "model-class.log").open("wb") as log:
        return session.children.start(
            command, environment=session.variables, stdout=log, stderr=subprocess.STDOUT, folder=session.folder
        )


def main() -> None:
    """Find out about the model in a folder."""
    from vllm.model_executor.models import registry

    # here, and not in a process that imports vLLM once more: there is nothing in this one to keep clean
    registry._run_in_subprocess = lambda ask: ask()
    for architecture in json.loads(Path(sys.argv[1], "config.json").read_bytes())["architectures"]:
        registry.ModelRegistry.models[architecture].inspect_model_cls()


if __name__ == "__main__":
    main()
