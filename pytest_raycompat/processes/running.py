"""One child process at a time that ends when we do: asked on Ctrl-C, and by the kernel where we are killed."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType

PR_SET_PDEATHSIG = 1
"""Of prctl(2)."""
GRACE_S = 90.0
"""How long a child may take to end by itself once asked, in seconds: pytest has a cluster to take down."""
LOOK_EVERY_S = 1.0


class Interrupted(KeyboardInterrupt):
    """The user, or the system, asked this process to end; ``number`` is the signal."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Turn Ctrl-C, SIGTERM and SIGHUP into :class:`Interrupted`, also where a shell had us ignore the first one."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_child(
    command: Sequence[str],
    *,
    output: Path,
    variables: Mapping[str, str] | None = None,
    given: str | None = None,
    look: Callable[[], None] = lambda: None,
) -> int:
    """Run a command to its end and return its exit status, negative for a signal.

    Args:
        command: the program and its arguments.
        output: the file that takes what it prints.
        variables: its environment; default: ours.
        given: lines on its standard input.
        look: called about once a second while it runs.

    Raises:
        OSError: it cannot be started, or its output cannot be written.
        Interrupted: this process was asked to end; the child has been asked too, and has ended.
    """
    libc = ctypes.CDLL(None)
    parent = os.getpid()

    def die_with_us() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)

    output.parent.mkdir(parents=True, exist_ok=True)
    with output.open("wb") as stream:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE if given is not None else subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=variables,
            start_new_session=True,  # Ctrl-C reaches us alone, and we ask it
            preexec_fn=die_with_us,
        )
        try:
            if process.stdin is not None:
                with process.stdin, contextlib.suppress(BrokenPipeError):
                    process.stdin.write((given or "").encode())
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    return process.wait(LOOK_EVERY_S)
                look()
        finally:
            end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask a child to end, as Ctrl-C does, and kill it where it does not, or where we are asked a second time."""
    if process.poll() is not None:
        return
    try:
        process.send_signal(signal.SIGINT)
        process.wait(GRACE_S)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        process.kill()
        process.wait()
