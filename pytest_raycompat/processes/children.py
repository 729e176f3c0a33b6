"""Our child processes: each in a session of its own, watched over by the guardian."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from pytest_raycompat.processes.ownership import MARK_VARIABLE, SHARED_MEMORY, end_processes, processes_of, send

GRACE_S = 10.0
"""How long a child may take to end by itself once asked, in seconds."""
LIMIT_S = 20.0
REAP_LIMIT_S = 5.0
"""How long a killed process with many threads may be a zombie before its status can be had, in seconds."""
GUARDIAN_LIMIT_S = 60.0


class Children:
    """Starts children and makes sure that none of them, nor what they start, outlives the run.

    The guardian starts with the first child, and ends them all when :meth:`close` is called or this process dies.
    """

    def __init__(self) -> None:
        self.mark = secrets.token_hex(16)
        self._guardian: subprocess.Popen[bytes] | None = None
        self._lost = False
        """Whether a guardian has ended before its time, and so may have left something."""
        self._folders: list[Path] = []
        self._processes: dict[int, subprocess.Popen[Any]] = {}  # kept until they are reaped

    def start(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        stdin: int | None = subprocess.DEVNULL,
        stdout: int | IO[Any] | None = None,
        stderr: int | IO[Any] | None = None,
        folder: Path | None = None,
    ) -> Child:
        """Start ``command`` in a session of its own, with our mark in its environment.

        Raises:
            OSError: the program cannot be started.
        """
        guardian = self._start_guardian()
        process = subprocess.Popen(
            list(command),
            env={**environment, MARK_VARIABLE: self.mark},
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            cwd=folder,
            start_new_session=True,
        )
        self._processes[process.pid] = process
        child = Child(process, self)
        try:
            tell(guardian, {"session": process.pid})
        except BrokenPipeError:  # nothing may run that nobody would end
            self._lose_guardian()
            child.end(0)
            raise OSError("the process that watches over the children of this run has ended") from None
        return child

    def new_folder(self, prefix: str) -> Path:
        """Make a folder that only this user can read, and that is removed at the end of the run."""
        self._start_guardian()
        folder = Path(tempfile.mkdtemp(prefix=prefix))
        self._folders.append(folder)
        self._tell({"folder": str(folder)})
        return folder

    def ended(self, pid: int) -> None:
        """Let the guardian forget a session that is over: the kernel may give its number to somebody else."""
        self._processes.pop(pid, None)
        self._tell({"ended": pid})

    def reclaim_shared_memory(self) -> None:
        """Have the segments removed that ended children of ours left behind."""
        self._tell({"reclaim": True})

    def close(self) -> None:
        """End what is left, remove the folders, and wait for that; safe to call twice.

        Raises:
            TimeoutError: the guardian has not finished in time; it goes on by itself.
        """
        if self._guardian is not None and self._guardian.poll() is not None:
            self._lose_guardian()
        if self._lost:
            self._start_guardian()
        guardian, self._guardian, self._lost = self._guardian, None, False
        if guardian is None:
            return
        assert guardian.stdin is not None
        guardian.stdin.close()
        try:
            guardian.wait(GUARDIAN_LIMIT_S)
        except subprocess.TimeoutExpired:
            raise TimeoutError(
                f"processes of this run are still alive after {GUARDIAN_LIMIT_S:.0f} s; "
                f"process {guardian.pid} goes on ending them"
            ) from None
        finally:
            self._reap()

    def _tell(self, message: dict[str, Any]) -> None:
        """Send the guardian a message, if there is one."""
        if self._guardian is not None:
            try:
                tell(self._guardian, message)
            except BrokenPipeError:  # the next one is told all that matters
                self._lose_guardian()

    def _lose_guardian(self) -> None:
        guardian, self._guardian, self._lost = self._guardian, None, True
        assert guardian is not None
        assert guardian.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # what it had not read
            guardian.stdin.close()
        guardian.wait()

    def _reap(self) -> None:
        """Take in the exit statuses of children that the guardian has ended."""
        self._processes = {pid: process for pid, process in self._processes.items() if process.poll() is None}

    def _start_guardian(self) -> subprocess.Popen[bytes]:
        if self._guardian is None:
            # by our own import path, whatever the tests under way have done to the environment
            program = (
                f"import sys; sys.path += {[os.path.abspath(entry) for entry in sys.path]!r}; "
                "from pytest_raycompat.processes.guardian import main; main()"
            )
            self._guardian = subprocess.Popen(
                [sys.executable, "-I", "-c", program, self.mark, str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
                cwd="/",
            )
            tell(self._guardian, {"segments": [str(segment) for segment in SHARED_MEMORY.glob("*")]})
            for folder in self._folders:  # of one before it, which has ended
                tell(self._guardian, {"folder": str(folder)})
            for pid in self._processes:
                tell(self._guardian, {"session": pid})
        return self._guardian


def tell(guardian: subprocess.Popen[bytes], message: dict[str, Any]) -> None:
    """Send one message to the guardian."""
    assert guardian.stdin is not None
    guardian.stdin.write(json.dumps(message).encode() + b"\n")
    guardian.stdin.flush()


class Child:
    """One child and everything in its session."""

    def __init__(self, process: subprocess.Popen[Any], owner: Children) -> None:
        self.process = process
        self._owner = owner
        self._asked_at: float | None = None

    @property
    def pid(self) -> int:
        """Its process id, which is its session's id too."""
        return self.process.pid

    def poll(self) -> int | None:
        """Return its exit status, or None while it runs."""
        return self.process.poll()

    def ask_to_end(self) -> None:
        """Ask it to end, once, and do not wait; :meth:`end` does."""
        if self._asked_at is None and self.poll() is None:
            self._asked_at = time.monotonic()
            send(self.pid, signal.SIGTERM)

    def end(self, grace_s: float = GRACE_S) -> int | None:
        """End it and its whole session: asked first, killed ``grace_s`` seconds after that.

        Returns:
            Its exit status; None where even a kill did not end it in time.
        """
        self.ask_to_end()
        left_s = 0.0  # what its session has left behind is not waited for
        if self.poll() is None and self._asked_at is not None:
            left_s = max(0.0, grace_s - (time.monotonic() - self._asked_at))
        end_processes((), self._left, grace_s=left_s, limit_s=left_s + LIMIT_S)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):  # what it had not read when it ended
                    stream.close()
        try:
            status = self.process.wait(REAP_LIMIT_S)
        except subprocess.TimeoutExpired:
            return None
        self._owner.ended(self.pid)
        return status

    def _left(self) -> list[Any]:
        self.process.poll()  # reaps it, so that it does not count as alive
        return processes_of([self.pid])


def describe_exit(status: int | None) -> str:
    """Say how a process ended: ``exit status 1``, ``killed by SIGSEGV``."""
    if status is None:
        return "still running"
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:  # real-time signals have no names
        return f"killed by signal {-status}"
