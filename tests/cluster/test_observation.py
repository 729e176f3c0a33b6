from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pytest_raycompat.cluster.observation import Observer, ObserverEnded
from pytest_raycompat.processes.children import Children

PROGRAM = """#!{python}
import pathlib, sys
tries = pathlib.Path({tries!r})
tries.write_text((tries.read_text() if tries.exists() else "") + "x")
print('{{"answer": "imported"}}', flush=True)
sys.stdin.readline()
if len(tries.read_text()) <= {fails}:
    sys.exit("Failed to register worker to Raylet")
print('{{"answer": "connected"}}', flush=True)
sys.stdin.readline()
print('{{"answer": []}}', flush=True)
"""


def python_that_fails(tmp_path: Path, fails: int) -> str:
    """Write what takes the place of an interpreter: so many of its processes end when they are to connect."""
    program = tmp_path / "python"
    program.write_text(PROGRAM.format(python=sys.executable, tries=str(tmp_path / "tries"), fails=fails))
    program.chmod(0o755)
    return str(program)


def test_a_driver_that_ray_ends_while_it_connects_is_started_again(children: Children, tmp_path: Path) -> None:
    observer = Observer(children, python_that_fails(tmp_path, 1), {}, tmp_path / "log")
    observer.connect("127.0.0.1:1", 20)
    assert observer.nodes() == []
    assert (tmp_path / "tries").read_text() == "xx"
    observer.close()


def test_it_is_started_again_once(children: Children, tmp_path: Path) -> None:
    observer = Observer(children, python_that_fails(tmp_path, 2), {}, tmp_path / "log")
    with pytest.raises(ObserverEnded) as raised:
        observer.connect("127.0.0.1:1", 20)
    assert str(raised.value) == (
        "the process that watches Ray ended (exit status 1): Failed to register worker to Raylet; "
        f"log: {tmp_path / 'log'}"
    )
    observer.close()


def test_not_where_there_is_no_more_use(children: Children, tmp_path: Path) -> None:
    observer = Observer(children, python_that_fails(tmp_path, 1), {}, tmp_path / "log")
    gone = False

    def watch() -> None:
        if gone:
            raise LookupError("the node ended")

    observer._read(20, watch)
    observer._imported = gone = True
    with pytest.raises(LookupError):
        observer.connect("127.0.0.1:1", 20, watch)
    assert (tmp_path / "tries").read_text() == "x"
    observer.close()
