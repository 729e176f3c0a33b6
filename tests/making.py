"""Reports for the tests of what is made of them."""

from __future__ import annotations

from typing import Any

import msgspec

from pytest_raycompat.records import Environment, Verdict
from pytest_raycompat.report.document import ClusterRecord, DeviceRecord, GapRecord, MachineRecord, Report
from pytest_raycompat.report.document import TestRecord as Record

ENVIRONMENT = Environment(
    executable="/usr/bin/python3",
    python="3.11.7",
    platform="Linux",
    ray="2.60.0",
    vllm="0.32.0",
    torch="2.13.0+cpu",
    vllm_build="cpu",
    executors=("ray-v2", "ray-v1", "mp", "uni"),
    default_executor="ray-v2",
)


def make_record(id: str, verdict: Verdict = "passed", **fields: Any) -> Record:
    return Record(id=id, verdict=verdict, **fields)


def make_gap(id: str = "g", **fields: Any) -> GapRecord:
    defaults: dict[str, Any] = {"title": "A gap", "path": f"gaps/{id}.toml", "line": 1, "intermittent": False}
    return GapRecord(id=id, **({"shown": 0, "passed": 0, "changed": 0} | defaults | fields))


def make_report(*records: Record, ray: str = "2.60.0", **fields: Any) -> Report:
    defaults: dict[str, Any] = {
        "project_version": "0.1.0",
        "created": "2026-11-22T12:00:00+01:00",
        "finished": True,
        "environment": msgspec.structs.replace(ENVIRONMENT, ray=ray),
        "device": DeviceRecord(kind="cpu", count=0),
        "machine": MachineRecord(cpu="AMD EPYC", cpus=2, memory_gb=24.0),
        "cluster": ClusterRecord(description="local cluster of 1 node", option="local:1x2", owned=True),
        "git_revision": "0123456789abcdef",
        "results": records,
    }
    return Report(**(defaults | fields))
