from __future__ import annotations

import importlib.util
import shlex
from pathlib import Path
from typing import Any

import pytest

from pytest_raycompat.flows.registry import FLOWS, Flow, arguments_for, find_flow, reproduction


def test_flows_are_found_by_name() -> None:
    assert find_flow("generate").module == "pytest_raycompat.flows.generate"


def test_every_flow_is_a_module_of_its_own_and_goes_by_its_name() -> None:
    assert {name: flow.name for name, flow in FLOWS.items()} == {name: name for name in FLOWS}
    modules = [flow.module for flow in FLOWS.values()]
    assert all(importlib.util.find_spec(module) for module in modules)
    assert len(set(modules)) == len(modules)


def test_a_module_of_ones_own_is_a_flow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "corp_flows").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert find_flow("corp_flows.chat") == Flow("corp_flows.chat", "corp_flows.chat", needs_vllm=False)


@pytest.mark.parametrize(
    "name",
    [
        "genrate",
        "no_such_package.chat",
        "",
        ".chat",
    ],
)
def test_what_is_no_flow_is_refused(name: str) -> None:
    with pytest.raises(ValueError) as caught:
        find_flow(name)
    assert str(caught.value) == (
        f"{name!r} is not a flow: choose one of {', '.join(sorted(FLOWS))}, or name a module (pkg.module)"
    )


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, []),
        ({"executor": "ray-v2", "tensor_parallel_size": 2}, ["--executor", "ray-v2", "--tensor-parallel-size", "2"]),
        ({"model": Path("/models/a b")}, ["--model", "/models/a b"]),
        ({"temperature": 0.5}, ["--temperature", "0.5"]),
        ({"eager": True, "compiled": False}, ["--eager"]),
        ({"stop": ["a", "b"]}, ["--stop", '["a", "b"]']),
        ({"limits": {"image": 1}}, ["--limits", '{"image": 1}']),
    ],
)
def test_parameters_become_a_command_line(parameters: dict[str, Any], expected: list[str]) -> None:
    assert arguments_for(parameters) == expected


def test_the_command_that_runs_a_flow_again() -> None:
    parameters = {"executor": "ray-v1", "tensor_parallel_size": 2}
    command = reproduction(find_flow("generate"), parameters, device="cpu", cluster="local:1x2", python=None)
    assert command == (
        "raycompat run generate --ray-cluster=local:1x2 --raycompat-device=cpu -- "
        "--executor ray-v1 --tensor-parallel-size 2"
    )


def test_the_command_for_another_interpreter_and_without_a_cluster() -> None:
    command = reproduction(
        Flow("corp.chat", "corp.chat"), {"prompt": "it's"}, device="cuda", cluster=None, python="/opt/my env/bin/python"
    )
    assert command.startswith("raycompat run corp.chat --ray-cluster=off --raycompat-device=cuda ")
    assert shlex.split(command)[5:] == ["--raycompat-python=/opt/my env/bin/python", "--", "--prompt", "it's"]
