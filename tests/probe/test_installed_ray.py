"""What the sources of the installed Ray say, against what that Ray says when it is asked."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest

from pytest_raycompat import capabilities
from pytest_raycompat.probe.existence import exists
from pytest_raycompat.probe.session import Session

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install ray, or tox run -e py"
)

NAMES = (
    "ray.data.llm",
    "ray.nope",
    "ray.util.placement_group",
    "ray.util.nope",
    "ray.dag.MultiOutputNode",
    "ray.dag.Nope",
    "ray.dag.DAGNode.experimental_compile(_overlap_gpu_communication)",
    "ray.dag.DAGNode.experimental_compile(_nope)",
    "ray.runtime_context.RuntimeContext.get_accelerator_ids",
    "ray.runtime_context.RuntimeContext.nope",
    "ray.experimental.channel.accelerator_context",
    "ray._private.state.available_resources_per_node",
)


def test_the_sources_say_what_ray_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with Session() as session:
        ray = session.installed(sys.executable)["ray"]
        said = {name: exists(ray, name) for name in NAMES}
    answers = capabilities.ask(sys.executable, NAMES, os.environ)
    # where either cannot tell, the other may say what it likes
    known = {name: answer.state == "present" for name, answer in answers.items() if answer.state != "unknown"}
    assert {name: value for name, value in said.items() if value is not None and name in known} == {
        name: known[name] for name in known if said[name] is not None
    }
    assert sum(value is not None for value in said.values()) >= 10
