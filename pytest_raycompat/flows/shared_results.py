"""What flows without Ray gave, known to all workers of pytest-xdist: each control runs once in a run."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from pytest_raycompat.files import write_file
from pytest_raycompat.lease import LOOK_EVERY_S, locking, try_lock
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
        files = Files.of(self._folder, key)
        with locking(files.lock) as descriptor:
            ours = self._await_turn(descriptor, files.failed)
            if files.result.exists():
                return msgspec.json.decode(files.result.read_bytes(), type=FlowResult)
            return files.keep(run) if ours else run()

    def ahead(self, key: str, run: Callable[[], FlowResult]) -> None:
        """Have it run before it is asked for, where others may ask too and no worker runs it or has run it."""
        if self._folder is None:
            return
        files = Files.of(self._folder, key)
        with locking(files.lock) as descriptor:
            if try_lock(descriptor) and not files.result.exists() and not files.failed.exists():
                files.keep(run)

    def _await_turn(self, descriptor: int, failed: Path) -> bool:
        """Wait while another worker runs the same; not if it failed before, nor where that one waits for this one."""
        began = time.monotonic()
        while not (ours := try_lock(descriptor)) and not failed.exists() and self._may_wait():
            self._waiting(time.monotonic() - began)
            time.sleep(LOOK_EVERY_S)
        return ours


@dataclass(frozen=True)
class Files:
    """Those of one flow."""

    result: Path
    failed: Path
    lock: Path

    @classmethod
    def of(cls, folder: Path, key: str) -> Files:
        """Name them."""
        result = folder / f"{hashlib.sha256(key.encode()).hexdigest()}.result"
        return cls(result, result.with_suffix(".failed"), result.with_suffix(".lock"))

    def keep(self, run: Callable[[], FlowResult]) -> FlowResult:
        """Run it, and keep what it gives for the others, or that it failed."""
        try:
            result = run()
        except BaseException:
            self.failed.touch()
            raise
        if result.failure is not None:
            self.failed.touch()
        else:
            write_file(self.result, msgspec.json.encode(result))
        return result
