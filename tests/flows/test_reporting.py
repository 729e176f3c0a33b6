from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest

from pytest_raycompat.flows import events
from pytest_raycompat.flows.reporting import PROTOCOL_VERSION, Reporter, describe_chain, qualified_name

PROGRAM = """
import sys
from pytest_raycompat.flows.reporting import run_program

def body(reporter):
    {body}

sys.exit(run_program("tiny", {{"executor": "uni"}}, body, hold={hold}))
"""


def start(body: str, *, hold: bool = False, stderr: int | IO[bytes] = subprocess.PIPE) -> subprocess.Popen[bytes]:
    code = PROGRAM.format(body=body.replace("\n", "\n    "), hold=hold)
    return subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr)


def run(body: str, *, hold: bool = False) -> tuple[int, list[events.AnyEvent], str]:
    """Run a flow of one line or more; return its exit status, its events, and what else it printed."""
    with start(body, hold=hold) as process:
        output, errors = process.communicate(timeout=30)
    return process.returncode, [event_of(line) for line in output.splitlines()], errors.decode()


def event_of(line: bytes) -> events.AnyEvent:
    event = events.decode_event(line)
    assert event is not None, line
    return event


def untimed(told: list[events.AnyEvent]) -> list[tuple[str, Any]]:
    """Say what was told, without when."""
    return [
        (type(event).__name__, [getattr(event, name) for name in event.__struct_fields__ if name != "at"])
        for event in told
    ]


def test_a_flow_that_works_tells_what_it_did() -> None:
    status, told, errors = run(
        "reporter.phase('start')\n"
        "reporter.output('texts', ['a', None, 'ä'])\n"
        "reporter.evidence('workers', [{'rank': 0}])\n"
        "reporter.phase('shutdown')"
    )
    assert (status, errors) == (0, "")
    assert isinstance(told[0], events.Start)
    assert (told[0].flow, told[0].parameters, told[0].protocol) == ("tiny", {"executor": "uni"}, PROTOCOL_VERSION)
    assert untimed(told[1:]) == [
        ("Phase", ["start"]),
        ("Output", ["texts", ["a", None, "ä"]]),
        ("Evidence", ["workers", [{"rank": 0}]]),
        ("Phase", ["shutdown"]),
        ("Done", []),
    ]


def test_events_say_whose_they_are_and_when() -> None:
    with start("import time\nreporter.phase('wait')\ntime.sleep(0.2)") as process:
        output, _ = process.communicate(timeout=30)
        began, waited, done = map(event_of, output.splitlines())
    assert isinstance(began, events.Start)
    assert began.pid == process.pid
    assert 0 <= began.at <= waited.at <= done.at - 0.2
    assert done.at < 20


def test_a_flow_that_raises_tells_the_chain_and_prints_it() -> None:
    status, told, errors = run(
        "reporter.phase('start')\n"
        "try:\n    {}['GPU']\nexcept KeyError as error:\n    raise RuntimeError('no engine') from error"
    )
    assert status == 1
    raised = told[-1]
    assert isinstance(raised, events.Raised)
    assert [(one.type, one.message, one.process) for one in raised.chain] == [
        ("KeyError", "'GPU'", "driver"),
        ("RuntimeError", "no engine", "driver"),
    ]
    assert 'File "<string>", line' in raised.chain[0].traceback
    assert errors.strip().endswith("RuntimeError: no engine")
    assert not any(isinstance(event, events.Done) for event in told)


