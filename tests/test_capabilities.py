"""What the Ray under test has, asked of packages that are made for it, and of a real Ray where there is one."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from pytest_raycompat import capabilities
from pytest_raycompat.capabilities import Answer, Capabilities, ask, names_of
from pytest_raycompat.gaps import builtin_gaps
from pytest_raycompat.gaps.matching import CapabilityUnknown

FAKE_RAY = {
    "__init__.py": "print('Ray says hello')\nversion = '1'\n",
    "dag/__init__.py": """
import functools

def wrapped(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)
    return wrapper

def hidden(function):
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)
    return wrapper

class DAGNode:
    def compile(self, timeout=None): ...
    @wrapped
    def decorated(self, timeout=None): ...
    @hidden
    def anything(self, timeout=None): ...
    number = 3

def __getattr__(name):
    if name == "lazy":
        return DAGNode
    if name == "broken":
        raise RuntimeError("no such luck")
    raise AttributeError(name)
""",
    "data/__init__.py": "import a_package_that_is_missing\n",
    "data/llm.py": "raise AssertionError('imported')\n",
    "serve.py": "from ray import nothing_of_the_kind\n",
    "exits.py": "import sys; sys.exit(3)\n",
    "dies.py": "import os; os._exit(7)\n",
    "sleeps.py": "import time; time.sleep(60)\n",
}


@pytest.fixture
def fake_ray(tmp_path: Path) -> Mapping[str, str]:
    """The environment of a process in which a package stands for Ray."""
    for name, text in FAKE_RAY.items():
        path = tmp_path / "ray" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return {"PYTHONPATH": str(tmp_path)}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ray.version", Answer("present")),
        ("ray.dag", Answer("present")),
        ("ray.dag.DAGNode", Answer("present")),
        ("ray.dag.DAGNode.compile", Answer("present")),
        ("ray.dag.DAGNode.compile(timeout)", Answer("present")),
        ("ray.dag.DAGNode.compile(overlap)", Answer("absent")),
        ("ray.dag.DAGNode.decorated(timeout)", Answer("present")),
        ("ray.dag.DAGNode.decorated(overlap)", Answer("absent")),
        ("ray.dag.DAGNode.anything(overlap)", Answer("present")),
        ("ray.dag.DAGNode.other(timeout)", Answer("absent")),
        ("ray.dag.lazy.compile(timeout)", Answer("present")),
        ("ray.dag.nothing", Answer("absent")),
        ("ray.dag.nothing.below.it", Answer("absent")),
        ("ray.nothing", Answer("absent")),
        # a module is not imported to see that it exists: what it needs may be missing
        ("ray.data.llm", Answer("present")),
        ("ray.data.nothing", Answer("unknown", "ModuleNotFoundError: No module named 'a_package_that_is_missing'")),
        ("ray.dag.broken", Answer("unknown", "RuntimeError: no such luck")),
        ("ray.exits.anything", Answer("unknown", "SystemExit: 3")),
        ("ray.dag.DAGNode.number(timeout)", Answer("unknown", "TypeError: 3 is not a callable object")),
    ],
    ids=lambda value: value if isinstance(value, str) else value.state,
)
def test_a_name(fake_ray: Mapping[str, str], name: str, expected: Answer) -> None:
    assert ask(sys.executable, [name], fake_ray) == {name: expected}


def test_an_import_that_fails_for_another_reason_is_not_absence(fake_ray: Mapping[str, str]) -> None:
    answer = ask(sys.executable, ["ray.serve.LLMConfig"], fake_ray)["ray.serve.LLMConfig"]
    assert answer.state == "unknown"
    assert answer.why.startswith("ImportError: cannot import name 'nothing_of_the_kind' from 'ray'")


def test_all_names_are_asked_at_once(fake_ray: Mapping[str, str]) -> None:
    names = ["ray.dag", "ray.nothing", "ray.exits.x"]
    assert [answer.state for answer in ask(sys.executable, names, fake_ray).values()] == [
        "present",
        "absent",
        "unknown",
    ]


def test_where_there_is_no_ray_all_is_absent(make_interpreter: Callable[..., Path]) -> None:
    assert ask(str(make_interpreter()), ["ray.dag"], {}) == {"ray.dag": Answer("absent")}


def test_a_child_that_dies_answers_nothing(fake_ray: Mapping[str, str]) -> None:
    names = ["ray.dag", "ray.dies.anything"]
    why = f"{sys.executable!r} did not answer: exit status 7"
    assert ask(sys.executable, names, fake_ray) == {name: Answer("unknown", why) for name in names}


def test_a_child_that_takes_too_long_is_ended(fake_ray: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capabilities, "LIMIT_S", 1.0)
    why = f"{sys.executable!r} did not answer within 1 s"
    assert ask(sys.executable, ["ray.sleeps.x"], fake_ray) == {"ray.sleeps.x": Answer("unknown", why)}


def test_an_interpreter_that_answers_something_else(make_program: Callable[[str], Path]) -> None:
    python = str(make_program("echo no Python >&2; echo hello"))
    assert ask(python, ["ray.dag"], {})["ray.dag"] == Answer("unknown", f"{python!r} did not answer: no Python")


def test_an_interpreter_that_is_not_there() -> None:
    answer = ask("/no/such/python", ["ray.dag"], {})["ray.dag"]
    assert answer == Answer("unknown", "'/no/such/python' cannot be run: No such file or directory")


def test_they_are_asked_once_and_only_when_needed() -> None:
    asked: list[list[str]] = []

    def answer(names: list[str]) -> Mapping[str, Answer]:
        asked.append(names)
        return {"a": Answer("present"), "b": Answer("absent"), "c": Answer("unknown", "no luck")}

    capability = Capabilities(["a", "b", "c"], answer)
    assert asked == []
    assert capability("a") is True
    assert capability("b") is False
    with pytest.raises(CapabilityUnknown, match=r"^c: no luck$"):
        capability("c")
    assert asked == [["a", "b", "c"]]


def test_the_names_of_our_own_gaps() -> None:
    assert "ray.dag.DAGNode.experimental_compile(_overlap_gpu_communication)" in names_of(builtin_gaps())


@pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install ray, or tox run -e py"
)
def test_a_real_ray() -> None:
    import ray

    overlap = "ray.dag.DAGNode.experimental_compile(_overlap_gpu_communication)"
    names = [overlap, "ray.dag.DAGNode.experimental_compile(nothing)", "ray.init(address)"]
    version = tuple(int(part) for part in ray.__version__.split(".")[:2])
    assert {name: answer.state for name, answer in ask(sys.executable, names, {}).items()} == {
        overlap: "present" if version >= (2, 39) else "absent",
        "ray.dag.DAGNode.experimental_compile(nothing)": "absent",
        "ray.init(address)": "present",
    }
