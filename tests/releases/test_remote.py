from __future__ import annotations

import io
import random
import tarfile
from collections.abc import Callable, Generator
from contextlib import ExitStack
from pathlib import Path
from typing import TypeAlias

import pytest

from pytest_raycompat.releases import ReleaseError
from pytest_raycompat.releases.index import Index
from pytest_raycompat.releases.remote import RemoteArchive
from tests.local_index import LocalIndex, wheel_of

NAME = "ray-2.35.0-cp311-cp311-manylinux_2_17_x86_64.whl"
FILLER = random.Random(0).randbytes(3_000_000)
FILES: dict[str, str | bytes] = {
    "ray/__init__.py": "import ray.actor\n" * 100,
    "ray/core.bin": FILLER,
    "ray/actor.py": "class ActorHandle: ...\n",
    "ray/empty.py": "",
}
OpenArchive: TypeAlias = Callable[[], RemoteArchive]


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def open_archive(index: LocalIndex, warnings: list[str]) -> Generator[OpenArchive]:
    with ExitStack() as stack:
        asked = stack.enter_context(Index(warn=warnings.append))

        def opened() -> RemoteArchive:
            release = asked.release("ray", "2.35.0")
            wheel = next((file for file in release.files if file.is_wheel), None)
            archive = RemoteArchive(asked.transport, wheel, release.sdist, warnings.append)
            stack.callback(archive.close)
            return archive

        yield opened


def sdist_of(files: dict[str, str]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for path, content in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content.encode()))
    return stream.getvalue()


def test_only_what_is_asked_for_is_sent(index: LocalIndex, open_archive: OpenArchive, warnings: list[str]) -> None:
    index.add("ray", NAME, wheel_of("ray", "2.35.0", FILES))
    archive = open_archive()
    assert set(FILES) < set(archive.names())
    wanted = ("ray/__init__.py", "ray/actor.py", "ray/empty.py", "ray-2.35.0.dist-info/METADATA")
    found = archive.read(wanted)
    assert found["ray/__init__.py"].decode() == FILES["ray/__init__.py"]
    assert found["ray/actor.py"].decode() == FILES["ray/actor.py"]
    assert found["ray/empty.py"] == b""
    assert b"Version: 2.35.0" in found["ray-2.35.0.dist-info/METADATA"]
    # the end of the file, and the two files before and after the filler
    assert index.sent < 1_100_000 < len(FILLER)
    assert not warnings


def test_a_large_file_is_read_whole_too(index: LocalIndex, open_archive: OpenArchive) -> None:
    index.add("ray", NAME, wheel_of("ray", "2.35.0", FILES))
    assert open_archive().read(["ray/core.bin"])["ray/core.bin"] == FILLER


def test_without_ranges_the_whole_wheel_is_fetched_and_said(
    index: LocalIndex, open_archive: OpenArchive, warnings: list[str]
) -> None:
    index.ranges = False
    index.add("ray", NAME, wheel_of("ray", "2.35.0", FILES))
    archive = open_archive()
    assert archive.read(["ray/actor.py"])["ray/actor.py"].decode() == FILES["ray/actor.py"]
    server = index.address.removeprefix("http://").removesuffix("/simple")
    assert warnings == [f"{server} sends whole files only: fetching {NAME}, 3 MiB"]


def test_without_ranges_a_smaller_source_distribution_is_taken(index: LocalIndex, open_archive: OpenArchive) -> None:
    index.ranges = False
    index.add("ray", NAME, wheel_of("ray", "2.35.0", FILES))
    files = {"ray-2.35.0/ray/actor.py": "class ActorHandle: ...\n", "ray-2.35.0/PKG-INFO": "Version: 2.35.0\n"}
    index.add("ray", "ray-2.35.0.tar.gz", sdist_of(files))
    archive = open_archive()
    assert sorted(archive.names()) == ["ray/actor.py", "sdist.dist-info/METADATA"]
    assert archive.read(["ray/actor.py"]) == {"ray/actor.py": b"class ActorHandle: ...\n"}
    assert [path for path, _ in index.asked[1:]] == [f"/files/{NAME}", "/files/ray-2.35.0.tar.gz"]


@pytest.mark.parametrize("ranges", [True, False])
def test_what_is_no_wheel_is_said(index: LocalIndex, open_archive: OpenArchive, ranges: bool) -> None:
    index.ranges = ranges
    index.add("ray", NAME, b"<html>Log in first</html>")
    with pytest.raises(ReleaseError, match="not a wheel"):
        open_archive().names()


def test_a_damaged_file_is_named(index: LocalIndex, open_archive: OpenArchive) -> None:
    content = bytearray(wheel_of("ray", "2.35.0", FILES))
    place = content.index(FILLER[:64]) + 1000
    content[place] ^= 0xFF
    index.add("ray", NAME, bytes(content))
    with pytest.raises(ReleaseError, match=rf"^{NAME}: damaged at ray/core\.bin: "):
        open_archive().read(["ray/core.bin"])


def test_a_file_that_is_not_what_the_index_lists(index: LocalIndex, open_archive: OpenArchive) -> None:
    index.ranges = False
    index.add("ray", NAME, wheel_of("ray", "2.35.0", FILES), hashes={"sha256": "0" * 64})
    with pytest.raises(
        ReleaseError, match=rf"^{NAME}: what came is not what the index lists \(its SHA-256 is [0-9a-f]+\)$"
    ):
        open_archive().names()


def test_an_index_in_a_folder(
    tmp_path: Path, index: LocalIndex, open_archive: OpenArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "simple" / "ray"
    folder.mkdir(parents=True)
    (folder / NAME).write_bytes(wheel_of("ray", "2.35.0", FILES))
    (folder / "index.html").write_text(f'<html><a href="{NAME}">{NAME}</a></html>')
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "simple").as_uri())
    with Index() as asked:
        (file,) = asked.release("ray", "2.35.0").files
        archive = RemoteArchive(asked.transport, file, None, print)
        assert archive.read(["ray/empty.py"]) == {"ray/empty.py": b""}
