"""The vLLM platform that lets vLLM's own Ray executors place workers on nodes without GPUs."""

from __future__ import annotations

import atexit
import gc
import os

ACTIVATION_VARIABLE = "PYTEST_RAYCOMPAT_CPU_PLATFORM"
"""Set to ``1`` by our own clusters and flows alone: vLLM loads every platform plugin that is installed, and a user's
vLLM next to this package must not change (vllm/platforms/__init__.py, ``resolve_current_platform_cls_qualname``)."""

SPARE_VARIABLE = "PYTEST_RAYCOMPAT_SPARE_COLLECTIONS"
"""Set to ``1`` by our own clusters and flows, on GPUs where several flows share the cores."""


def activate() -> str | None:
    """Name the platform class for vLLM where a cluster of ours asks for it, else None; every vLLM calls this."""
    ours = os.environ.get(ACTIVATION_VARIABLE) == "1"
    if ours or os.environ.get(SPARE_VARIABLE) == "1":
        spare_collections()
    return "pytest_raycompat.platforms.cpu.RayCpuPlatform" if ours else None


def spare_collections() -> None:
    """Keep the garbage collector from the half million objects that torch and vLLM make when they are imported.

    Going through them took a sixth of each import, and seconds of each exit, for nothing: they stay until the end. vLLM
    freezes them itself once an engine is up, and before it exits on ROCm (vllm/v1/engine/core.py, 0.32.0).
    """
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)
    atexit.register(gc.freeze)
