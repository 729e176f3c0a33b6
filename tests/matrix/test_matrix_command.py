"""``raycompat matrix`` and ``bisect`` as a user runs them: real uv, real pytest, and Rays that are but a name."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from pytest_raycompat.report.document import read_report, read_reports
from tests.wheels import make_index, make_wheel

TESTS = """
import os, time
import pytest

@pytest.mark.ray_version(">=2.0")
def test_it(ray_version):
    if os.environ.get("HOLD") == ray_version:
        open("holding", "w").close()
        time.sleep(100)
    assert ray_version not in ("2.35.0", "2.40.0")
"""
CONFTEST = """
import pytest
from pytest_raycompat.state import SESSION

@pytest.fixture
def ray_version(request):
    return request.config.stash[SESSION].environment.ray
"""


class Project:
    """A folder with a test, and an index with Rays."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.environment = environment

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "pytest_raycompat.cli", *words]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words),
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )

    def matrix(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.run("matrix", "--vllm", "none", *words, "--", "test_it.py", "-p", "no:cacheprovider")

    def start_matrix(self, *words: str, hold: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command("matrix", "--vllm", "none", *words, "--", "test_it.py", "-p", "no:cacheprovider"),
            cwd=self.folder,
            env={**self.environment, "HOLD": hold},
            stderr=subprocess.PIPE,
            text=True,
        )

    def cell(self, ray: str) -> dict[str, object] | None:
        path = self.folder / ".raycompat" / "matrix" / "cells" / f"ray-{ray}-vllm-none-cpu" / "cell.json"
        return dict(json.loads(path.read_text())) if path.is_file() else None


@pytest.fixture
def project(tmp_path: Path) -> Project:
    wheels = [make_wheel(tmp_path / "wheels", "ray", version) for version in ("2.35.0", "2.40.0", "2.41.0", "2.60.0")]
    wheels.append(make_wheel(tmp_path / "wheels", "ray", "2.50.0", ["no-such-distribution==1"]))
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "test_it.py").write_text(TESTS)
    (folder / "conftest.py").write_text(CONFTEST)
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("UV_", "PIP_", "PYTEST_", "GITHUB_", "RAY_"))
    }
    environment = {
        **kept,
        "CUDA_VISIBLE_DEVICES": "",
        "UV_DEFAULT_INDEX": make_index(tmp_path / "index", wheels),
        "UV_CACHE_DIR": str(tmp_path / "uv"),
        "PIP_CONFIG_FILE": os.devnull,
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    return Project(folder, environment)


def test_a_matrix(project: Project) -> None:
    finished = project.matrix("--ray", "2.35.0,2.60.0,2.50.0,2.99.0", "--keep", "1")
    assert finished.returncode == 1, finished.stderr
    lines = finished.stdout.splitlines()
    assert lines[:3] == ["  Ray     vLLM  verdicts", "! 2.35.0  none  1 failed", "  2.60.0  none  1 passed"]
    assert lines[3].startswith("! 2.50.0  none  unresolvable: error: No solution found")
    assert lines[4].startswith("! 2.99.0  none  unresolvable: there is no ray 2.99.0 on ")
    output = project.folder / ".raycompat" / "matrix"
    assert [report.environment.ray for report in read_reports(output / "report.json")] == ["2.35.0", "2.60.0"]
    assert read_report(output / "cells" / "ray-2.60.0-vllm-none-cpu" / "report.json").results[0].verdict == "passed"
    cell = project.cell("2.60.0")
    assert cell is not None
    assert cell["distributions"] == ["ray==2.60.0"]
    assert cell["arguments"] == ["test_it.py", "-p", "no:cacheprovider"]
    environments = Path(project.environment["XDG_CACHE_HOME"]) / "pytest-raycompat" / "environments"
    assert [path.parent.name.rpartition("-")[0] for path in environments.glob("*/pyvenv.cfg")] == [
        "ray-2.60.0-vllm-none-cpu"
    ]


def test_shards_and_what_is_left(project: Project) -> None:
    asked = ("--ray", "2.35.0,2.40.0,2.60.0")
    assert project.matrix(*asked, "--shard", "2/2").returncode == 1
    left = project.matrix(*asked, "--dry-run")
    assert left.stdout.splitlines() == ["Ray 2.35.0, no vLLM", "Ray 2.60.0, no vLLM", "2 of 3 pairs left"]
    again = project.matrix(*asked, "--shard", "2/2")
    assert "1 pair, 1 measured before" in again.stderr
    assert "building" not in again.stderr


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_an_interrupt_loses_and_repeats_nothing(
    project: Project, number: signal.Signals, wait_until: Callable[..., None]
) -> None:
    running = project.start_matrix("--ray", "2.60.0,2.41.0", hold="2.41.0")
    wait_for(project.folder / "holding", running)
    before = project.cell("2.60.0")
    assert before is not None
    children = psutil.Process(running.pid).children(recursive=True)
    assert children
    running.send_signal(number)
    _, said = running.communicate(timeout=60)
    if number == signal.SIGKILL:
        assert running.returncode == -number
    else:
        assert running.returncode == 128 + number
        assert said.splitlines()[-1] == (
            "interrupted: what is measured is kept in .raycompat/matrix; the same command goes on"
        )
    wait_until(lambda: not any(child.is_running() and child.status() != "zombie" for child in children))
    assert project.cell("2.41.0") is None
    finished = project.matrix("--ray", "2.60.0,2.41.0")
    assert finished.returncode == 0, finished.stderr
    assert "[1/1] Ray 2.41.0, no vLLM: 1 passed" in finished.stderr
    assert project.cell("2.60.0") == before


def test_arguments_that_pytest_refuses_end_the_matrix(project: Project) -> None:
    finished = project.run("matrix", "--ray", "2.35.0,2.60.0", "--vllm", "none", "--", "no_such_file.py")
    assert finished.returncode == 4
    assert "raycompat: pytest ended with exit status 4:" in finished.stderr
    assert "file or directory not found: no_such_file.py" in finished.stderr
    assert project.cell("2.35.0") is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--ray", "newest"], "--ray: 'newest' is not a version: write one such as 2.60.0, or the path of a wheel"),
        (["--ray", "2.60.0", "--keep", "0"], "--keep: 0 is not a number of environments: write 1 or more"),
        (["--ray", "2.60.0", "--python", "3,12"], "--python: '3,12' is neither a version nor an interpreter"),
        (["--ray", "2.60.0", "--python", "2.7"], "--python: '2.7' is not a Python version: write one such as 3.11"),
        (["--ray", "2.60.0", "--shard", "3"], "--shard: '3' is not a part: write NUMBER/COUNT"),
    ],
)
def test_bad_input(project: Project, words: list[str], message: str) -> None:
    finished = project.matrix(*words)
    assert finished.returncode == 4
    assert message in finished.stderr


