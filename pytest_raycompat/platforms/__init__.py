"""The vLLM platform that lets vLLM's own Ray executors place workers on nodes without GPUs."""

from __future__ import annotations

import os

ACTIVATION_VARIABLE = "PYTEST_RAYCOMPAT_CPU_PLATFORM"
"""Set to ``1`` by our own clusters and flows alone: vLLM loads every platform plugin that is installed, and a user's
vLLM next to this package must not change (vllm/platforms/__init__.py, ``resolve_current_platform_cls_qualname``)."""


def activate() -> str | None:
    """Name the platform class for vLLM where a cluster of ours asks for it, else None."""
    if os.environ.get(ACTIVATION_VARIABLE) != "1":
        return None
    return "pytest_raycompat.platforms.cpu.RayCpuPlatform"
