from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from pytest_raycompat.models.model_class import find_out_beside
from pytest_raycompat.models.tiny import write_tiny_model
from pytest_raycompat.session import Session
from pytest_raycompat.settings import Settings
from tests.making import ENVIRONMENT

REGISTRY = """
import pathlib

def _run_in_subprocess(ask):
    raise SystemExit("a process of its own")

class Llama:
    def inspect_model_cls(self):
        _run_in_subprocess(lambda: pathlib.Path("found-out").write_text("Llama"))

class ModelRegistry:
    models = {"LlamaForCausalLM": Llama()}
"""


@pytest.fixture
def vllm(tmp_path: Path) -> Path:
    """Where the part of a vLLM lies that is asked."""
    folder = tmp_path / "site" / "vllm" / "model_executor" / "models"
    folder.mkdir(parents=True)
    for package in (folder.parent.parent, folder.parent, folder):
        (package / "__init__.py").touch()
    (folder / "registry.py").write_text(REGISTRY)
    return tmp_path / "site"


def test_it_is_found_out_in_the_process_itself(vllm: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest_raycompat.models.model_class", str(write_tiny_model(tmp_path / "model"))]
    path = f"{Path(__file__).parents[2]}:{vllm}"
    subprocess.run(command, env={"PYTHONPATH": path}, cwd=tmp_path, check=True)
    assert (tmp_path / "found-out").read_text() == "Llama"


@pytest.fixture
def sessions(vllm: Path, tmp_path: Path, clean_environment: pytest.MonkeyPatch) -> Iterator[list[Session]]:
    """Two workers of a run on GPUs."""
    clean_environment.setenv("PYTHONPATH", str(vllm))
    (tmp_path / "shared").mkdir()
    settings = Settings.read(root=tmp_path, device="cuda")
    made = [Session(settings, (), cast("Any", None), shared_folder=tmp_path / "shared") for _ in range(2)]
    for session in made:
        session.__dict__["environment"] = msgspec.structs.replace(ENVIRONMENT, vllm_build="accelerator")
    yield made
    for session in made:
        session.close()


def test_one_of_the_workers_finds_it_out(sessions: list[Session]) -> None:
    child, nothing = map(find_out_beside, sessions)
    assert child is not None
    assert child.process.wait(30) == 0
    child.end()
    assert (sessions[0].folder / "found-out").read_text() == "Llama"
    assert nothing is None


def test_what_is_known_is_not_found_out_again(sessions: list[Session]) -> None:
    Path(sessions[0].variables["VLLM_CACHE_ROOT"], "modelinfos").mkdir(parents=True)
    assert find_out_beside(sessions[0]) is None


def test_a_single_process_finds_it_out_by_itself(sessions: list[Session]) -> None:
    sessions[0].shared_folder = None
    assert find_out_beside(sessions[0]) is None


def test_on_a_cpu_one_engine_starts_at_a_time(sessions: list[Session]) -> None:
    sessions[0].settings = dataclasses.replace(sessions[0].settings, device="cpu")
    assert find_out_beside(sessions[0]) is None


def test_without_vllm_there_is_nothing_to_find_out(sessions: list[Session]) -> None:
    sessions[0].__dict__["environment"] = msgspec.structs.replace(sessions[0].environment, vllm=None)
    assert find_out_beside(sessions[0]) is None
