from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pytest_raycompat.releases import File, ReleaseError, Target
from pytest_raycompat.releases.target import pythons_of, target_of

TARGET = Target((3, 11), ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64"))


def files(*names: str, requires_python: str | None = None) -> list[File]:
    return [File(name, f"https://example.org/{name}", requires_python=requires_python) for name in names]


def name_of(file: File | None) -> str | None:
    return None if file is None else file.name


def test_the_newest_platform_that_fits_is_preferred() -> None:
    old, new = files("ray-1-cp311-cp311-manylinux_2_17_x86_64.whl", "ray-1-cp311-cp311-manylinux_2_28_x86_64.whl")
    assert TARGET.choose([old, new]) == new == TARGET.choose([new, old])


def test_a_wheel_for_the_stable_abi_of_an_older_python_fits() -> None:
    (wheel,) = files("vllm-1-cp38-abi3-manylinux_2_17_x86_64.whl")
    assert TARGET.choose([wheel]) == wheel


def test_a_wheel_of_another_machine_is_not_installed_but_may_be_read() -> None:
    wheels = files("ray-1-cp311-cp311-macosx_12_0_arm64.whl", "ray-1-cp311-cp311-manylinux_2_17_aarch64.whl")
    assert TARGET.choose(wheels) is None
    assert name_of(TARGET.choose_to_read(wheels)) == "ray-1-cp311-cp311-manylinux_2_17_aarch64.whl"


def test_a_wheel_of_another_python_is_neither() -> None:
    wheels = files("ray-1-cp312-cp312-manylinux_2_17_x86_64.whl", "ray-1-cp39-cp39-manylinux_2_17_x86_64.whl")
    assert TARGET.choose(wheels) is None is TARGET.choose_to_read(wheels)
    assert pythons_of(wheels) == ["3.9", "3.12"]


@pytest.mark.parametrize(("specifier", "fits"), [(">=3.10,<3.14", True), ("<3.11", False), ("nonsense", True)])
def test_what_a_file_says_of_its_pythons_counts(specifier: str, fits: bool) -> None:
    wheels = files("vllm-1-cp38-abi3-manylinux_2_17_x86_64.whl", requires_python=specifier)
    assert (TARGET.choose(wheels) is not None) == fits


def test_this_machine_and_another_python() -> None:
    assert Target.here().python == sys.version_info[:2]
    assert Target.here("3.12").python == (3, 12)
    with pytest.raises(ReleaseError, match=r"^'2\.7' is not a Python version: write one such as 3\.11$"):
        Target.here("2.7")


@pytest.mark.parametrize("named", ["3.12", "3.12.4"])
def test_a_python_by_its_version(named: str) -> None:
    assert (target_of(named).version, str(target_of(named))) == ("3.12", "Python 3.12")


def test_a_python_by_its_interpreter(tmp_path: Path) -> None:
    (tmp_path / "python").symlink_to(sys.executable)
    assert target_of(str(tmp_path / "python")).python == sys.version_info[:2]
