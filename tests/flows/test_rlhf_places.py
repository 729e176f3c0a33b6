from __future__ import annotations

import threading
import time

import pytest

from pytest_raycompat.flows.rlhf_places import LocalPeer, together


class Worker:
    """Somebody to call."""

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.seen: list[int] = []

    def add(self, first: int, *, second: int = 0) -> int:
        return first + second

    def fail(self) -> None:
        raise ValueError("no such weight")

    def wait(self) -> bool:
        return self.let_go.wait(20)

    def note(self, number: int) -> None:
        time.sleep(0.02 / (number + 1))
        self.seen.append(number)


def test_calls_give_what_the_methods_give_in_the_order_of_the_calls() -> None:
    first, second = LocalPeer("first", Worker()), LocalPeer("second", Worker())
    assert together([first.call("add", 1, second=2), second.call("add", 4)]) == [3, 4]


def test_one_peer_does_one_thing_after_the_other() -> None:
    worker = Worker()
    peer = LocalPeer("worker", worker)
    together([peer.call("note", number) for number in range(5)])
    assert worker.seen == [0, 1, 2, 3, 4]


def test_a_failure_is_raised_at_once_while_others_wait_for_it() -> None:
    waiting, failing = Worker(), Worker()
    began = time.monotonic()
    pending = LocalPeer("engine", waiting).call("wait")
    with pytest.raises(ValueError, match="no such weight"):
        together([pending, LocalPeer("trainer", failing).call("fail")])
    assert time.monotonic() - began < 10
    assert not pending.done()
    waiting.let_go.set()


def test_calls_that_do_not_end_are_named() -> None:
    worker = Worker()
    pending = LocalPeer("engine 0", worker).call("wait")
    with pytest.raises(TimeoutError) as raised:
        together([LocalPeer("trainer", Worker()).call("add", 1), pending], limit_s=0.2)
    assert str(raised.value) == "not over after 0 s: engine 0.wait"
    worker.let_go.set()
