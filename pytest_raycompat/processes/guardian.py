"""The process that outlives pytest and ends what pytest had started, however pytest ended.

It reads JSON lines from its standard input, one of ``{"segments": [PATH, …]}``, ``{"session": PID}``,
``{"ended": PID}``, ``{"folder": PATH}`` and ``{"reclaim": true}``. When the stream ends, or its parent is gone, it ends
every session and every process with the owner's mark, removes the shared-memory segments they left, and the folders.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from pytest_raycompat.processes.ownership import (
    end_processes,
    is_ours,
    mark_of,
    processes_of,
    remove_unused_segments,
    segments_named_after,
    shared_memory_of,
)

LOOK_EVERY_S = 1.0
"""vLLM leaves ``/dev/shm/psm_*`` behind when Ray kills its actors (seen with 0.32.0); a segment's name says nothing of
its owner, so who has it mapped is looked up while they live."""
BORN_WITHIN_S = 1.0
"""How exactly it is known when a process was born: the kernel tells the time of the boot in whole seconds."""
GRACE_S = 4.0
LIMIT_S = 12.0


class Guardian:
    """What is ours at the moment."""

    def __init__(self, mark: str, parent: int) -> None:
        self.mark = mark
        self.parent = parent
        self.sessions: set[int] = set()
        self.folders: list[Path] = []
        self.segments: set[Path] = set()
        self._theirs: set[Path] = set()
        self._ours: dict[int, psutil.Process] = {}
        self._lives: dict[int, tuple[float, float]] = {}
        self._others: set[int] = set()

    def handle(self, message: dict[str, Any]) -> None:
        """Take note of one message."""
        if "session" in message:
            self.sessions.add(int(message["session"]))
        elif "ended" in message:
            self.sessions.discard(int(message["ended"]))
        elif "segments" in message:  # there before anything of ours: somebody else's, whoever uses them
            self._theirs = {Path(segment) for segment in message["segments"]}
        elif "folder" in message:
            self.folders.append(Path(message["folder"]))
        elif "reclaim" in message:
            self.look()
            self._remove_segments()

    def look(self) -> None:
        """Note which segments our processes have mapped; a process that is new is examined once."""
        pids = set(psutil.pids())
        self._others &= pids
        self._ours = {pid: process for pid, process in self._ours.items() if pid in pids}
        for pid in pids - self._others - self._ours.keys():
            with contextlib.suppress(psutil.NoSuchProcess):  # it ended meanwhile
                self._examine(psutil.Process(pid))
        until = time.time() + LOOK_EVERY_S  # one that ends before the next look may make something until then
        self._lives |= {pid: (self._lives[pid][0], until) for pid in self._ours}
        found = shared_memory_of(self._ours.values()) | segments_named_after(self._lives)
        self.segments |= found - self._theirs

    def _examine(self, process: psutil.Process) -> None:
        born = process.create_time()
        if is_ours(process, self.sessions, self.mark):
            self._ours[process.pid] = process
            self._lives[process.pid] = (born - BORN_WITHIN_S, born)
        elif time.time() - born > 1:  # a younger one may not have its own environment yet
            self._others.add(process.pid)

    def _remove_segments(self) -> None:
        """Remove what nobody has mapped any more; other runs have segments of their own, and many processes."""
        may_have = (process for process in psutil.process_iter() if mark_of(process) in (None, self.mark))
        self.segments -= remove_unused_segments(self.segments, may_have)

    def watch(self) -> None:
        """Serve messages until the stream ends or the parent is gone."""
        buffered = b""
        descriptor = sys.stdin.fileno()
        while True:
            orphaned = os.getppid() != self.parent  # a fork of it may have the stream open still
            if select.select([descriptor], [], [], 0 if orphaned else LOOK_EVERY_S)[0]:
                received = os.read(descriptor, 65536)
                if not received:
                    return
                *lines, buffered = (buffered + received).split(b"\n")
                for line in lines:
                    self.handle(json.loads(line))
            elif orphaned:
                return
            else:
                self.look()

    def end(self) -> None:
        """End everything that is ours."""
        end_processes(sorted(self.sessions), self._left, grace_s=GRACE_S, limit_s=LIMIT_S)
        self._remove_segments()
        for folder in self.folders:
            shutil.rmtree(folder, ignore_errors=True)

    def _left(self) -> list[psutil.Process]:
        """Find what is still alive, and note what it has mapped: some make a segment when they are asked to end."""
        self.look()
        return processes_of(self.sessions, self.mark)


def main() -> None:
    """Run the guardian: ``MARK PARENT``."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # meant for pytest, after which we have work to do
    guardian = Guardian(sys.argv[1], int(sys.argv[2]))
    guardian.watch()
    guardian.end()


if __name__ == "__main__":
    main()
