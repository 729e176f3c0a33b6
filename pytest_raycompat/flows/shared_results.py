"""What flows without Ray gave, known to all workers of pytest-xdist: each control runs once in a run."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from pytest_raycompat.files import write_file
from pytest_raycompat.lease import LOOK_EVERY_S, try_lock
from pytest_raycompat.records import FlowResult


class SharedResults:
    """The results in a folder of the run.

    Args:
        folder: where all workers keep them; None where there is one process only.
        may_wait: called again and again while another worker runs the same; makes way for it where it waits for what
            this process holds, and tells whether that worker can go on.
        waiting: told for how long it has been waited, in seconds.
    """

    def __init__(
        self, folder: Path | None, may_wait: Callable[[], bool], waiting: Callable[[float], None] = lambda seconds: None
    ) -> None:
        self._folder = folder
        self._may_wait = may_wait
        self._waiting = waiting

    def once(self, key: str, run: Callable[[], FlowResult]) -> FlowResult:
        """Return what ``run`` gave in any of the workers. A failure is not kept, and not waited for twice.

        Args:
            key: tells one run from another.
            run: runs the flow; has a deadline of its own, and so has the wait for that of another worker.
        """
        if self._folder is None:
            return run()
        path = self._folder / f"{hashlib.sha256(key.encode()).hexdigest()}.result"
        failed = path.with_suffix(".failed")
        with self._turn(path.with_suffix(".lock"), failed) as ours:
            if path.exists():
                return msgspec.json.decode(path.read_bytes(), type=FlowResult)
            if not ours:
                return run()
            try:
                result = run()
            except BaseException:
                failed.touch()
                raise
            if result.failure is not None:
                failed.touch()
            else:
                write_file(path, msgspec.json.encode(result))
            return result

    @contextlib.contextmanager
    def _turn(self, path: Path, failed: Path) -> Iterator[bool]:
        """Wait while another worker runs the same; not if it failed before, nor where that one waits for this one."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        began = time.monotonic()
        try:
            while not (ours := try_lock(descriptor)) and not failed.exists() and self._may_wait():
                self._waiting(time.monotonic() - began)
                time.sleep(LOOK_EVERY_S)
            yield ours
        finally:
            os.close(descriptor)