def test_a_bisect(project: Project) -> None:
    words = ["bisect", "test_it.py", "--package", "ray", "--good", "2.60.0", "--bad", "2.35.0", "--vllm", "none"]
    finished = project.run(*words, "--", "-p", "no:cacheprovider")
    assert finished.returncode == 0, finished.stderr
    lines = finished.stdout.splitlines()
    assert lines[:2] == ["Ray 2.40.0 is bad, Ray 2.41.0 is good", "bad: ray <2.41.0"]
    assert lines[2:5] == ["no known gap records this; a new gap file says:", "  [when]", '  ray = "<2.41.0"']
    assert "5 releases of ray, 2.35.0 to 2.60.0; no vLLM" in finished.stderr
    assert "2.41.0: good (1 passed)" in finished.stderr
    again = project.run(*words, "--", "-p", "no:cacheprovider")
    assert again.stdout == finished.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--good", "2.60.0", "--bad", "2.60.0"], "--good and --bad are both 2.60.0: name two releases"),
        (["--good", "2.60.0", "--bad", "2.36.0"], "there is no ray 2.36.0 on "),
        (["--good", "2.35.0", "--bad", "2.60.0"], "--good: 2.35.0 is bad: 1 failed"),
        (["--good", "2.60.0", "--bad", "2.35.0", "--ray", "2.60.0"], "--ray: its releases are searched"),
        (["--good", "2.60.0", "--bad", "2.35.0", "--python", "3,12"], "--python: '3,12' is neither a version nor"),
    ],
)
def test_a_bisect_that_cannot_be(project: Project, words: list[str], message: str) -> None:
    finished = project.run("bisect", "test_it.py", "--package", "ray", "--vllm", "none", *words)
    assert finished.returncode == 4
    assert message in finished.stderr
