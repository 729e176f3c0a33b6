from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from pytest_raycompat.files import check_output, write_file


def test_a_link_goes_on_pointing_to_what_it_names(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "reports" / "target")
    write_file(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "reports" / "target").read_bytes() == b"new"


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()), daemon=True)
    reader.start()
    write_file(pipe, b"new")
    reader.join(10)
    assert read == [b"new"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"Not a directory|File exists") as raised:
        write_file(tmp_path / "file" / "x.md", b"")
    assert raised.value.filename == str(tmp_path / "file" / "x.md")


def test_whether_something_can_be_written_is_found_out_without_a_trace(tmp_path: Path) -> None:
    check_output(tmp_path / "a" / "b.json", "-o")
    assert list(tmp_path.iterdir()) == []
    check_output(Path("/dev/null"), "-o")


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        (".", "'.' is a folder: write the path of a file"),
        ("file/a/b.json", "'file/a/b.json' is below 'file', which is a file"),
        ("/proc/b.json", "'/proc/b.json' cannot be written: /proc: No such file or directory"),
    ],
)
def test_what_cannot_be_written_is_found_out_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, problem: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(ValueError) as raised:
        check_output(Path(path), "-o")
    assert str(raised.value) == f"-o: {problem}"
