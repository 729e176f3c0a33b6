from __future__ import annotations

import re
from pathlib import Path

import pytest

from pytest_raycompat.packing.distributions import (
    DistributionError,
    Pin,
    parse_pin,
    read_installed,
    read_requirement,
    select,
)

EXPECTED = "is not NAME==VERSION, as 'pip list --format=freeze' prints it, or a NAME"


def test_what_a_host_has(tmp_path: Path) -> None:
    file = tmp_path / "have.txt"
    file.write_text(
        "# of the GPU host\n\ntorch==2.11.0+cu130\nPyYAML==6.0.3  # as it is written\nnvidia_ml.py\nown @ file:///own\n"
    )
    assert read_installed(file) == {"torch": "2.11.0+cu130", "pyyaml": "6.0.3", "nvidia-ml-py": None, "own": None}


@pytest.mark.parametrize("line", ["Package    Version", "torch>=2", "torch==2.11.*", "torch==2,==3", "-e .", "torch=="])
def test_a_line_that_is_no_distribution(tmp_path: Path, line: str) -> None:
    file = tmp_path / "have.txt"
    file.write_text(f"six==1.17.0\n{line}\n")
    with pytest.raises(DistributionError) as raised:
        read_installed(file)
    assert str(raised.value) == f"{file}:2: {line!r} {EXPECTED}"


def test_a_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(
        DistributionError, match=rf"--have: {re.escape(str(tmp_path / 'none'))} cannot be read: .*No such"
    ):
        read_installed(tmp_path / "none")


@pytest.mark.parametrize(
    ("pin", "met"),
    [
        ("torch==2.11.0", True),  # the host's 2.11.0+cu130 is a build of it
        ("torch==2.11.1", False),
        ("click==8.4.2", True),  # of which only the name is known
        ("click @ file:///click.whl", True),
        ("torch @ file:///torch.whl", False),
        ("ray==2.35.0", False),
    ],
)
def test_what_is_met(pin: str, met: bool) -> None:
    assert parse_pin(pin, "test").is_met_by({"torch": "2.11.0+cu130", "click": None}) is met


def test_selection() -> None:
    ray, click, numpy, tilelang = (Pin(name, f"{name}==1", "1") for name in ("ray", "click", "numpy", "tilelang"))
    # what is left out is so also where an old version is there
    found = select([ray, click, numpy, tilelang], {"click": None, "numpy": "2", "tilelang": "0"}, {"tilelang": "big"})
    assert (found.packed, found.installed, found.left_out) == ((ray, numpy), (click,), (tilelang,))


@pytest.mark.parametrize("word", ["ray[default]==2.56.1", "vllm", "ray @ https://example.org/ray.whl"])
def test_a_requirement(word: str) -> None:
    assert read_requirement(word) == word


@pytest.mark.parametrize("extras", ["", "[default,serve]"])
def test_a_wheel(tmp_path: Path, extras: str) -> None:
    wheel = tmp_path / "corp_ray-2.35.0+corp.3-cp312-cp312-linux_x86_64.whl"
    wheel.touch()
    assert read_requirement(f"{wheel}{extras}") == f"corp-ray{extras} @ {wheel.as_uri()}"


def test_a_wheel_that_is_missing() -> None:
    with pytest.raises(DistributionError, match=r"^there is no wheel none/ray\.whl$"):
        read_requirement("none/ray.whl[default]")


def test_a_word_that_is_no_requirement() -> None:
    with pytest.raises(DistributionError) as raised:
        read_requirement("ray=2.56.1")
    assert str(raised.value).startswith("'ray=2.56.1' is not a requirement: ")
    assert str(raised.value).endswith("write one as for pip, such as 'ray[default]==2.56.1', or the path of a wheel")
