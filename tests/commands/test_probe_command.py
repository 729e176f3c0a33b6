from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from pytest_raycompat import cli
from tests.local_index import LocalIndex, wheel_of

NAME = "{}-{}-cp311-cp311-manylinux_2_17_x86_64.whl"
EXECUTOR = """
class RayExecutorV2:
    def __init__(self, config): ...
    def _init_executor(self):
        import ray
        ray.init()
        ray.util.placement_group([])
    def shutdown(self): ...
"""
LLM = "class LLM:\n    def __init__(self, **options): ...\n    def generate(self, *a): ...\nclass SamplingParams: ...\n"
VLLM = {
    "vllm/__init__.py": LLM,
    "vllm/envs.py": "",
    "vllm/engine/arg_utils.py": "",
    "vllm/v1/executor/ray_executor_v2.py": EXECUTOR,
    "vllm/v1/executor/abstract.py": "class Executor:\n    def get_class(config): ...\n",
    "vllm/platforms.py": "current_platform = None\n",
}
RAY = {
    "ray/__init__.py": "from ray import util\n\ndef init(**options): ...\ndef is_initialized(): ...\n",
    "ray/util/__init__.py": "",
}
WITH_GROUPS = RAY | {"ray/util/__init__.py": "def placement_group(bundles): ...\n"}
Run: TypeAlias = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("COLUMNS", "80")

    def called(*words: str | Path) -> tuple[int, str, str]:
        try:
            status = cli.main(["probe", *map(str, words), "--python=3.11"])
        except SystemExit as end:
            status = int(end.code or 0)
        return status, *capsys.readouterr()

    return called


@pytest.fixture
def releases(index: LocalIndex) -> LocalIndex:
    for version, files in (("2.34.0", WITH_GROUPS), ("2.35.0", RAY), ("2.36.0", RAY), ("2.37.0", WITH_GROUPS)):
        index.add("ray", NAME.format("ray", version), wheel_of("ray", version, files))
    pins = "Requires-Dist: ray[cgraph]>=2.36\nRequires-Dist: torch==2.13.0\n"
    index.add("vllm", NAME.format("vllm", "0.32.0"), wheel_of("vllm", "0.32.0", VLLM, pins))
    return index


PAIR = ("--ray=2.35.0", "--vllm=0.32.0", "--flow=generate ray-v2")


def test_a_pair_that_does_not_fit(releases: LocalIndex, run: Run) -> None:
    status, out, err = run(*PAIR)
    assert (status, err) == (1, "")
    assert (
        out
        == """\
=========================== Ray 2.35.0, vLLM 0.32.0 ============================
generate ray-v2  breaks: Ray 2.35.0 has no ray.util.placement_group

breaks generate ray-v2
  Ray 2.35.0 has no ray.util.placement_group
  used at vllm/v1/executor/ray_executor_v2.py:7
  AttributeError: module 'ray.util' has no attribute 'placement_group'
  no known gap is recorded for it

note: vLLM 0.32.0 asks for ray>=2.36, which Ray 2.35.0 is not
"""
    )


def test_a_pair_that_fits_is_not_said_to_work(releases: LocalIndex, run: Run) -> None:
    status, out, _ = run("--ray=2.37.0", *PAIR[1:])
    assert status == 0
    assert "generate ray-v2  no obstacle found\n" in out
    assert "works" not in out


def test_what_is_missing_is_said_to_be_in_releases_that_were_read(releases: LocalIndex, run: Run) -> None:
    run("--ray=2.34.0", *PAIR[1:])
    run("--ray=2.37.0", *PAIR[1:])
    _, out, _ = run(*PAIR)
    assert "  last seen in 2.34.0\n  first seen in 2.37.0\n" in out


def test_nearest(releases: LocalIndex, run: Run) -> None:
    _, out, _ = run(*PAIR, "--nearest=ray")
    assert out.endswith("nearest for generate ray-v2: Ray 2.37.0, Ray 2.34.0\n")


