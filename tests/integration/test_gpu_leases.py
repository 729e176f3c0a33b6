"""Whole runs on GPUs that a test makes up: flows without Ray, which ask for GPUs as vLLM's do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_raycompat.report.document import Report, read_report

CONFTEST = """
import sys
sys.path.append({root!r})
from tests.fake_nvml import Device, FakeNvml
from pytest_raycompat.gpus import GIB
sys.modules["pynvml"] = FakeNvml(*(Device(f"GPU-{{name}}", "NVIDIA H200", 140 * GIB, used=GIB) for name in "abcd"))

from pytest_raycompat.flows import needs, registry
needs.check_engine = lambda session, flow, parameters: None  # there is no vLLM here
registry.FLOWS["leased"] = registry.Flow(
    "leased", "corp_flows.leased", takes_share={takes_share}, alone_until={alone_until!r}
)
"""
FLOW = """
import argparse, json, os, sys, time
from pytest_raycompat.flows.reporting import run_program

parser = argparse.ArgumentParser()
parser.add_argument("--log")
parser.add_argument("--seconds", type=float)
parser.add_argument("--seconds-later", type=float, default=0.0)
parser.add_argument("--number")
parser.add_argument("--executor")
parser.add_argument("--tensor-parallel-size")
parser.add_argument("--model")
parser.add_argument("--device")
arguments = parser.parse_args()

def body(reporter):
    began = time.time()
    time.sleep(arguments.seconds)
    said = {"gpus": os.environ["CUDA_VISIBLE_DEVICES"].split(","), "began": began, "ended": time.time()}
    said["shares"] = os.environ.get("RAYCOMPAT_GPU_SHARES")
    said["shares_later"] = os.environ.get("RAYCOMPAT_GPU_SHARES_LATER")
    said["number"] = arguments.number
    said["threads"] = os.environ.get("OMP_NUM_THREADS")
    reporter.phase("later")
    time.sleep(arguments.seconds_later)
    said["over"] = time.time()
    with open(arguments.log, "a") as stream:
        stream.write(json.dumps(said) + "\\n")

sys.exit(run_program("leased", {}, body))
"""
TESTS = """
import pytest

