from __future__ import annotations

import pytest
from packaging.utils import canonicalize_name

from pytest_raycompat.packing.omissions import DISTRIBUTIONS, PATHS, OmissionError, Omissions


def test_the_data_is_in_normal_form() -> None:
    assert list(DISTRIBUTIONS) == sorted(canonicalize_name(name) for name in DISTRIBUTIONS)
    assert list(PATHS) == sorted(path.strip("/") for path in PATHS)
    assert all([*DISTRIBUTIONS.values(), *PATHS.values()])


def test_nothing_that_a_flow_needs_is_left_out() -> None:
    assert not {"ray", "vllm", "torch", "triton", "transformers", "openai", "apache-tvm-ffi"} & set(DISTRIBUTIONS)


def test_what_is_dropped_and_kept_by_hand() -> None:
    chosen = Omissions.choose(drop=["Some_Thing", "vllm/third_party/"], keep=["TileLang", "ray/rllib"])
    assert set(chosen.distributions) == {*DISTRIBUTIONS, "some-thing"} - {"tilelang"}
    assert set(chosen.paths) == {*PATHS, "vllm/third_party"} - {"ray/rllib"}
    assert chosen.distributions["some-thing"] == "left out with --drop"


def test_what_is_kept_was_left_out() -> None:
    with pytest.raises(OmissionError, match=r"^--keep: 'numpy' is not left out: what is left out is cuda-tile, "):
        Omissions.choose(keep=["numpy"])


@pytest.mark.parametrize("path", ["../outside", "/etc", "ray/../../outside"])
def test_a_path_outside_is_refused(path: str) -> None:
    with pytest.raises(OmissionError) as raised:
        Omissions.choose(drop=[path])
    assert str(raised.value) == f"--drop: {path!r} is not a path such as ray/rllib"
