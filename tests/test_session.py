from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from pytest_raycompat.gpus import Gpu
from pytest_raycompat.records import Environment
from pytest_raycompat.session import Session
from pytest_raycompat.settings import Settings

ENVIRONMENT = Environment(
    executable="python", python="3.11.7", platform="Linux", ray="2.60.0", vllm="0.32.0", vllm_build="accelerator"
)


@pytest.mark.parametrize(
    ("asked", "memory_gb", "vllm", "may", "said"),
    [
        ("1", 80.0, "0.32.0", 1, "1 GPU; no cluster"),
        ("6", 80.0, "0.32.0", 6, "1 GPU, 6 flows on each at most; no cluster"),
        ("6", 16.0, "0.32.0", 4, "1 GPU, 4 flows on each at most (each takes 4 GiB); no cluster"),
        ("6", 3.0, "0.32.0", 1, "1 GPU, 1 flow on each at most (each takes 4 GiB); no cluster"),
        ("6", 80.0, "0.10.1", 1, "1 GPU, 1 flow on each at most (vLLM 0.10.1 cannot share them); no cluster"),
    ],
)
def test_how_many_flows_may_be_on_a_gpu(asked: str, memory_gb: float, vllm: str, may: int, said: str) -> None:
    settings = Settings.read(root=Path("/project"), device="cuda", flows_per_gpu=asked)
    session = Session(settings, (), cast("Any", None))
    session.__dict__["environment"] = msgspec.structs.replace(ENVIRONMENT, vllm=vllm)
    session.__dict__["_first_look"] = ((Gpu("0", "NVIDIA L4", memory_gb, "GPU-a"),), ())
    assert session.flows_per_gpu == may
    assert session.headline().endswith(f"cuda, {said}")
