"""``raycompat pack`` with a uv that resolves to what a test says: no network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from pytest_raycompat.cli import main
from pytest_raycompat.packing.omissions import DISTRIBUTIONS
from pytest_raycompat.packing.parts import read_manifest

HERE = "{}.{}".format(*sys.version_info)

PROGRAM = """#!{python}
import json, pathlib, sys

here = pathlib.Path(__file__).parent
words = sys.argv[1:]
given = sys.stdin.read().split("\\n")[:-1]
verb = words[1]
output = pathlib.Path(words[words.index("-o") + 1]) if "-o" in words else None
if "--override" in words:
    (here / "overrides.txt").write_text(pathlib.Path(words[words.index("--override") + 1]).read_text())
call = {{"words": words, "given": given, "preferred": output.read_text().split() if output else []}}
(here / f"{{verb}}.json").write_text(json.dumps(call))
if (here / f"{{verb}}.fails").exists():
    sys.exit((here / f"{{verb}}.fails").read_text())
if verb == "compile":
    output.write_text((here / "resolved.txt").read_text())
else:
    site = pathlib.Path(words[words.index("--target") + 1])
    for pin in given:
        name = pin.partition("=")[0].partition(" ")[0]
        (site / name / "jars").mkdir(parents=True)
        (site / name / "__init__.py").write_text(f"{{pin!r}}\\n" * 1000)
        (site / name / "jars" / "all.jar").write_text(name)
    if (here / "requires.txt").exists():
        (site / "ray-2.56.1.dist-info").mkdir()
        requires = (here / "requires.txt").read_text()
        (site / "ray-2.56.1.dist-info" / "METADATA").write_text("Name: ray\\nVersion: 2.56.1\\n" + requires)
"""


class FakeUv:
    """A program called uv that resolves to what a test says, and installs small packages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        program = folder / "uv"
        program.write_text(PROGRAM.format(python=sys.executable))
        program.chmod(0o755)

    def resolves_to(self, *lines: str) -> None:
        (self.folder / "resolved.txt").write_text("".join(f"{line}\n" for line in lines))

    def fails(self, verb: str, reason: str) -> None:
        (self.folder / f"{verb}.fails").write_text(reason)

    def called(self, verb: str, part: str) -> list[str]:
        found: list[str] = json.loads((self.folder / f"{verb}.json").read_text())[part]
        return found


@pytest.fixture
def uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeUv:
    folder = tmp_path / "fake"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return FakeUv(folder)


def pack(folder: Path, *words: str) -> int:
    return main(["pack", *words, "--out", str(folder), "--python-version", HERE])


