"""The GPUs of this machine that the caller may use, and who uses them, through NVML and without starting CUDA."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

GIB = 1024**3
OURS_VARIABLE = "RAYCOMPAT_VISIBLE_DEVICES"
"""Has the mask of what is started, for an actor from which Ray hides all GPUs although its engine looks for them."""


@dataclass(frozen=True)
class Holder:
    """A process that has memory on a GPU.

    ``memory_gb`` is in GiB, None where the driver does not say. Where the process is in another container, ``name`` is
    empty and ``pid`` is that of the host.
    """

    pid: int
    name: str
    memory_gb: float | None = None

    def __str__(self) -> str:
        memory = "" if self.memory_gb is None else f", {self.memory_gb:.1f} GiB"
        return f"{self.name or 'a process of another container'} (pid {self.pid}{memory})"


@dataclass(frozen=True)
class Gpu:
    """One GPU, or one instance of a GPU that MIG has divided.

    ``id`` is what the caller's ``CUDA_VISIBLE_DEVICES`` says of it; ``memory_gb`` is its whole memory, in GiB;
    ``part_of`` has the index and the UUID of the divided GPU; ``index`` is NVML's, which an instance has not.
    """

    id: str
    name: str
    memory_gb: float
    uuid: str = ""
    part_of: tuple[str, str] | None = None
    index: str = field(default="", compare=False)


@dataclass(frozen=True)
class Use:
    """What a GPU is used for at one moment. ``free_gb`` and ``used_gb`` are in GiB.

    ``holders`` are the processes that have memory on it; None where the driver was not asked.
    """

    gpu: Gpu
    free_gb: float
    used_gb: float
    holders: tuple[Holder, ...] | None = None

    def __str__(self) -> str:
        said = f"GPU {self.gpu.id} has {self.free_gb:.1f} of {self.gpu.memory_gb:.1f} GiB free"
        if self.holders is None:
            return said
        held = ", ".join(str(holder) for holder in self.holders) or "no process that the driver names"
        return f"{said}, held by {held}"


def driver() -> Any:
    """Return NVML's bindings, started; None where there is no NVIDIA driver.

    They stay so for the life of this process. Starting and stopping them takes hundreds of calls under a lock that the
    driver has once for the whole host, and that starting CUDA and taking memory need too: twenty processes that did so
    a few times a second doubled the time that an engine takes to start (seen with four H200, driver 580).
    """
    import pynvml

    try:
        return _started(pynvml, os.getpid())
    except pynvml.NVMLError:
        return None


@functools.cache
def _started(nvml: Any, process: int) -> Any:
    nvml.nvmlInit()
    return nvml


def driver_version() -> str | None:
    """Return the version of the NVIDIA driver; None without one."""
    nvml = driver()
    return None if nvml is None else as_text(nvml.nvmlSystemGetDriverVersion())


def installed_gpus() -> tuple[Gpu, ...]:
    """List the GPUs of the machine; for one that MIG has divided, its instances. Empty where there is no driver."""
    nvml = driver()
    if nvml is None:
        return ()
    found: list[Gpu] = []
    for index in range(nvml.nvmlDeviceGetCount()):
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        whole = look_at(nvml, handle, str(index))
        if is_divided(nvml, handle):
            parts = [look_at(nvml, part) for part in instances(nvml, handle)]
            found += [replace(part, part_of=(whole.id, whole.uuid)) for part in parts]
        else:
            found.append(whole)
    return tuple(found)


def look_at(nvml: Any, handle: Any, index: str | None = None) -> Gpu:
    """Describe what a handle stands for; an instance has no index of its own, so its UUID stands for it."""
    uuid = as_text(nvml.nvmlDeviceGetUUID(handle))
    memory = nvml.nvmlDeviceGetMemoryInfo(handle).total / GIB
    return Gpu(index or uuid, as_text(nvml.nvmlDeviceGetName(handle)), memory, uuid, index=index or "")


def is_divided(nvml: Any, handle: Any) -> bool:
    """Tell whether MIG is on."""
    try:
        return bool(nvml.nvmlDeviceGetMigMode(handle)[0])
    except nvml.NVMLError:  # a GPU that has no MIG, or a driver that knows none
        return False


def instances(nvml: Any, handle: Any) -> Iterator[Any]:
    """Go through the instances of a divided GPU, whose indices may have holes."""
    for index in range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        with contextlib.suppress(nvml.NVMLError_NotFound):
            yield nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index)


def as_text(value: str | bytes) -> str:
    """NVML's bindings return bytes or text, by version."""
    return value.decode() if isinstance(value, bytes) else value


