from __future__ import annotations

import os
import re
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import pytest

from pytest_raycompat.flows import engine
from pytest_raycompat.flows.engine import (
    FLEX_BLOCKS,
    RAY_V2_VARIABLE,
    SHARES_LATER_VARIABLE,
    SHARES_VARIABLE,
    engine_arguments,
    executor_name,
    memory_arguments,
    prepare_process,
    take_share,
    variables_for_actors,
)


class RayDistributedExecutor:
    """An executor in this process."""


def test_an_executor_in_this_process_is_named_itself() -> None:
    name = executor_name(SimpleNamespace(model_executor=RayDistributedExecutor()))
    assert name.endswith("test_engine.RayDistributedExecutor")


def install_vllm(folder: Path, monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    """Put a vLLM with these modules in front of what is installed."""
    for module in ("__init__.py", *modules):
        path = folder / "vllm" / module
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.syspath_prepend(folder)


def prepare(executor: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Prepare a process for an engine, and return the variables that it has then."""
    environment = {**os.environ, "RAY_ADDRESS": "127.0.0.1:6379"}
    environment.pop(RAY_V2_VARIABLE, None)
    monkeypatch.setattr(os, "environ", environment)
    prepare_process(Namespace(executor=executor, model="org/model", device="cuda"))
    return environment


V1, V2 = "v1/executor/ray_executor.py", "v1/executor/ray_executor_v2.py"


@pytest.mark.parametrize(
    ("modules", "executor", "value"),
    [
        ((V1, V2), "ray-v1", "0"),
        ((V1, V2), "ray-v2", "1"),
        ((V1, V2), "ray", None),
        ((V2,), "ray-v2", None),
        ((V1,), "ray-v1", None),
    ],
)
def test_an_executor_is_chosen_only_where_there_are_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, modules: tuple[str, ...], executor: str, value: str | None
) -> None:
    install_vllm(tmp_path, monkeypatch, *modules)
    assert prepare(executor, monkeypatch).get(RAY_V2_VARIABLE) == value


def test_an_executor_that_is_not_there_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_vllm(tmp_path, monkeypatch, V2)
    message = "this vLLM has no executor ray-v1; it has ray-v2, mp, uni"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        prepare("ray-v1", monkeypatch)


def test_what_actors_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"NCCL_NVLS_ENABLE": "0", "NCCL_DEBUG": "INFO", "VLLM_LOGGING_LEVEL": "DEBUG", "HF_HUB_OFFLINE": "1"}
    kept = {"VLLM_HOST_IP": "127.0.0.2", "VLLM_API_KEY": "secret", "CUDA_VISIBLE_DEVICES": "0", "SECRET": "1"}
    for name, value in {**given, **kept}.items():
        monkeypatch.setenv(name, value)
    found = variables_for_actors()
    assert {name: found.get(name) for name in given} == given
    assert not kept.keys() & found.keys()


@pytest.mark.parametrize(
    ("shares", "utilization", "told"),
    [
        (None, None, {}),
        (None, 0.3, {"gpu_memory_utilization": 0.3}),
        ("4", None, {"gpu_memory_utilization": 0.23, "kv_cache_memory_bytes": 1024**3}),
        ("4", 0.4, {"gpu_memory_utilization": 0.1, "kv_cache_memory_bytes": 1024**3}),
    ],
)
def test_what_an_engine_takes_of_a_gpu(
    monkeypatch: pytest.MonkeyPatch, shares: str | None, utilization: float | None, told: dict[str, object]
) -> None:
    if shares is None:
        monkeypatch.delenv(SHARES_VARIABLE, raising=False)
    else:
        monkeypatch.setenv(SHARES_VARIABLE, shares)
    assert memory_arguments(utilization) == told


@pytest.mark.parametrize(
    ("at_first", "later", "utilization"), [(None, "4", 0.23), ("4", None, 0.23), (None, None, None)]
)
def test_what_further_engines_take_of_it(
    monkeypatch: pytest.MonkeyPatch, at_first: str | None, later: str | None, utilization: float | None
) -> None:
    for name, value in ((SHARES_VARIABLE, at_first), (SHARES_LATER_VARIABLE, later)):
        monkeypatch.setenv(name, value or "")
        if value is None:
            monkeypatch.delenv(name)
    take_share()
    assert memory_arguments().get("gpu_memory_utilization") == utilization


@pytest.mark.parametrize(
    ("vllm", "device", "dtype", "blocks"),
    [
        ("0.10.0", "cuda", "float32", FLEX_BLOCKS),
        ("0.10.2", "cuda", "float32", FLEX_BLOCKS),
        ("0.11.0", "cuda", "float32", None),
        ("0.10.0", "cuda", "bfloat16", None),
        ("0.10.0", "cpu", "float32", None),
    ],
)
def test_the_cache_is_no_larger_than_flex_attention_can_address(
    monkeypatch: pytest.MonkeyPatch, vllm: str, device: str, dtype: str, blocks: int | None
) -> None:
    monkeypatch.delenv(SHARES_VARIABLE, raising=False)
    monkeypatch.setattr(engine, "version", lambda name: {"vllm": vllm}[name])
    arguments = Namespace(
        model="model",
        dtype=dtype,
        max_model_len=512,
        tensor_parallel_size=1,
        pipeline_parallel_size=1,
        executor="uni",
        disable_custom_all_reduce=False,
        device=device,
    )
    assert engine_arguments(arguments).get("num_gpu_blocks_override") == blocks
