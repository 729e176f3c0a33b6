from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pytest_raycompat.cluster.observation import Observer, ObserverEnded, ObserverError
from pytest_raycompat.processes.children import Children

PROGRAM = """#!{python}
import pathlib, sys
tries = pathlib.Path({tries!r})
tries.write_text((tries.read_text() if tries.exists() else "") + "x")
print('{{"number": 0, "answer": "imported"}}', flush=True)
sys.stdin.readline()
if len(tries.read_text()) <= {fails}:
    sys.exit("Failed to register worker to Raylet")
print('{{"number": 1, "answer": "connected"}}', flush=True)
sys.stdin.readline()
print('{{"number": 2, "answer": []}}', flush=True)
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

    observer._read(0, 20, watch)
    observer._imported = gone = True
    with pytest.raises(LookupError):
        observer.connect("127.0.0.1:1", 20, watch)
    assert (tmp_path / "tries").read_text() == "x"
    observer.close()


SLOW_ONCE = """#!{python}
import json, sys, time
print(json.dumps({{"number": 0, "answer": "imported"}}), flush=True)
node = {{"node_id": "n", "address": "a", "alive": True, "head": True, "gpus": 1, "free_gpus": 0}}
actor = {{"actor_id": "1", "class_name": "C", "name": "", "node_id": "n", "pid": 1, "job_id": "1",
          "driver_address": "a", "driver_pid": 2}}
for line in sys.stdin:
    question = json.loads(line)
    if question["number"] == 2:
        time.sleep(1)
    answer = {{"connect": "connected", "nodes": [node], "actors": [actor], "pending": "none"}}[question["ask"]]
    print(json.dumps({{"number": question["number"], "answer": answer}}), flush=True)
"""


def test_an_answer_that_comes_too_late_is_not_that_to_the_next_question(children: Children, tmp_path: Path) -> None:
    program = tmp_path / "python"
    program.write_text(SLOW_ONCE.format(python=sys.executable))
    program.chmod(0o755)
    observer = Observer(children, str(program), {}, tmp_path / "log")
    observer.connect("127.0.0.1:1", 20)
    with pytest.raises(ObserverError, match=r"^no answer from Ray within 0 s; log: "):
        observer.nodes(0.2)
    assert [actor.class_name for actor in observer.actors()] == ["C"]
    assert [node.address for node in observer.nodes()] == ["a"]
    with pytest.raises(ObserverError, match=r"^Ray lists pending in a way that is not known: Expected `array`"):
        observer.pending()
    observer.close()
