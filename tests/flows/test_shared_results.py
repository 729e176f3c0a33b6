from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_raycompat.flows import shared_results
from pytest_raycompat.flows.shared_results import SharedResults
from pytest_raycompat.records import ExceptionRecord, Failure, FlowResult


def result(text: str = "once upon a time", *, failed: bool = False) -> FlowResult:
    failure = Failure(outcome="error", phase="start", chain=(ExceptionRecord(type="E", message="m", process="driver"),))
    return FlowResult(
        flow="generate",
        parameters={"executor": "uni"},
        outcome="error" if failed else "ok",
        phase="over",
        device="cpu",
        nodes=0,
        outputs={"texts": [text]},
        failure=failure if failed else None,
    )


def counting(calls: list[str], given: FlowResult) -> Callable[[], FlowResult]:
    def run() -> FlowResult:
        calls.append("run")
        return given

    return run


def worker(folder: Path | None, *, may_wait: bool = True, waited: list[float] | None = None) -> SharedResults:
    told = waited if waited is not None else []
    return SharedResults(folder, lambda: may_wait, told.append)


def test_what_one_worker_ran_all_have(tmp_path: Path) -> None:
    calls: list[str] = []
    found = [worker(tmp_path).once("a", counting(calls, result())) for _ in range(3)]
    assert found == [result()] * 3
    assert calls == ["run"]
    assert worker(tmp_path).once("b", counting(calls, result("another"))) == result("another")


def test_a_failure_is_not_kept(tmp_path: Path) -> None:
    calls: list[str] = []
    assert worker(tmp_path).once("a", counting(calls, result(failed=True))).failure is not None
    assert worker(tmp_path).once("a", counting(calls, result())) == result()
    assert calls == ["run", "run"]


def test_what_has_failed_is_not_waited_for_again(tmp_path: Path) -> None:
    def fail() -> FlowResult:
        raise RuntimeError("no GPU")

    with pytest.raises(RuntimeError):
        worker(tmp_path).once("a", fail)
    calls: list[str] = []
    inner = counting(calls, result("beside it"))

    def run() -> FlowResult:
        return worker(tmp_path).once("a", inner)  # while another one runs it

    assert worker(tmp_path).once("a", run) == result("beside it")
    assert calls == ["run"]


def test_one_process_keeps_nothing_here() -> None:
    calls: list[str] = []
    alone = worker(None)
    assert [alone.once("a", counting(calls, result())) for _ in range(2)] == [result()] * 2
    assert calls == ["run", "run"]


def test_what_is_run_ahead_all_have(tmp_path: Path) -> None:
    calls: list[str] = []
    for _ in range(2):
        worker(tmp_path).ahead("a", counting(calls, result()))
    assert worker(tmp_path).once("a", counting(calls, result("again"))) == result()
    assert calls == ["run"]


def test_what_another_worker_runs_is_not_run_ahead(tmp_path: Path) -> None:
    calls: list[str] = []

    def run() -> FlowResult:
        worker(tmp_path).ahead("a", counting(calls, result("ours")))  # while another one runs it
        return result("theirs")

    assert worker(tmp_path).once("a", run) == result("theirs")
    assert calls == []


def test_what_has_failed_is_not_run_ahead_again(tmp_path: Path) -> None:
    calls: list[str] = []
    for _ in range(2):
        worker(tmp_path).ahead("a", counting(calls, result(failed=True)))
    assert calls == ["run"]


def test_one_process_runs_nothing_ahead() -> None:
    calls: list[str] = []
    worker(None).ahead("a", counting(calls, result()))
    assert calls == []


@pytest.mark.parametrize("may_wait", [True, False])
def test_what_another_worker_is_running_is_waited_for_unless_it_waits_for_us(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, may_wait: bool
) -> None:
    monkeypatch.setattr(shared_results, "LOOK_EVERY_S", 0.01)
    running, go_on = threading.Event(), threading.Event()

    def run_long() -> FlowResult:
        running.set()
        assert go_on.wait(20)
        return result("theirs")

    other = threading.Thread(target=lambda: worker(tmp_path).once("a", run_long))
    other.start()
    assert running.wait(20)
    calls: list[str] = []
    waited: list[float] = []
    ours: list[FlowResult] = []
    mine = worker(tmp_path, may_wait=may_wait, waited=waited)
    thread = threading.Thread(target=lambda: ours.append(mine.once("a", counting(calls, result("ours")))))
    thread.start()
    if may_wait:
        deadline = time.monotonic() + 20
        while not waited:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    else:
        thread.join(20)
        assert ours == [result("ours")]
    go_on.set()
    other.join(20)
    thread.join(20)
    assert ours == [result("theirs" if may_wait else "ours")]
    assert calls == ([] if may_wait else ["run"])
    assert worker(tmp_path).once("a", counting(calls, result("later"))) == result("theirs")