@pytest.mark.parametrize(
    "number",
    [
        pytest.param(number, marks=pytest.mark.gpus(1, alone=True)) if number == {alone}
        else pytest.param(number, marks=pytest.mark.gpus({sizes!r}[number])) if number == {whole}
        else number
        for number in range({count})
    ],
)
def test_it(run_flow, number):
    size = {sizes!r}[number % len({sizes!r})]
    later = {{"seconds_later": {seconds_later}}} if number == {alone} else {{}}
    run_flow("leased", executor="mp", tensor_parallel_size=size, number=number, seconds={seconds}, log={log!r}, **later)
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def start(
    pytester: pytest.Pytester,
    clean_environment: pytest.MonkeyPatch,
    make_interpreter: Callable[..., Path],
    tmp_path: Path,
    log: Path,
) -> Callable[..., subprocess.Popen[str]]:
    """Start pytest on flows of the given sizes, with the GPUs that a mask leaves."""
    (tmp_path / "tmp").mkdir()
    pytester.mkpydir("corp_flows").joinpath("leased.py").write_text(FLOW)

    def begin(
        name: str,
        *arguments: str,
        mask: str,
        sizes: list[int],
        count: int,
        seconds: float,
        takes_share: bool = False,
        vllm: str = "0.32.0",
        alone: int | None = None,
        whole: int | None = None,
        alone_until: str = "",
        seconds_later: float = 0.0,
    ) -> Any:
        root = str(Path(__file__).parents[2])
        pytester.makeconftest(CONFTEST.format(root=root, takes_share=takes_share, alone_until=alone_until))
        python = make_interpreter({"ray": "2.60.0", "vllm": vllm})
        tests = TESTS.format(
            count=count,
            sizes=sizes,
            seconds=seconds,
            seconds_later=seconds_later,
            log=str(log),
            alone=alone,
            whole=whole,
        )
        pytester.path.joinpath(f"test_{name}.py").write_text(tests)
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"test_{name}.py", *arguments]
        command += ["--ray-cluster=local", "--raycompat-device=cuda", f"--raycompat-python={python}"]
        return subprocess.Popen(
            [*command, f"--raycompat-report={name}.json"],
            env={**os.environ, "CUDA_VISIBLE_DEVICES": mask, "TMPDIR": str(tmp_path / "tmp")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return begin


def finish(run: subprocess.Popen[str]) -> None:
    text, _ = run.communicate(timeout=60)
    assert run.returncode == 0, text


def turns(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def most_at_once(log: Path) -> int:
    """Count how many flows ran at once at most, and see to it that none of these shared a GPU."""
    all_turns = turns(log)
    together = [[other for other in all_turns if other["began"] <= one["began"] < other["ended"]] for one in all_turns]
    for several in together:
        gpus = [gpu for one in several for gpu in one["gpus"]]
        assert len(set(gpus)) == len(gpus), several
    return max(map(len, together))


def report_of(pytester: pytest.Pytester, name: str) -> Report:
    return read_report(pytester.path / f"{name}.json")


def test_workers_of_xdist_run_side_by_side(start: Callable[..., Any], log: Path, pytester: pytest.Pytester) -> None:
    finish(start("xdist", "-n2", mask="2,1", sizes=[1], count=4, seconds=1.5))
    assert len(turns(log)) == 4
    assert most_at_once(log) == 2
    assert {gpu for one in turns(log) for gpu in one["gpus"]} == {"2", "1"}
    assert {one["threads"] for one in turns(log)} == {str(max(1, len(os.sched_getaffinity(0)) // 2))}
    for record in report_of(pytester, "xdist").results:
        (measured,) = record.evidence["gpu_memory"]
        assert (measured["before_gb"], measured["peak_gb"], measured["after_gb"]) == (1.0, 1.0, 1.0)
        assert record.evidence["gpu_memory_returned_after_s"] < 1


@pytest.mark.parametrize(
    ("takes_share", "vllm", "shares", "header"),
    [
        (True, "0.32.0", "2", "4 GPUs, 2 flows on each at most; "),
        (False, "0.32.0", None, "4 GPUs, 2 flows on each at most; "),
        (True, "0.10.0", None, "4 GPUs, 1 flow on each at most (vLLM 0.10.0 cannot share them); "),
    ],
    ids=["shares", "a-flow-that-cannot", "a-vllm-that-cannot"],
)
def test_flows_share_a_gpu_where_they_can(
    start: Callable[..., Any],
    log: Path,
    pytester: pytest.Pytester,
    takes_share: bool,
    vllm: str,
    shares: str | None,
    header: str,
) -> None:
    options = {"mask": "0,1,2,3", "sizes": [4], "count": 2, "seconds": 5.0, "takes_share": takes_share, "vllm": vllm}
    run = start("shared", "-n2", "--raycompat-flows-per-gpu=2", **options)
    text, _ = run.communicate(timeout=60)
    assert run.returncode == 0, text
    one, two = sorted(turns(log), key=lambda turn: float(turn["began"]))
    assert (two["began"] < one["ended"]) is (shares is not None)
    assert one["shares"] == two["shares"] == shares
    assert header in text
    for record in report_of(pytester, "shared").results:
        assert record.evidence.get("gpu_memory_shared", False) is (shares is not None)


def test_a_test_that_needs_gpus_alone_begins_and_has_them(start: Callable[..., Any], log: Path) -> None:
    options = {"mask": "0,1", "sizes": [2], "count": 4, "seconds": 1.0, "takes_share": True, "alone": 3}
    finish(start("alone", "-n4", "--raycompat-flows-per-gpu=4", **options))
    first, *others = sorted(turns(log), key=lambda turn: float(turn["began"]))
    assert first["shares"] is None
    assert [one["shares"] for one in others] == ["4"] * 3
    assert all(one["began"] > first["ended"] for one in others)


def test_a_flow_that_needs_gpus_alone_no_longer_lets_others_onto_them(
    start: Callable[..., Any], log: Path, pytester: pytest.Pytester
) -> None:
    options = {"mask": "0,1", "sizes": [2], "count": 4, "seconds": 1.0, "takes_share": True, "alone": 3}
    finish(start("until", "-n4", "--raycompat-flows-per-gpu=4", **options, alone_until="later", seconds_later=8.0))
    first, *others = sorted(turns(log), key=lambda turn: float(turn["began"]))
    assert (first["shares"], first["shares_later"]) == (None, "4")
    assert [(one["shares"], one["shares_later"]) for one in others] == [("4", None)] * 3
    assert all(first["ended"] < one["began"] < first["over"] for one in others)
    shared = [record.evidence.get("gpu_memory_shared", False) for record in report_of(pytester, "until").results]
    assert shared == [True] * 4


@pytest.mark.parametrize("alone_until", ["", "later"], ids=["to-its-end", "for-a-while"])
def test_what_needs_all_gpus_does_not_keep_a_worker_while_another_has_some_alone(
    start: Callable[..., Any], log: Path, alone_until: str
) -> None:
    options = {"mask": "0,1", "sizes": [2, 1, 1, 1, 1], "count": 5, "seconds": 2.0, "takes_share": True}
    more = {"alone": 4, "whole": 0, "alone_until": alone_until, "seconds_later": 3.0}
    finish(start("whole", "-n2", "--raycompat-flows-per-gpu=4", **options, **more))
    found = {turn["number"]: turn for turn in turns(log)}
    assert found["1"]["began"] < found["4"]["ended"]
    assert found["0"]["began"] > found["4"]["ended" if alone_until else "over"]


def test_two_runs_share_the_machine(start: Callable[..., Any], log: Path) -> None:
    one = start("one", mask="0,1,2,3", sizes=[2], count=2, seconds=2.0)
    two = start("two", mask="GPU-d,GPU-c,GPU-b,GPU-a", sizes=[2], count=2, seconds=2.0)
    finish(one)
    finish(two)
    assert len(turns(log)) == 4
    assert most_at_once(log) == 2


def test_needs_of_different_sizes_take_turns(start: Callable[..., Any], log: Path) -> None:
    one = start("one", "-n2", mask="0,1", sizes=[2, 1], count=4, seconds=0.3)
    two = start("two", mask="0,1", sizes=[1, 2], count=4, seconds=0.3)
    finish(one)
    finish(two)
    assert sorted(len(turn["gpus"]) for turn in turns(log)) == [1, 1, 1, 1, 2, 2, 2, 2]
    most_at_once(log)


def test_what_is_leased_is_named_as_nvml_does(start: Callable[..., Any], log: Path) -> None:
    finish(start("one", mask="GPU-c", sizes=[1], count=1, seconds=0.0))
    assert [turn["gpus"] for turn in turns(log)] == [["2"]]


@pytest.mark.parametrize(("workers", "asked"), [(["-n2"], 1), ([], 0)], ids=["several", "one"])
def test_one_of_several_workers_finds_out_about_the_model(
    start: Callable[..., Any], pytester: pytest.Pytester, workers: list[str], asked: int
) -> None:
    finish(start("found", *workers, mask="0,1", sizes=[1], count=2, seconds=0.5))
    assert len(list(pytester.path.glob(".raycompat/logs/**/model-class.log"))) == asked


def test_the_threads_of_a_flow_are_the_user_s_to_choose(
    start: Callable[..., Any], log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    finish(start("alone", mask="0", sizes=[1], count=1, seconds=0.0))
    monkeypatch.setenv("OMP_NUM_THREADS", "9")
    finish(start("chosen", "-n2", mask="0", sizes=[1], count=2, seconds=0.0))
    assert [turn["threads"] for turn in turns(log)] == [None, "9", "9"]
