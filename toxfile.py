"""What ``RAYCOMPAT_RAY`` and ``RAYCOMPAT_VLLM`` mean, for tox.ini: a version, or a wheel of one's own.

tox loads this file by its name, next to tox.ini.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

# what a pair needs is said once, in the package; tox's own environment does not have that installed
sys.path.append(str(Path(__file__).parent))

from pytest_raycompat.environments import recipe, sources

RAY = "2.60.0"
VLLM = "0.32.0"


def requirement(package: recipe.Package, device: str, chosen: str) -> str:
    """Turn a version or the path of a wheel into a requirement.

    Raises:
        SystemExit: there is no such wheel.
    """
    if not chosen.endswith(".whl"):
        return recipe.requirement(package, chosen, device)
    wheel = Path(chosen).resolve()
    if not wheel.is_file():
        raise SystemExit(f"there is no wheel {chosen}: write a version, such as {RAY}, or the path of a wheel")
    return f"{wheel.name.partition('-')[0].replace('_', '-')}{recipe.extras(package)} @ {wheel.as_uri()}"


def set_variables() -> None:
    """Set what tox.ini refers to."""
    ray = os.environ.get("RAYCOMPAT_RAY") or RAY
    vllm = os.environ.get("RAYCOMPAT_VLLM") or VLLM
    os.environ["RAYCOMPAT_RAY_REQUIREMENT"] = requirement("ray", "cpu", ray)
    os.environ["RAYCOMPAT_VLLM_REQUIREMENT"] = requirement("vllm", "cpu", vllm)
    os.environ["RAYCOMPAT_VLLM_CUDA_REQUIREMENT"] = requirement("vllm", "cuda", vllm)
    os.environ["RAYCOMPAT_PAIR"] = re.sub(r"[^A-Za-z0-9.]+", "-", f"ray-{Path(ray).name}-vllm-{Path(vllm).name}")
    os.environ.update(sources.uv_variables("cpu"))


set_variables()
