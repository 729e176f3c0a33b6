"""The runner's side of the observer: what Ray itself says about nodes and actors."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from pytest_raycompat.processes.children import Child, Children, describe_exit

LOOK_EVERY_S = 0.2
Listed = TypeVar("Listed")


class ObserverError(Exception):
    """The observer could not answer: Ray's error, or that it ended or did not answer in time."""

    def __init__(self, message: str, type_name: str = "") -> None:
        super().__init__(message)
        self.type_name = type_name


class ObserverEnded(ObserverError):
    """Its process ended."""


class ObservedNode(msgspec.Struct, frozen=True):
    """A node as Ray lists it."""

    node_id: str
    address: str
    alive: bool
    head: bool
    gpus: float
    free_gpus: float


class Actor(msgspec.Struct, frozen=True):
    """A live actor as Ray lists it."""

    actor_id: str
    class_name: str
    name: str
    node_id: str
    pid: int
    job_id: str
    driver_address: str
    driver_pid: int


class Observer:
    """A driver process that looks at one cluster.

    Args:
        children: starts it.
        python: interpreter of the environment under test.
        environment: of the process.
        log: where it says what went wrong.
        on: the command that runs what follows it where the driver is to be.
    """

    def __init__(
        self, children: Children, python: str, environment: Mapping[str, str], log: Path, on: Sequence[str] = ()
    ) -> None:
        self.log = log
        self._children = children
        self._environment = environment
        self._command = [*on, python, "-m", "pytest_raycompat.cluster.observer_program"]
        self._child = self._start()

    def _start(self) -> Child:
        self._buffer = b""
        self._imported = False
        self._asked = 0
        with self.log.open("ab") as stream:
            return self._children.start(
                self._command,
                environment=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stream,
            )

    def connect(self, address: str, limit_s: float, watch: Callable[[], None] = lambda: None) -> None:
        """Connect to the cluster at ``address``.

        ``watch`` is called every moment and raises where waiting has become pointless: Ray itself tries for a minute.

        Raises:
            ObserverError: Ray refused, or did not answer within ``limit_s`` seconds.
        """
        deadline = time.monotonic() + limit_s
        try:
            self._connect(address, deadline, watch)
        except ObserverEnded:
            # Ray ends a driver that comes before its raylet listens ("Unable to register worker", 2.35.0, seen)
            watch()
            self.close()
            self._child = self._start()
            self._connect(address, deadline, watch)

    def _connect(self, address: str, deadline: float, watch: Callable[[], None]) -> None:
        if not self._imported:
            self._read(0, deadline - time.monotonic(), watch)
            self._imported = True
        self._ask({"ask": "connect", "address": address}, max(0.1, deadline - time.monotonic()), watch)

    def nodes(self, limit_s: float = 30.0) -> list[ObservedNode]:
        """List the nodes, dead ones too.

        Raises:
            ObserverError: no answer within ``limit_s`` seconds.
        """
        return self._list("nodes", ObservedNode, limit_s)

    def actors(self, limit_s: float = 30.0) -> list[Actor]:
        """List the actors that are alive.

        Raises:
            ObserverError: no answer within ``limit_s`` seconds.
        """
        return self._list("actors", Actor, limit_s)

    def pending(self, limit_s: float = 30.0) -> list[dict[str, float]]:
        """List the bundles of the placement groups that wait for resources.

        Raises:
            ObserverError: no answer within ``limit_s`` seconds.
        """
        return self._list("pending", dict[str, float], limit_s)

    def close(self) -> None:
        """End the observer."""
        self._child.end(grace_s=0.0)  # it holds nothing that needs an orderly end
        for pipe in (self._child.process.stdin, self._child.process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):  # of a question that was not read
                    pipe.close()

    def _list(self, what: str, kind: type[Listed], limit_s: float) -> list[Listed]:
        try:
            return msgspec.convert(self._ask({"ask": what}, limit_s), list[kind])  # type: ignore[valid-type]
        except msgspec.ValidationError as error:
            raise ObserverError(f"Ray lists {what} in a way that is not known: {error}; log: {self.log}") from error

    def _ask(self, question: dict[str, Any], limit_s: float, watch: Callable[[], None] = lambda: None) -> Any:
        assert self._child.process.stdin is not None
        self._asked += 1
        try:
            self._child.process.stdin.write(json.dumps({"number": self._asked, **question}).encode() + b"\n")
            self._child.process.stdin.flush()
        except BrokenPipeError:
            raise ObserverEnded(self._ended()) from None
        return self._read(self._asked, limit_s, watch)

    def _read(self, number: int, limit_s: float, watch: Callable[[], None]) -> Any:
        deadline = time.monotonic() + limit_s
        while (reply := json.loads(self._read_line(deadline, limit_s, watch)))["number"] != number:
            pass  # the answer to a question that was given up
        if "error" in reply:
            raise ObserverError(reply["error"]["message"].strip() or "no message", reply["error"]["type"])
        return reply["answer"]

    def _read_line(self, deadline: float, limit_s: float, watch: Callable[[], None]) -> bytes:
        assert self._child.process.stdout is not None
        descriptor = self._child.process.stdout.fileno()
        while b"\n" not in self._buffer:
            watch()
            left = deadline - time.monotonic()
            if left <= 0:
                raise ObserverError(f"no answer from Ray within {limit_s:.0f} s; log: {self.log}", "TimeoutError")
            if not select.select([descriptor], [], [], min(left, LOOK_EVERY_S))[0]:
                continue
            received = os.read(descriptor, 65536)
            if not received:
                raise ObserverEnded(self._ended())
            self._buffer += received
        line, self._buffer = self._buffer.split(b"\n", 1)
        return line

    def _ended(self) -> str:
        try:
            status = self._child.process.wait(1.0)
        except subprocess.TimeoutExpired:
            status = None
        last = self.log.read_text(errors="replace").strip().splitlines()[-1:]
        return f"the process that watches Ray ended ({describe_exit(status)}): {''.join(last)}; log: {self.log}"
