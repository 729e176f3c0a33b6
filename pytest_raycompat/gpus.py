"""The GPUs of this machine that the caller may use, through NVML and without starting CUDA."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Gpu:
    """One GPU. ``id`` is what ``CUDA_VISIBLE_DEVICES`` may say of it; ``memory_gb`` is its whole memory, in GiB."""

    id: str
    name: str
    memory_gb: float
    uuid: str = ""


def installed_gpus() -> tuple[Gpu, ...]:
    """List the GPUs of the machine; empty where there is no NVIDIA driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    try:
        found = []
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            memory = pynvml.nvmlDeviceGetMemoryInfo(handle).total / 1024**3
            found.append(
                Gpu(
                    str(index),
                    as_text(pynvml.nvmlDeviceGetName(handle)),
                    memory,
                    as_text(pynvml.nvmlDeviceGetUUID(handle)),
                )
            )
        return tuple(found)
    finally:
        pynvml.nvmlShutdown()


def driver_version() -> str | None:
    """Return the version of the NVIDIA driver; None without one."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        return as_text(pynvml.nvmlSystemGetDriverVersion())
    finally:
        pynvml.nvmlShutdown()


def as_text(value: str | bytes) -> str:
    """NVML's bindings return bytes or text, by version."""
    return value.decode() if isinstance(value, bytes) else value


def visible_gpus(installed: tuple[Gpu, ...], environ: Mapping[str, str]) -> tuple[Gpu, ...]:
    """Keep the GPUs that the caller's ``CUDA_VISIBLE_DEVICES`` leaves, in its order; never more.

    As CUDA does, the first entry that names no GPU ends the list.
    """
    mask = environ.get("CUDA_VISIBLE_DEVICES")
    if mask is None:
        return installed
    visible: list[Gpu] = []
    for entry in (part.strip() for part in mask.split(",")):
        match = [
            gpu for gpu in installed if entry == gpu.id or (entry.startswith("GPU-") and gpu.uuid.startswith(entry))
        ]
        if len(match) != 1 or match[0].uuid in {gpu.uuid for gpu in visible}:
            break
        visible.append(Gpu(entry, match[0].name, match[0].memory_gb, match[0].uuid))
    return tuple(visible)
