"""NVML's bindings for GPUs that a test makes up; the seam is the module ``pynvml``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace


class NVMLError(Exception):
    pass


class NVMLError_NotFound(NVMLError):
    pass


@dataclass
class Process:
    pid: int
    usedGpuMemory: int | None


@dataclass
class Device:
    """A GPU or an instance, as NVML tells of it."""

    uuid: str
    name: str
    total: int
    used: int = 0
    processes: tuple[Process, ...] = ()
    parts: Sequence[Device | None] | None = None
    lists_processes: bool = True


class FakeNvml(ModuleType):
    """NVML's bindings, for GPUs that a test makes up."""

    NVMLError = NVMLError
    NVMLError_NotFound = NVMLError_NotFound

    def __init__(self, *devices: Device, driver: bool = True) -> None:
        super().__init__("pynvml")
        self.devices = devices
        self.driver = driver
        self.started = 0
        self.listed = 0

    def nvmlInit(self) -> None:
        if not self.driver:
            raise NVMLError
        self.started += 1

    def nvmlSystemGetDriverVersion(self) -> str:
        return "580.82.07"

    def nvmlDeviceGetCount(self) -> int:
        return len(self.devices)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Device:
        return self.devices[index]

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> Device:
        parts = [part for device in self.devices for part in device.parts or () if part]
        for device in [*self.devices, *parts]:
            if device.uuid == uuid:
                return device
        raise NVMLError_NotFound

    def nvmlDeviceGetUUID(self, device: Device) -> bytes:
        return device.uuid.encode()

    def nvmlDeviceGetName(self, device: Device) -> str:
        return device.name

    def nvmlDeviceGetMemoryInfo(self, device: Device) -> SimpleNamespace:
        return SimpleNamespace(total=device.total, used=device.used, free=device.total - device.used)

    def nvmlDeviceGetMigMode(self, device: Device) -> tuple[int, int]:
        if device.name == "NVIDIA L4":
            raise NVMLError  # has no MIG
        return (int(device.parts is not None), 0)

    def nvmlDeviceGetMaxMigDeviceCount(self, device: Device) -> int:
        return len(device.parts or ())

    def nvmlDeviceGetMigDeviceHandleByIndex(self, device: Device, index: int) -> Device:
        part = (device.parts or ())[index]
        if part is None:
            raise NVMLError_NotFound
        return part

    def nvmlDeviceGetComputeRunningProcesses(self, device: Device) -> tuple[Process, ...]:
        self.listed += 1
        if not device.lists_processes:
            raise NVMLError
        return device.processes

    def nvmlDeviceGetGraphicsRunningProcesses(self, device: Device) -> tuple[Process, ...]:
        return device.processes[:1]  # one process may use both