def unpack(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", str(folder / "unpack.py"), *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_what_is_packed_comes_out_again(uv: FakeUv, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    uv.resolves_to("pytest==9.2.0", "ray==2.56.1", "tilelang==0.1.9", "vllm==0.20.2", "nothing-such==1.0")
    have = tmp_path / "have.txt"
    have.write_text("pytest\nvllm==0.19.0\nnothing-such==1.0\n")
    assert pack(tmp_path / "new" / "out", "ray[default]==2.56.1", "vllm==0.20.2", "--have", str(have)) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[:3] == [
        f"left out: tilelang 0.1.9 ({DISTRIBUTIONS['tilelang']})",
        "hides vllm 0.19.0: vllm 0.20.2",
        "not packed, being there: pytest 9.2.0, nothing-such 1.0",
    ]
    assert said[3] == f"packed 2 distributions into {tmp_path / 'new' / 'out'}: 0.0 MiB, 1 part"
    assert os.listdir(tmp_path / "new") == ["out"]
    assert files_in(tmp_path / "new" / "out") == ["SHA256SUMS", "pack.json", "part.000", "unpack.py"]
    done = unpack(tmp_path / "new" / "out", str(tmp_path / "site"))
    assert (done.returncode, done.stdout) == (0, f"2 distributions are in {tmp_path / 'site'}\n")
    assert done.stderr == "this host lacks nothing-such 1.0\n"
    assert files_in(tmp_path / "site") == ["ray/__init__.py", "vllm/__init__.py", "vllm/jars/all.jar"]


def test_the_host_has_another_version_than_is_needed(uv: FakeUv, tmp_path: Path) -> None:
    uv.resolves_to("pytest==99.0", "ray==2.56.1")
    (uv.folder / "requires.txt").write_text("Requires-Dist: pytest>=99\nRequires-Dist: pytest; extra == 'test'\n")
    have = tmp_path / "have.txt"
    have.write_text("pytest\n")
    assert pack(tmp_path / "out", "ray", "--have", str(have)) == 0
    assert read_manifest(tmp_path / "out").needed == {"pytest": {">=99": "ray 2.56.1"}}
    done = unpack(tmp_path / "out", str(tmp_path / "site"))
    wrong = f"this host has pytest {pytest.__version__}, and ray 2.56.1 needs >=99: pack pytest too\n"
    assert (done.returncode, done.stderr) == (0, wrong)


def test_a_version_that_others_refuse(uv: FakeUv, tmp_path: Path) -> None:
    uv.resolves_to("ray==2.35.0", "vllm==0.10.0")
    words = ["vllm==0.10.0", "--override", "ray[default]==2.35.0", "--override", "numpy<2"]
    assert pack(tmp_path / "out", *words) == 0
    assert (uv.folder / "overrides.txt").read_text() == "ray[default]==2.35.0\nnumpy<2\n"
    assert uv.called("compile", "given") == ["vllm==0.10.0"]
    assert pack(tmp_path / "other", "vllm==0.10.0") == 0
    assert "--override" not in uv.called("compile", "words")


def test_what_uv_is_asked(uv: FakeUv, tmp_path: Path) -> None:
    uv.resolves_to("ray==2.56.1")
    have = tmp_path / "have.txt"
    have.write_text("torch==2.11.0+cu130\nclick\n")
    words = ["--have", str(have), "--exclude-newer", "2026-08-01", "--platform", "aarch64-manylinux_2_39"]
    assert pack(tmp_path / "out", "ray", *words) == 0
    host = f"--python-version {HERE} --python-platform aarch64-manylinux_2_39 --only-binary :all:"
    asked = " ".join(uv.called("compile", "words"))
    assert host in asked
    assert "--exclude-newer 2026-08-01 --exclude-newer-package=torch=false --exclude-newer-package=click=false" in asked
    assert uv.called("compile", "preferred") == ["torch==2.11.0"]
    assert uv.called("compile", "given") == ["ray"]
    assert host in " ".join(uv.called("install", "words"))
    assert "--no-deps" in uv.called("install", "words")


def test_an_overlay_has_only_what_differs(uv: FakeUv, tmp_path: Path) -> None:
    have = tmp_path / "have.txt"
    have.write_text("click==8.0\npytest\n")
    uv.resolves_to("ray==2.56.1", "click==8.4.2", "vllm==0.20.2", "pytest==9.2.0")
    assert pack(tmp_path / "first", "ray==2.56.1", "vllm", "--have", str(have)) == 0
    # the host's click would fit, but the first pack hides it
    uv.resolves_to("ray==2.35.0", "click==8.0", "vllm==0.20.2", "pytest==9.2.0", "memray==1.20.0")
    words = ["--have", str(have), "--overlay", str(tmp_path / "first")]
    assert pack(tmp_path / "second", "ray==2.35.0", "vllm", *words) == 0
    assert uv.called("install", "given") == ["ray==2.35.0", "click==8.0", "memray==1.20.0"]
    assert set(uv.called("compile", "preferred")) == {"ray==2.56.1", "click==8.4.2", "vllm==0.20.2"}
    assert read_manifest(tmp_path / "second").expected == {"pytest": "9.2.0"}


@pytest.fixture
def parts(uv: FakeUv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("pytest_raycompat.commands.pack.MIB", 100)
    uv.resolves_to("ray==2.56.1", "vllm==0.20.2")
    assert pack(tmp_path / "out", "ray", "vllm", "--part-mib", "1") == 0
    return tmp_path / "out"


def test_many_parts(parts: Path, tmp_path: Path) -> None:
    found = sorted(parts.glob("part.*"))
    assert len(found) > 2
    assert {path.stat().st_size for path in found[:-1]} == {100}
    assert found[-1].stat().st_size <= 100
    assert unpack(parts, str(tmp_path / "site")).returncode == 0
    assert (tmp_path / "site" / "vllm" / "__init__.py").read_text() == "'vllm==0.20.2'\n" * 1000


def test_sha256sum_reads_the_checksums(parts: Path) -> None:
    subprocess.run(["/usr/bin/sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=parts, timeout=60, check=True)


def test_packed_twice_is_the_same(parts: Path, tmp_path: Path) -> None:
    assert pack(tmp_path / "again", "ray", "vllm", "--part-mib", "1") == 0
    assert (tmp_path / "again" / "SHA256SUMS").read_text() == (parts / "SHA256SUMS").read_text()


def test_parts_that_are_missing_or_damaged(parts: Path, tmp_path: Path) -> None:
    (parts / "part.000").unlink()
    (parts / "part.001").write_bytes(b"x")
    done = unpack(parts, str(tmp_path / "site"))
    assert done.returncode == 1
    assert done.stderr == f"part.000 is missing: copy it to {parts}\npart.001 is damaged: copy it again\n"
    assert not (tmp_path / "site").exists()


def test_a_folder_that_exists(parts: Path, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    done = unpack(parts, str(tmp_path / "site"))
    assert (done.returncode, done.stderr) == (1, f"{tmp_path / 'site'} exists: name a folder that does not\n")


def test_another_python(parts: Path, tmp_path: Path) -> None:
    manifest = json.loads((parts / "pack.json").read_text())
    (parts / "pack.json").write_text(json.dumps({**manifest, "python_version": "3.4"}))
    done = unpack(parts, str(tmp_path / "site"))
    assert done.stderr == f"the pack is for Python 3.4, and this is {HERE}: run another python3\n"


def test_unpack_without_a_folder(parts: Path) -> None:
    done = unpack(parts)
    assert done.returncode == 2
    assert "usage: python3 unpack.py FOLDER" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--python-version", "312"], "--python-version: '312' is not a version such as 3.12"),
        (["--part-mib", "0"], "--part-mib: 0 is not a size: write a number of MiB, 1 or more"),
        (["--exclude-newer", "August"], "--exclude-newer: 'August' is not a day such as 2026-08-01"),
        (["--out", "."], "--out: . exists: name a folder that does not, or remove it"),
        (["--have", "no.txt"], "--have: no.txt cannot be read: [Errno 2] No such file or directory: 'no.txt'"),
        (
            ["--overlay", "no"],
            "--overlay: no is not a folder that 'raycompat pack' wrote: [Errno 2] No such file or directory: ",
        ),
        (["--keep", "numpy"], "--keep: 'numpy' is not left out: what is left out is cuda-tile, "),
    ],
)
def test_what_is_wrong_with_the_command_line(
    words: Sequence[str], message: str, uv: FakeUv, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pack", "ray", "--out", str(tmp_path / "out"), *words]) == 4
    assert capsys.readouterr().err.startswith(f"raycompat: {message}")
    assert files_in(uv.folder) == ["uv"]


def test_uv_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert pack(tmp_path / "out", "ray") == 4
    assert capsys.readouterr().err == (
        "raycompat: uv is needed and was not found: pip install 'pytest-raycompat[pack]', or install uv\n"
    )


@pytest.mark.parametrize(
    ("verb", "task"),
    [("compile", "the requirements cannot be met"), ("install", "a distribution cannot be fetched")],
)
def test_uv_says_why(verb: str, task: str, uv: FakeUv, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    uv.resolves_to("ray==2.56.1")
    uv.fails(verb, "Because only ray<=2.60.0 is available and you require ray==9, ...")
    assert pack(tmp_path / "out", "ray==9") == 4
    reason = "Because only ray<=2.60.0 is available and you require ray==9, ..."
    assert capsys.readouterr().err == f"raycompat: {task}:\n{reason}\n"
    assert sorted(os.listdir(tmp_path)) == ["fake"]


def test_nothing_to_pack(uv: FakeUv, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    uv.resolves_to("pytest==9.2.0")
    (tmp_path / "have.txt").write_text("pytest==9.2.0\n")
    assert pack(tmp_path / "out", "pytest", "--have", str(tmp_path / "have.txt")) == 4
    assert capsys.readouterr().err == "raycompat: there is nothing to pack: the host has all that is required\n"


def test_an_overlay_of_something_else(uv: FakeUv, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pack.json").write_text("{}")
    assert pack(tmp_path / "out", "ray", "--overlay", str(tmp_path)) == 4
    assert capsys.readouterr().err == (
        f"raycompat: --overlay: {tmp_path} is not a folder that 'raycompat pack' wrote: "
        "Object missing required field `python_version`\n"
    )
