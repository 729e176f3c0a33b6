"""What unpack.py says of a host; the rest of it runs as a program in test_making.py."""

from __future__ import annotations

import importlib
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest

from pytest_raycompat.packing import unpack
from tests.wheels import install_wheel, make_wheel


def files(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "host"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


def install(host: Path, name: str, version: str, *names: str) -> None:
    install_wheel(make_wheel(host / "wheels", name, version, contents=names), host)


def complaints(target: Path, *expected: str, needed: dict[str, dict[str, str]] | None = None) -> Sequence[str]:
    return list(unpack.complaints(target, {"expected": dict.fromkeys(expected), "needed": needed or {}}))


def test_a_python_that_cannot_unpack_safely_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack, "PARTS", tmp_path)
    (tmp_path / "SHA256SUMS").touch()
    manifest = {"python_version": "{}.{}".format(*sys.version_info)}
    assert list(unpack.find_problems(tmp_path / "site", manifest)) == []
    monkeypatch.delattr(tarfile, "data_filter")
    assert list(unpack.find_problems(tmp_path / "site", manifest)) == [
        f"this Python {sys.version.split()[0]} cannot unpack without trusting the pack: run 3.10.12, 3.11.4 or newer"
    ]


def test_a_package_of_the_pack_hides_one_of_the_host(host: Path, tmp_path: Path) -> None:
    install(host, "made-up-pathfinder", "1.9", "made_up/pathfinder/__init__.py", "made_up/pathfinder/find.py")
    files(tmp_path / "site", "made_up/__init__.py", "made_up/bindings.so")
    assert complaints(tmp_path / "site", "made-up-pathfinder") == [
        "made_up of the pack hides made_up/pathfinder/__init__.py of made-up-pathfinder, which this host has: "
        "pack made-up-pathfinder too"
    ]


def test_a_package_of_the_host_hides_one_of_the_pack(host: Path, tmp_path: Path) -> None:
    install(host, "made-up", "1.9", "made_up/__init__.py")
    files(tmp_path / "site", "made_up/bindings.so")
    assert complaints(tmp_path / "site", "made-up") == [
        "made-up of this host hides made_up of the pack: pack made-up too"
    ]


def test_what_is_put_together_or_seldom_imported_is_no_matter(host: Path, tmp_path: Path) -> None:
    install(host, "made-up-one", "1.0", "made_up/one.py", "tests/__init__.py", "made_up_alone.py")
    install(host, "made-up-two", "1.0", "made_up_two/__init__.py")
    files(tmp_path / "site", "made_up/two.py", "tests/__init__.py", "made_up_two/__init__.py")
    assert complaints(tmp_path / "site", "made-up-one", "made-up-two") == []


def test_versions_are_checked_where_something_knows_them(
    host: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(host, "made-up", "1.84.0")
    needed = {"made-up": {">=1.85.1": "made-up-reflection 1.85.1", ">=1.60": "other 1.0"}}
    said = ["this host has made-up 1.84.0, and made-up-reflection 1.85.1 needs >=1.85.1: pack made-up too"]
    assert complaints(tmp_path, "made-up", needed=needed) == said

    known = {"pip._vendor.packaging.specifiers": importlib.import_module("packaging.specifiers")}

    def import_module(name: str) -> ModuleType:
        try:
            return known[name]
        except KeyError:
            raise ImportError(name) from None

    monkeypatch.setattr(importlib, "import_module", import_module)
    assert complaints(tmp_path, "made-up", needed=needed) == said
    known.clear()
    assert complaints(tmp_path, "made-up", needed=needed) == []