def test_an_executor_that_vllm_has_not(releases: LocalIndex, run: Run) -> None:
    former = {path: content for path, content in VLLM.items() if "ray_executor_v2" not in path}
    releases.add("vllm", NAME.format("vllm", "0.19.0"), wheel_of("vllm", "0.19.0", former))
    status, out, _ = run("--ray=2.35.0", "--vllm=0.19.0", "--flow=generate ray-v2")
    assert (status, out.splitlines()[1]) == (0, "generate ray-v2  absent: vLLM 0.19.0 has no such executor")
    status, out, _ = run("--ray=2.34.0", "--vllm=0.19.0", "--vllm=0.32.0", "--flow=generate ray-v2")
    assert [line.split()[-1] for line in out.splitlines()[2:4]] == ["absent", "-"]
    _, out, _ = run("--ray=2.34.0", "--vllm=0.19.0", "--flow=generate ray-v2", "--nearest=vllm")
    assert out.endswith("nearest for generate ray-v2: vLLM 0.32.0, no older one\n")
    _, out, _ = run("--ray=2.34.0", "--vllm=0.19.0", "--flow=generate ray-v2", "--nearest=ray")
    assert "nearest" not in out


def test_several_pairs_are_a_table(releases: LocalIndex, run: Run) -> None:
    status, out, _ = run("--ray=>=2.34,<2.36", "--ray=2.99.0", *PAIR[1:])
    assert status == 1
    assert out.splitlines()[:4] == [
        "                         generate",
        "                         ray-v2",
        "Ray 2.34.0  vLLM 0.32.0  -",
        "Ray 2.35.0  vLLM 0.32.0  BREAKS",
    ]
    said = f"Ray 2.99.0 vLLM 0.32.0 not read: there is no ray 2.99.0 on {releases.address}: the nearest are 2.37.0"
    assert f"{said} - no obstacle found" in " ".join(out.split())


def test_a_table_of_all_flows_is_no_wider_than_the_terminal(releases: LocalIndex, run: Run) -> None:
    _, out, _ = run("--ray=2.34.0", "--ray=2.35.0", "--vllm=0.32.0")
    table = out.partition("- no obstacle found")[0].splitlines()
    assert max(map(len, table)) <= 80
    assert sum(line.startswith("Ray 2.35.0  vLLM 0.32.0") for line in table) == 2
    assert {word for line in table if not line.startswith("Ray") for word in line.split()} >= {"generate", "rlhf"}


def test_json(releases: LocalIndex, run: Run) -> None:
    _, out, _ = run(*PAIR, "--format=json")
    document: dict[str, Any] = json.loads(out)
    assert document["schema_version"] == 1
    (pair,) = document["pairs"]
    (flow,) = pair["result"]["flows"]
    assert flow["status"] == "breaks"
    (finding,) = flow["findings"]
    assert finding["missing"] == "ray.util.placement_group"
    assert finding["used"] == {"file": "vllm/v1/executor/ray_executor_v2.py", "line": 7}


def test_markdown_into_a_file(releases: LocalIndex, run: Run, tmp_path: Path) -> None:
    path = tmp_path / "probe.md"
    status, out, err = run(*PAIR, "--format=md", f"--output={path}")
    assert (status, out, err) == (1, "", f"probe: {path}\n")
    text = path.read_text()
    assert text.startswith(
        "| Ray | vLLM | generate ray-v2 |\n| --- | --- | --- |\n| Ray 2.35.0 | vLLM 0.32.0 | breaks |\n"
    )
    assert "  - Ray 2.35.0 has no ray.util.placement\\_group\n" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--ray=2.35.1", "--vllm=0.32.0"), "there is no ray 2.35.1 on {}: the nearest are 2.35.0 and 2.36.0"),
        (("--ray=>=3", "--vllm=0.32.0"), "--ray: no release with a wheel for Python 3.11 is in '>=3'"),
        (
            ("--ray=>=x", "--vllm=0.32.0"),
            "'>=x' is not a version specifier; write an operator and a version, such as '>=2.44.1'",
        ),
        (("--vllm=0.32.0",), "which ray? Give --ray (a version, a wheel, a folder), or --raycompat-python"),
        ((*PAIR[:2], "--flow=nope"), "--flow: 'nope' is not a flow: write one of 'generate', 'generate ray-v1',"),
        (
            ("--ray=>=2.34", "--vllm=0.32.0", "--nearest=ray"),
            "--nearest goes with one pair: give --ray and --vllm once",
        ),
    ],
)
def test_what_cannot_be_asked(releases: LocalIndex, run: Run, words: tuple[str, ...], message: str) -> None:
    status, out, err = run(*words)
    assert (status, out) == (4, "")
    assert err.startswith(f"raycompat: {message.format(releases.address)}")


def test_without_a_network(index: LocalIndex, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    status, _, err = run(*PAIR)
    assert status == 4
    assert err.startswith("raycompat: http://127.0.0.1:9 cannot be reached (")
