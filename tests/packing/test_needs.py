from __future__ import annotations

from pathlib import Path

from pytest_raycompat.packing.needs import read_needs
from pytest_raycompat.packing.resolver import Host
from tests.wheels import install_wheel, make_wheel

HOST = Host("3.12", "x86_64-manylinux_2_35")


def distribution(site: Path, name: str, *requires: str) -> None:
    install_wheel(make_wheel(site / "wheels", name, "1.0", requires), site)


def test_what_others_ask_for(tmp_path: Path) -> None:
    distribution(tmp_path, "grpcio_reflection", "grpcio>=1.85.1", "protobuf<8,>=6")
    distribution(tmp_path, "vllm", "Grpcio", "grpcio>=1.60", "not a requirement")
    distribution(tmp_path, "zonal", "grpcio>=1.60")
    assert read_needs(tmp_path, {"grpcio"}, HOST) == {
        "grpcio": {">=1.85.1": "grpcio_reflection 1.0", ">=1.60": "vllm 1.0"}
    }
    assert read_needs(tmp_path, set(), HOST) == {}


def test_markers_are_those_of_the_host(tmp_path: Path) -> None:
    distribution(
        tmp_path,
        "ray",
        "a>=1; python_version < '3.12'",
        "b>=1; python_version >= '3.12' and platform_machine == 'x86_64' and sys_platform == 'linux'",
        "c>=1; extra == 'serve'",
    )
    assert read_needs(tmp_path, {"a", "b", "c"}, HOST) == {"b": {">=1": "ray 1.0"}}
    assert read_needs(tmp_path, {"a", "b", "c"}, Host("3.11", "aarch64-manylinux_2_35")) == {"a": {">=1": "ray 1.0"}}
