from __future__ import annotations

import contextlib
import dataclasses
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_raycompat.environment import child_environment, stage_package
from pytest_raycompat.flows.registry import Flow
from pytest_raycompat.flows.runner import FlowRunner
from pytest_raycompat.processes.children import Child, Children
from pytest_raycompat.records import FlowResult, Measurement

HEAD = """
import argparse, os, signal, subprocess, sys, time
from pytest_raycompat.flows.reporting import Reporter, run_program
"""
TAIL = """
sys.exit(run_program("tiny", {}, body))
"""


@dataclasses.dataclass
class Lab:
    """Runs flows of a test's own."""

    runner: FlowRunner
    modules: Path
    environment: dict[str, str]
    shown: list[tuple[str, float, float]]
    entered: list[str] = dataclasses.field(default_factory=list)

    def run(
        self,
        body: str,
        *,
        program: str | None = None,
        deadline_s: float = 20.0,
        memory: Any = None,
        **parameters: Any,
    ) -> FlowResult:
        """Run a flow with this body, or this whole program."""
        text = program or f"{HEAD}\ndef body(reporter):\n{textwrap.indent(textwrap.dedent(body), '    ')}\n{TAIL}"
        (self.modules / "tiny_flow.py").write_text(text)
        return self.runner.run(
            Flow("tiny", "tiny_flow"),
            parameters,
            extra={},
            environment=self.environment,
            cluster=None,
            memory=memory,
            device="cpu",
            deadline_s=deadline_s,
            reproduce="raycompat run tiny",
            entered=self.entered.append,
        )

    def log(self, result: FlowResult) -> str:
        """What the flow printed."""
        (path,) = result.logs
        return Path(path).read_text()


