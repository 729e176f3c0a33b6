from __future__ import annotations

import io
import lzma
import random
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from pytest_raycompat.packing import parts
from pytest_raycompat.packing.parts import Manifest, read_manifest, write_pack

MANIFEST = Manifest(
    python_version="{}.{}".format(*sys.version_info),
    platform="x86_64",
    requirements=(),
    packed=("a==1",),
    expected={},
    left_out={},
)


@pytest.mark.parametrize("stream_bytes", [1000, 2**20])
def test_many_streams_are_one_file_of_xz_and_come_out_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stream_bytes: int
) -> None:
    monkeypatch.setattr(parts, "STREAM_BYTES", stream_bytes)
    draw = random.Random(1)
    site, folder = tmp_path / "site", tmp_path / "pack"
    files = {f"package/{number}.py": draw.randbytes(draw.randint(0, 5000)) for number in range(20)}
    for name, content in files.items():
        path = site / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    folder.mkdir()
    written = write_pack(site, folder, 7000, MANIFEST)
    joined = b"".join(path.read_bytes() for path in written)
    streams = read_manifest(folder).streams
    assert sum(streams) == len(joined)
    assert (len(streams) > len(written) > 1) is (stream_bytes == 1000)
    with tarfile.open(fileobj=io.BytesIO(lzma.decompress(joined))) as archive:
        assert sorted(member.name for member in archive if member.isfile()) == sorted(files)
    unpacked = tmp_path / "unpacked"
    finished = subprocess.run([sys.executable, folder / "unpack.py", unpacked], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert {str(path.relative_to(unpacked)): path.read_bytes() for path in unpacked.rglob("*.py")} == files