@pytest.mark.parametrize(
    ("raising", "type_name", "message"),
    [
        ("sys.exit(3)", "SystemExit", "3"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt", ""),
        ("import json; json.loads('[')", "json.decoder.JSONDecodeError", "Expecting value: line 1 column 2 (char 1)"),
        ("reporter.output('x', object())", "TypeError", "Object of type object is not JSON serializable"),
    ],
)
def test_whatever_ends_a_flow_early_is_told(raising: str, type_name: str, message: str) -> None:
    status, told, _ = run(raising)
    assert status == 1
    assert isinstance(told[-1], events.Raised)
    assert [(one.type, one.message) for one in told[-1].chain] == [(type_name, message)]


def test_what_is_printed_does_not_get_between_the_events() -> None:
    status, told, errors = run(
        "import os, subprocess\n"
        "print('from Python', flush=True)\n"
        "os.write(1, b'from C\\n')\n"
        "subprocess.run(['echo', 'from a child'], check=True)"
    )
    assert status == 0
    assert untimed(told[1:]) == [("Done", [])]
    assert errors.splitlines() == ["from Python", "from C", "from a child"]


def test_the_events_end_with_the_flow_whatever_it_leaves_running() -> None:
    with start("import subprocess\nprint(subprocess.Popen(['sleep', '60']).pid, flush=True)") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        left = int(process.stderr.readline())
        try:
            began = time.monotonic()
            assert isinstance(event_of(process.stdout.read().splitlines()[-1]), events.Done)
            assert time.monotonic() - began < 20
        finally:
            os.kill(left, signal.SIGKILL)


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_numbers_that_json_does_not_have_can_be_told(value: str) -> None:
    status, told, _ = run(f"reporter.output('logprob', float('{value}'))")
    assert status == 0
    assert isinstance(told[-1], events.Done)


def test_a_flow_that_is_held_waits_for_a_line() -> None:
    with start("reporter.hold()", hold=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert isinstance(event_of(process.stdout.readline()), events.Start)
        assert isinstance(event_of(process.stdout.readline()), events.Hold)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
        process.stdin.write(b"\n")
        process.stdin.flush()
        assert isinstance(event_of(process.stdout.readline()), events.Done)
        assert process.wait(20) == 0


def test_a_flow_that_is_held_goes_on_when_nobody_is_there_any_more() -> None:
    assert [type(event) for event in run("reporter.hold()", hold=True)[1]] == [events.Start, events.Hold, events.Done]


def test_by_hand_there_is_nobody_to_wait_for() -> None:
    assert [type(event) for event in run("reporter.hold()")[1]] == [events.Start, events.Done]


def test_the_stacks_of_a_flow_can_be_asked_for(tmp_path: Path, wait_until: Callable[..., None]) -> None:
    log = tmp_path / "log"
    with (
        log.open("wb") as stream,
        start(
            "import time\ndef stuck():\n    time.sleep(60)\nreporter.phase('stuck')\nstuck()", stderr=stream
        ) as process,
    ):
        try:
            assert process.stdout is not None
            while not isinstance(event_of(process.stdout.readline()), events.Phase):
                continue

            def shown() -> bool:  # it may not have come to its last line when it is asked first
                process.send_signal(signal.SIGUSR1)
                return " in stuck\n" in log.read_text()

            wait_until(shown)
        finally:
            process.kill()


@pytest.mark.parametrize(
    "module",
    [
        "pytest_raycompat.flows.generate",
        "pytest_raycompat.flows.worker_evidence",
        "pytest_raycompat.platforms",
        "pytest_raycompat.environment_program",
        "pytest_raycompat.cluster.observer_program",
    ],
)
def test_what_runs_in_the_environment_under_test_imports_the_standard_library_alone(module: str) -> None:
    script = (
        f"import sys, {module}; "
        "print(*sorted({name.partition('.')[0] for name in sys.modules} - sys.stdlib_module_names))"
    )
    # -S: what an environment loads by itself, such as editable installs, is not of the flows' doing
    result = subprocess.run(
        [sys.executable, "-S", "-c", script],
        env={"PYTHONPATH": str(Path(events.__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.split() == ["__main__", "pytest_raycompat"]


def test_names_are_those_of_a_traceback() -> None:
    class Local(Exception):
        pass

    assert qualified_name(ValueError) == "ValueError"
    assert qualified_name(json.JSONDecodeError) == "json.decoder.JSONDecodeError"
    assert qualified_name(Local) == f"{__name__}.test_names_are_those_of_a_traceback.<locals>.Local"
    assert qualified_name(Reporter) == "pytest_raycompat.flows.reporting.Reporter"


def chain_of(error: BaseException) -> list[tuple[str, str]]:
    return [(one["type"], one["message"]) for one in describe_chain(error)]


class TaskError(Exception):
    """As Ray's ``RayTaskError``: its text has the remote traceback, its ``cause`` what was raised there."""

    def __init__(self, text: str, cause: BaseException) -> None:
        super().__init__(text)
        self.cause = cause


REMOTE = """\
\x1b[36mray::Stage.submit()\x1b[39m (pid=9)
  File "engine.py", line 538, in generate
    prompt = vllm.inputs.data.Tokens(
             ^^^^^^^^^^^^^^^^
AttributeError: module 'vllm.inputs' has no attribute 'data'
It said:
  more: of it

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "map.py", line 3, in apply
    call()
corp.errors.Odd

During handling of the above exception, another exception occurred:

\x1b[36mray::Stage.submit()\x1b[39m (pid=9)
  File "plan.py", line 481, in submit
    raise RuntimeError("a row failed") from e
RuntimeError: a row failed"""


def test_what_a_remote_exception_was_caused_by_is_read_in_its_text() -> None:
    """It is pickled without its ``__cause__``."""
    error = TaskError(REMOTE, RuntimeError("a row failed"))
    assert chain_of(error)[:3] == [
        ("AttributeError", "module 'vllm.inputs' has no attribute 'data'\nIt said:\n  more: of it"),
        ("corp.errors.Odd", ""),
        ("RuntimeError", "a row failed"),
    ]
    assert len(chain_of(error)) == 4
    assert [one["process"] for one in describe_chain(error)] == ["Ray worker"] * 3 + ["driver"]


def test_why_an_actor_could_not_be_made_is_read_in_the_text() -> None:
    error = RuntimeError("The actor died because of an error raised in its creation task, " + REMOTE)
    error.__cause__ = LookupError()
    assert [name for name, _ in chain_of(error)] == [
        "AttributeError",
        "corp.errors.Odd",
        "RuntimeError",
        "LookupError",
        "RuntimeError",
    ]


def test_a_remote_exception_that_still_has_its_cause_is_not_told_twice() -> None:
    cause = RuntimeError("a row failed")
    cause.__cause__ = AttributeError("as it is")
    assert [name for name, _ in chain_of(TaskError(REMOTE, cause))][:2] == ["AttributeError", "RuntimeError"]


def test_a_cause_comes_first() -> None:
    error = RuntimeError("last")
    error.__cause__ = ValueError("first")
    error.__context__ = KeyError("besides")
    assert chain_of(error) == [("ValueError", "first"), ("RuntimeError", "last")]


def test_an_error_while_handling_another_names_both() -> None:
    error = RuntimeError("last")
    error.__context__ = ValueError("first")
    assert chain_of(error) == [("ValueError", "first"), ("RuntimeError", "last")]


def test_a_context_that_was_hidden_stays_so() -> None:
    error = RuntimeError("last")
    error.__context__ = ValueError("hidden")
    error.__suppress_context__ = True
    assert chain_of(error) == [("RuntimeError", "last")]


def test_a_chain_that_runs_in_a_circle_ends() -> None:
    first, last = ValueError("first"), RuntimeError("last")
    last.__cause__ = first
    first.__cause__ = last
    assert chain_of(last) == [("ValueError", "first"), ("RuntimeError", "last")]
