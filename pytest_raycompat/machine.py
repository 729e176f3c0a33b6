"""The machine that runs pytest, as far as it explains how long things take."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

import psutil

from pytest_raycompat.report.document import MachineRecord


def describe_machine() -> MachineRecord:
    """Name its processor, and what of it this process may use."""
    return MachineRecord(
        cpu=cpu_model(_cpu_information()) or platform.machine(),
        cpus=len(os.sched_getaffinity(0)),
        memory_gb=round(psutil.virtual_memory().total / 1024**3, 1),
    )


def _cpu_information() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return ""


def cpu_model(information: str) -> str | None:
    """Find the model in the text of ``/proc/cpuinfo``; None where it is not said, as on many Arm machines."""
    found = re.search(r"^model name\s*:\s*(\S.*?)\s*$", information, re.MULTILINE)
    return found[1] if found else None