def visible_gpus(installed: tuple[Gpu, ...], environ: Mapping[str, str]) -> tuple[Gpu, ...]:
    """Keep the GPUs that the caller's ``CUDA_VISIBLE_DEVICES`` leaves, in its order; never more.

    As CUDA does, the first entry that names no GPU ends the list (CUDA C++ Programming Guide, environment variables).
    """
    mask = environ.get("CUDA_VISIBLE_DEVICES")
    if mask is None:
        return installed
    visible: list[Gpu] = []
    for entry in (part.strip() for part in mask.split(",")):
        match = named_by(entry, installed)
        if match is None or match.uuid in {gpu.uuid for gpu in visible}:
            break
        visible.append(replace(match, id=entry))
    return tuple(visible)


def mask_of(gpus: Iterable[Gpu]) -> dict[str, str]:
    """Return the variables that leave these GPUs, and no others, to what is started with them.

    Whole GPUs are written as indices, whatever the caller wrote: vLLM up to 0.20 takes what Ray says of a rank's GPU
    for a number (``int(x) for x in gpu_ids``, vllm/v1/executor/ray_executor_v2.py, 0.20.2), and Ray says what is here.
    """
    mask = ",".join(gpu.index or gpu.id for gpu in gpus)
    return {"CUDA_VISIBLE_DEVICES": mask, "CUDA_DEVICE_ORDER": "PCI_BUS_ID", OURS_VARIABLE: mask}


def named_by(entry: str, installed: Iterable[Gpu]) -> Gpu | None:
    """Find the GPU that an entry of the mask names.

    An index, a UUID, and how no other UUID begins name a GPU; of a divided one CUDA takes the first instance then. An
    instance is named by its whole UUID (NVIDIA's MIG User Guide, CUDA_VISIBLE_DEVICES).
    """
    if entry.startswith("MIG-"):
        return next((gpu for gpu in installed if gpu.uuid == entry), None)
    wholes: dict[str, Gpu] = {}
    for gpu in installed:
        index, uuid = gpu.part_of or (gpu.id, gpu.uuid)
        if entry == index or (entry.startswith("GPU-") and uuid.startswith(entry)):
            wholes.setdefault(uuid, gpu)
    return next(iter(wholes.values())) if len(wholes) == 1 else None


def read_use(gpus: Iterable[Gpu], *, holders: bool = False) -> tuple[Use, ...]:
    """Read what ``gpus`` are used for now. A GPU that the driver no longer has is left out.

    Args:
        gpus: those to ask of.
        holders: whether to list the processes too, which costs the driver more than the memory does.
    """
    nvml = driver()
    if nvml is None:
        return ()
    found = []
    for gpu in gpus:
        with contextlib.suppress(nvml.NVMLError):
            handle = nvml.nvmlDeviceGetHandleByUUID(gpu.uuid)
            memory = nvml.nvmlDeviceGetMemoryInfo(handle)
            processes = holders_of(nvml, handle) if holders else None
            found.append(Use(gpu, memory.free / GIB, memory.used / GIB, processes))
    return tuple(found)


def holders_of(nvml: Any, handle: Any) -> tuple[Holder, ...]:
    """List the processes that have memory on a GPU, the one with the most first."""
    processes: dict[int, float | None] = {}
    for ask in (nvml.nvmlDeviceGetComputeRunningProcesses, nvml.nvmlDeviceGetGraphicsRunningProcesses):
        with contextlib.suppress(nvml.NVMLError):  # not supported for this GPU, or not permitted
            for process in ask(handle):
                memory = process.usedGpuMemory
                processes[process.pid] = None if memory is None else memory / GIB
    found = [Holder(pid, name_of(pid), memory) for pid, memory in processes.items()]
    return tuple(sorted(found, key=lambda holder: (-(holder.memory_gb or 0), holder.pid)))


def name_of(pid: int) -> str:
    """Say what a process is: its title, as Ray and vLLM set one, or its program. Empty where it cannot be seen."""
    import psutil

    try:
        process = psutil.Process(pid)
        words = process.cmdline()
        title = words[0] if words and "::" in words[0] else process.name()
    except psutil.Error:
        return ""
    return title.strip()
