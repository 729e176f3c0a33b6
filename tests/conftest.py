from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Generator, Mapping
from pathlib import Path

import psutil
import pytest
from jsonschema import Draft202012Validator

# for tests.making and suites; last, so that what is installed is tested
sys.path.append(str(Path(__file__).parents[1]))

from pytest_raycompat.processes.children import Children
from pytest_raycompat.report import schema
from tests.local_index import INSTALLERS, LocalIndex, serving

OUTSIDE = ("CI", "GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "GITHUB_WORKSPACE", "RAY_ADDRESS", "PYTHONPATH")
"""Variables of where the tests run that would change what they see; so would every one of pytest and pytest-xdist."""


@pytest.fixture(params=[(), ("-n", "2")], ids=["plain", "xdist"])
def plugin_arguments(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """How pytest is run: in one process, and spread over the workers of pytest-xdist."""
    arguments: tuple[str, ...] = request.param
    return arguments


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The environment of a user at a terminal, on a machine whose GPUs, if there are any, are not for this test."""
    for name in list(os.environ):
        if name in OUTSIDE or name.startswith(("PYTEST_", "TOX_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    return monkeypatch


@pytest.fixture
def run_pytest(
    pytester: pytest.Pytester, clean_environment: pytest.MonkeyPatch
) -> Generator[Callable[..., pytest.RunResult]]:
    """Run pytest with the plugin as installed, in a process of its own and in the folder of ``pytester``.

    Every report that a test leaves there is checked against the schema.
    """

    def run(*arguments: str | Path) -> pytest.RunResult:
        return pytester.runpytest_subprocess("-p", "no:cacheprovider", *arguments, timeout=60)

    yield run
    validator = Draft202012Validator(json.loads(schema.PATH.read_text()))
    for path in pytester.path.rglob("*.json"):
        document = json.loads(path.read_text())
        if isinstance(document, dict) and "schema_version" in document:
            validator.validate(document)


@pytest.fixture(scope="session")
def make_interpreter(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Make the interpreter of an environment with nothing in it but what says which versions are installed.

    ``make_interpreter({"ray": "2.35.0"})``: Ray's metadata without Ray, for all that is decided before Ray is needed.
    """
    made: dict[tuple[tuple[str, str], ...], Path] = {}

    def make(versions: Mapping[str, str] = {}) -> Path:
        key = tuple(sorted(versions.items()))
        if key not in made:
            folder = tmp_path_factory.mktemp("environment")
            subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
            (site,) = folder.glob("lib/python*/site-packages")
            for name, version in key:
                (site / f"{name}-{version}.dist-info").mkdir()
                (site / f"{name}-{version}.dist-info" / "METADATA").write_text(
                    f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
                )
            made[key] = folder / "bin" / "python"
        return made[key]

    return make


@pytest.fixture
def make_program(tmp_path: Path) -> Callable[[str], Path]:
    """Write an executable shell script."""

    def make(text: str) -> Path:
        path = tmp_path / "program"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path

    return make


@pytest.fixture
def with_flows(
    pytester: pytest.Pytester, make_interpreter: Callable[..., Path]
) -> Callable[[Mapping[str, str]], list[str]]:
    """Write flows of a test's own, by their bodies, and return the options with which they run.

    They name no executor, so no cluster starts, and an environment with Ray's metadata alone will do for them.
    """

    def write(bodies: Mapping[str, str]) -> list[str]:
        package = pytester.mkpydir("corp_flows")
        for name, body in bodies.items():
            (package / f"{name}.py").write_text(
                "import os, sys, time\n"
                "from pytest_raycompat.flows.reporting import run_program\n"
                f"def body(reporter):\n{textwrap.indent(textwrap.dedent(body), '    ')}\n"
                f"sys.exit(run_program({name!r}, {{}}, body))\n"
            )
        return ["--ray-cluster=local", f"--raycompat-python={make_interpreter({'ray': '2.60.0'})}"]

    return write


@pytest.fixture
def children() -> Generator[Children]:
    owner = Children()
    yield owner
    owner.close()


@pytest.fixture(scope="session")
def is_alive() -> Callable[[int], bool]:
    """Tell whether a process runs; one that ended and that nobody has waited for does not."""

    def alive(pid: int) -> bool:
        try:
            return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    return alive


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., None]:
    """Wait for a condition, and fail where it does not come true in time."""

    def wait(condition: Callable[[], bool], limit_s: float = 15.0) -> None:
        deadline = time.monotonic() + limit_s
        while not condition():
            assert time.monotonic() < deadline, f"not within {limit_s} s"
            time.sleep(0.02)

    return wait


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Generator[LocalIndex]:
    """An index that pip is set up with, and a cache folder of the test's own."""
    for name in INSTALLERS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with serving() as served:
        monkeypatch.setenv("PIP_INDEX_URL", served.address)
        yield served
