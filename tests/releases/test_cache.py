from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_raycompat.releases.cache import Cache, cache_folder


@pytest.fixture
def warnings() -> list[str]:
    return []


def only_file(folder: Path) -> Path:
    (path,) = folder.glob("*/*")
    return path


def test_what_is_put_is_got(tmp_path: Path, warnings: list[str]) -> None:
    cache = Cache(tmp_path, warn=warnings.append)
    assert cache.get("facts", "a") is None
    cache.put("facts", "a", b"one")
    assert cache.get("facts", "a") == b"one"
    assert cache.get("listings", "a") is None
    assert not warnings


@pytest.mark.parametrize("left", [0, 10, 18])
def test_a_truncated_file_is_said_and_removed(tmp_path: Path, warnings: list[str], left: int) -> None:
    cache = Cache(tmp_path, warn=warnings.append)
    cache.put("facts", "a", b"one")
    path = only_file(tmp_path)
    path.write_bytes(path.read_bytes()[:left])
    assert cache.get("facts", "a") is None
    assert warnings == [f"{path} is damaged (an interrupted copy, or a full disk?): it is made anew"]
    assert not path.exists()


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    cache = Cache(tmp_path, limit_bytes=1000)
    for age, key in ((300, "a"), (200, "b"), (100, "c")):
        cache.put("facts", key, b"x" * 280)
        path = max(tmp_path.glob("facts/*"), key=lambda path: path.stat().st_mtime)
        os.utime(path, (path.stat().st_atime, path.stat().st_mtime - age))
    assert cache.get("facts", "a") is not None
    cache.put("facts", "d", b"x" * 280)
    assert [cache.get("facts", key) is not None for key in "abcd"] == [True, False, False, True]
    assert sum(path.stat().st_size for path in tmp_path.glob("*/*")) <= 1000


def test_a_folder_that_cannot_be_written_is_said_once(tmp_path: Path, warnings: list[str]) -> None:
    (tmp_path / "file").write_text("")
    cache = Cache(tmp_path / "file", warn=warnings.append)
    cache.put("facts", "a", b"one")
    cache.put("facts", "b", b"one")
    assert warnings == [f"{tmp_path / 'file'} cannot be written (Not a directory): nothing is kept for the next time"]


def test_the_folder_follows_the_desktop_specification() -> None:
    assert cache_folder({"XDG_CACHE_HOME": "/c", "HOME": "/h"}) == Path("/c/pytest-raycompat")
    assert cache_folder({"XDG_CACHE_HOME": "relative", "HOME": "/h"}) == Path("/h/.cache/pytest-raycompat")
    assert cache_folder({"HOME": "/h"}) == Path("/h/.cache/pytest-raycompat")
