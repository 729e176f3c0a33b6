"""Which workers of pytest-xdist take GPUs first: those that need some alone, before others share all of them."""

from __future__ import annotations

import time
from pathlib import Path

from pytest_raycompat.distribution import ALONE, LET_GO
from pytest_raycompat.lease import LOOK_EVERY_S, Waiting

LIMIT_S = 8.0
"""How long those that share wait, in seconds. Workers start within four seconds of each other (20 on 64 cores)."""
BEGUN = "alone.begun"


class HeadStart:
    """The head start of one run.

    Who needs GPUs alone and comes a moment too late has to wait for all that has begun, which is a minute, and keeps
    GPUs from the others meanwhile.

    Args:
        folder: one of all workers of the run; None where there is one process.
        waiting: told why it is waited, and the seconds that have gone and are left.
    """

    def __init__(self, folder: Path | None, waiting: Waiting) -> None:
        self._folder = folder
        self._waiting = waiting

    def begun(self) -> None:
        """Note that a flow has its GPUs alone."""
        if self._folder is not None:
            (self._folder / BEGUN).touch()

    def let_go(self) -> None:
        """Note that it lets others onto them."""
        if self._folder is not None:
            (self._folder / LET_GO).touch()

    def wait(self) -> None:
        """Wait until such a flow has, if a test of the run needs that; once, and no longer than ``LIMIT_S``."""
        folder, self._folder = self._folder, None
        if folder is None or not (folder / ALONE).exists():
            return
        began = time.monotonic()
        while not (folder / BEGUN).exists() and (waited := time.monotonic() - began) < LIMIT_S:
            self._waiting("what needs GPUs alone begins", waited, LIMIT_S - waited)
            time.sleep(LOOK_EVERY_S)