@pytest.fixture
def lab(children: Children, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    folders = {name: tmp_path / name for name in ("modules", "logs", "home", "stage")}
    for folder in folders.values():
        folder.mkdir()
    environment = child_environment(
        {"PYTHONPATH": str(folders["modules"]), "PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"},
        staged=stage_package(folders["stage"]),
        home=folders["home"],
        cache=tmp_path / "cache",
        temporary=tmp_path,
        device="cpu",
    )
    shown: list[tuple[str, float, float]] = []
    runner = FlowRunner(
        children,
        python=sys.executable,
        log_folder=folders["logs"],
        progress=lambda phase, seconds, left: shown.append((phase, seconds, left)),
    )
    started = []
    start = children.start

    def start_and_note(*arguments: Any, **options: Any) -> Child:
        started.append(start(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(children, "start", start_and_note)
    yield Lab(runner, folders["modules"], environment, shown)
    for child in started:
        child.process.wait(20)
        for stream in (child.process.stdin, child.process.stdout):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):
                stream.close()


def test_a_flow_that_works(lab: Lab) -> None:
    result = lab.run(
        """
        reporter.phase("start")
        reporter.output("tokens", [1, 2])
        reporter.evidence("platform", "cpu")
        reporter.throughput(120, 1.5)
        print("hello")
        """,
        size=1,
        model="a/b c",
    )
    assert (result.outcome, result.phase, result.failure) == ("ok", "over", None)
    assert (result.outputs, result.evidence) == ({"tokens": [1, 2]}, {"platform": "cpu"})
    assert result.measurements == {"throughput": Measurement(unit="tokens/s", samples=(80.0,), better="higher")}
    assert (result.flow, result.parameters) == ("tiny", {"size": 1, "model": "a/b c"})
    assert (result.device, result.nodes, result.reproduce) == ("cpu", 0, "raycompat run tiny")
    assert list(result.timings) == ["launch", "start", "exit", "total"]
    assert sum(result.timings[name] for name in ("launch", "start", "exit")) <= result.timings["total"] + 0.01
    assert lab.log(result) == "hello\n"


class Memory:
    """The memory of GPUs that are not there."""

    def __init__(self, found: dict[str, Any]) -> None:
        self.looks = 0
        self.found = found

    def look(self) -> None:
        self.looks += 1

    def after(self, *limit: float) -> dict[str, Any]:
        return self.found


def test_gpu_memory_that_is_back_is_evidence(lab: Lab) -> None:
    memory = Memory({"gpu_memory": [{"gpu": "0"}], "gpu_memory_returned_after_s": 0.4})
    result = lab.run('reporter.phase("start")', memory=memory)
    assert result.outcome == "ok"
    assert result.evidence == memory.found
    assert memory.looks


def test_gpu_memory_that_stays_is_a_failure(lab: Lab) -> None:
    why = "after 30 s: GPU 0 has 60.0 GiB more in use than before, held by ray::RayWorkerProc (pid 7, 60.0 GiB)"
    result = lab.run('reporter.phase("start")', memory=Memory({"gpu_memory_not_returned": why}))
    assert result.failure is not None
    assert (result.outcome, result.phase) == ("error", "proof")
    (record,) = result.failure.chain
    assert record.type == "pytest_raycompat.GpuMemoryNotReturned"
    assert record.message == f"GPU memory is not back where it was: {why}"


def test_what_went_wrong_before_says_more_than_the_memory(lab: Lab) -> None:
    result = lab.run('raise ValueError("no")', memory=Memory({"gpu_memory_not_returned": "after 30 s"}))
    assert result.failure is not None
    assert [record.type for record in result.failure.chain] == ["ValueError"]


def test_measurements(lab: Lab) -> None:
    result = lab.run('reporter.measurement("rate", "tokens/s", [1.23456789, 2], better="higher")')
    assert result.measurements == {"rate": Measurement(unit="tokens/s", samples=(1.23457, 2.0), better="higher")}


def test_a_phase_that_comes_again_adds_up(lab: Lab) -> None:
    result = lab.run(
        """
        for _ in range(3):
            reporter.phase("train")
            time.sleep(0.2)
            reporter.phase("send")
        """
    )
    assert list(result.timings) == ["launch", "train", "send", "exit", "total"]
    assert result.timings["train"] >= 0.6


def test_parameters_and_extras_are_its_command_line(lab: Lab) -> None:
    result = lab.run("reporter.output('arguments', sys.argv[1:])", tensor_parallel_size=2, eager=True)
    assert result.outputs == {"arguments": ["--tensor-parallel-size", "2", "--eager"]}


def test_logs_are_numbered_and_named_after_what_ran(lab: Lab) -> None:
    first = lab.run("pass", executor="ray-v2", size=2, text="a/b ü")
    second = lab.run("pass", text="x" * 200)
    names = [Path(result.logs[0]).name for result in (first, second)]
    assert names == ["01-tiny-ray-v2-2-a_b_ü.log", f"02-tiny-{'x' * 75}.log"]


def test_a_flow_that_raises(lab: Lab) -> None:
    result = lab.run("reporter.phase('start')\nraise ValueError('no')")
    assert (result.outcome, result.phase) == ("error", "start")
    assert result.failure is not None
    assert result.failure.outcome == "error"
    assert [(one.type, one.message, one.process) for one in result.failure.chain] == [("ValueError", "no", "driver")]
    assert "ValueError: no" in lab.log(result)


def test_an_error_while_cleaning_up_does_not_move_the_failure(lab: Lab) -> None:
    result = lab.run(
        """
        try:
            reporter.phase("start")
            raise ValueError("no")
        finally:
            reporter.evidence("cleaned", True)
        """
    )
    assert (result.outcome, result.phase, result.evidence) == ("error", "start", {"cleaned": True})


def test_the_root_cause_of_another_process_comes_first(lab: Lab) -> None:
    result = lab.run(
        """
        prefix = "(EngineCore pid=71) ERROR 11-22 12:56:22 [core.py:1104] "
        for line in ("Traceback (most recent call last):", '  File "x.py", line 1, in f', "KeyError: 'GPU'"):
            print(prefix + line, flush=True)
        raise RuntimeError("Engine core initialization failed. See root cause above.")
        """
    )
    assert result.failure is not None
    assert result.failure.root is not None
    assert (result.failure.root.type, result.failure.root.process) == ("KeyError", "EngineCore pid=71")
    assert [one.type for one in result.failure.chain] == ["KeyError", "RuntimeError"]


def test_exiting_is_an_error_of_the_flow(lab: Lab) -> None:
    result = lab.run("reporter.phase('start')\nsys.exit(3)")
    assert (result.outcome, result.phase) == ("error", "start")
    assert result.failure is not None
    assert result.failure.root is not None
    assert (result.failure.root.type, result.failure.root.message) == ("SystemExit", "3")


CRASHES = {
    "abort": ("os.abort()", "killed by SIGABRT; its log says: Fatal Python error: Aborted"),
    "kill": ("os.kill(os.getpid(), signal.SIGKILL)", "killed by SIGKILL; its log is empty"),
    "exit": ("os._exit(3)", "exit status 3; its log is empty"),
    "exit that looks well": ("print('last words', flush=True); os._exit(0)", "exit status 0; its log says: last words"),
}


@pytest.mark.parametrize(("ending", "detail"), CRASHES.values(), ids=CRASHES)
def test_a_process_that_dies_is_a_crash(lab: Lab, ending: str, detail: str) -> None:
    result = lab.run(f"reporter.phase('start')\n{ending}")
    assert (result.outcome, result.phase) == ("crash", "start")
    assert result.failure is not None
    assert (result.failure.outcome, result.failure.chain) == ("crash", ())
    assert result.failure.detail == f"its process ended early: {detail}"


def test_a_crash_leaves_its_stacks_in_the_log(lab: Lab) -> None:
    log = lab.log(lab.run("def deep():\n    os.abort()\ndeep()"))
    assert "Fatal Python error: Aborted" in log
    assert " in deep\n" in log


def test_what_another_process_said_last_is_the_chain_of_a_crash(lab: Lab) -> None:
    result = lab.run(
        """
        for line in ("Traceback (most recent call last):", '  File "x.py", line 1, in f', "MemoryError: no room"):
            print("(EngineCore pid=71) " + line, flush=True)
        os.abort()
        """
    )
    assert result.failure is not None
    assert [(one.type, one.process) for one in result.failure.chain] == [("MemoryError", "EngineCore pid=71")]


def test_a_flow_that_cannot_start_is_a_crash(lab: Lab) -> None:
    result = lab.run("", program="import no_such_module_anywhere")
    assert (result.outcome, result.phase) == ("crash", "launch")
    assert result.failure is not None
    assert result.failure.detail == (
        "its process ended early: exit status 1; "
        "its log says: ModuleNotFoundError: No module named 'no_such_module_anywhere'"
    )


def test_failing_after_all_was_done_is_a_crash(lab: Lab) -> None:
    result = lab.run("import atexit\natexit.register(os._exit, 5)")
    assert (result.outcome, result.phase) == ("crash", "exit")
    assert result.failure is not None
    assert result.failure.detail == "its process ended early: exit status 5; its log is empty"


def test_a_flow_that_hangs_is_ended_at_its_deadline(lab: Lab, is_alive: Callable[[int], bool]) -> None:
    began = time.monotonic()
    result = lab.run(
        """
        def stuck():
            time.sleep(60)
        reporter.evidence("pid", os.getpid())
        reporter.phase("generate")
        stuck()
        """,
        deadline_s=1.5,
    )
    assert 1.5 <= time.monotonic() - began < 10
    assert (result.outcome, result.phase) == ("timeout", "generate")
    assert result.failure is not None
    assert result.failure.detail == "not over after 2 s; its stacks are at the end of the log"
    assert " in stuck\n" in lab.log(result)
    assert not is_alive(result.evidence["pid"])


def test_a_flow_that_does_not_want_to_end_is_killed(
    lab: Lab, is_alive: Callable[[int], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_raycompat.processes.children.Child.end.__defaults__", (0.5,), raising=False)
    result = lab.run(
        """
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        reporter.evidence("pid", os.getpid())
        time.sleep(60)
        """,
        deadline_s=1.0,
    )
    assert result.outcome == "timeout"
    assert not is_alive(result.evidence["pid"])


def test_a_flow_that_hangs_when_all_was_done_is_not_waited_for_long(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_raycompat.flows.runner.EXIT_LIMIT_S", 0.5)
    began = time.monotonic()
    result = lab.run("import atexit\natexit.register(time.sleep, 60)", deadline_s=50)
    assert time.monotonic() - began < 15
    assert (result.outcome, result.phase) == ("timeout", "exit")
    assert result.failure is not None
    assert result.failure.detail == (
        "it did not exit within 0 s of its last word; its stacks are at the end of the log"
    )


def test_the_stacks_of_a_flow_that_hangs_when_all_was_done_are_in_the_log(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_raycompat.flows.runner.EXIT_LIMIT_S", 0.5)
    result = lab.run("import atexit\natexit.register(time.sleep, 60)", deadline_s=50)
    assert "(most recent call first):" in lab.log(result)


def test_what_a_flow_leaves_behind_is_ended(lab: Lab, is_alive: Callable[[int], bool]) -> None:
    result = lab.run(
        """
        left = [subprocess.Popen(["sleep", "60"]), subprocess.Popen(["sh", "-c", "trap '' TERM; sleep 60; true"])]
        reporter.evidence("left", [process.pid for process in left])
        """
    )
    assert result.outcome == "ok"
    assert not any(is_alive(pid) for pid in result.evidence["left"])


def test_a_flow_is_over_when_its_process_is_though_a_fork_of_it_goes_on(
    lab: Lab, is_alive: Callable[[int], bool]
) -> None:
    result = lab.run(
        """
        forked = os.fork()
        if not forked:
            time.sleep(60)
            os._exit(0)
        reporter.evidence("forked", forked)
        """,
        deadline_s=3,
    )
    assert (result.outcome, result.failure) == ("ok", None)
    assert not is_alive(result.evidence["forked"])


NOT_EVENTS = {
    "text": "print('Loading corporate site customisation')",
    "other JSON": """print('{"event": "surprise", "at": 0}')""",
    "bytes": r"os.write(1, b'\xff\xfe\n')",
    "nothing": "print()",
}


@pytest.mark.parametrize("printing", NOT_EVENTS.values(), ids=NOT_EVENTS)
def test_a_line_that_is_no_event_does_not_end_the_flow(lab: Lab, printing: str) -> None:
    result = lab.run("", program=f"{HEAD}\n{printing}\nsys.stdout.flush()\ndef body(reporter): pass\n{TAIL}")
    assert (result.outcome, result.failure) == ("ok", None)


def test_numbers_that_json_does_not_have(lab: Lab) -> None:
    assert lab.run("reporter.output('logprob', float('-inf'))").outcome == "ok"


def test_a_line_without_an_end_is_no_event(lab: Lab) -> None:
    result = lab.run("", program='import os; os.write(1, b\'{"event": "done", "at": 0}\')')
    assert (result.outcome, result.phase) == ("crash", "launch")


def test_events_may_arrive_in_pieces_and_be_long(lab: Lab) -> None:
    program = f"""{HEAD}
line = b'{{"event": "output", "at": 0, "name": "text", "value": "' + b'x' * 3_000_000 + b'"}}\\n'
os.write(1, line[:10])
time.sleep(0.3)
sys.stdout.buffer.write(line[10:])
sys.stdout.buffer.write(b'{{"event": "done", "at": 0}}\\n')
"""
    result = lab.run("", program=program)
    assert result.outcome == "ok"
    assert result.outputs == {"text": "x" * 3_000_000}


HELD = f"""{HEAD}
def body(reporter):
    reporter.hold()
    reporter.phase("after")
sys.exit(run_program("tiny", {{}}, body, hold=True))
"""


def test_a_flow_that_is_held_is_let_go(lab: Lab) -> None:
    result = lab.run("", program=HELD)
    assert result.outcome == "ok"
    assert "after" in result.timings


def test_a_flow_that_dies_while_it_is_held_is_a_crash(lab: Lab) -> None:
    program = """
import os
os.close(0)
os.write(1, b'{"event": "hold", "at": 0}\\n')
os.abort()
"""
    result = lab.run("", program=program)
    assert (result.outcome, result.phase) == ("crash", "launch")


def test_each_phase_is_told_as_it_begins(lab: Lab) -> None:
    lab.run("for name in ('start', 'train', 'start'): reporter.phase(name)")
    assert lab.entered == ["start", "train", "start", "exit", "over"]


def test_progress_is_told_with_the_phase_and_what_is_left(lab: Lab) -> None:
    lab.run("reporter.phase('start')\ntime.sleep(1.2)", deadline_s=20)
    phases = [phase for phase, _, _ in lab.shown]
    assert phases == sorted(phases, key=["launch", "start", "exit"].index)
    assert phases.count("start") >= 2
    assert all(0 <= seconds < 20 and 0 < left <= 20 for _, seconds, left in lab.shown)
    lefts = [left for _, _, left in lab.shown]
    assert lefts == sorted(lefts, reverse=True)
