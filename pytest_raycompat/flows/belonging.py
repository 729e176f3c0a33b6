"""Which of a cluster's actors are a flow's: those of its own jobs, and of the jobs that its actors drive.

An engine inside an actor (Ray Serve, Ray Data, a trainer) is a process of its own that connects to Ray as a driver, so
its workers are of another job than the actor (vllm/v1/engine/core.py, 0.32.0).
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable

import psutil

from pytest_raycompat.cluster.observation import Actor


def actors_of(actors: Iterable[Actor], session: int, jobs: Collection[str] = ()) -> list[Actor]:
    """Pick a flow's actors.

    Args:
        actors: those that are alive.
        session: the session that the flow's processes are in.
        jobs: ids of jobs that are known to be the flow's; it has no other way to tell one whose driver has ended.
    """
    actors = list(actors)
    drivers = {actor.job_id: actor.driver_pid for actor in actors}
    known = {*jobs, *(job for job, pid in drivers.items() if is_in_session(pid, session))}
    while True:
        processes = {actor.pid for actor in actors if actor.job_id in known}
        more = {job for job, pid in drivers.items() if job not in known and descends_from(pid, processes)}
        if not more:
            return [actor for actor in actors if actor.job_id in known]
        known |= more


def is_in_session(pid: int, session: int) -> bool:
    """Whether a process is in a session; one that has ended is in none."""
    try:
        return os.getsid(pid) == session
    except (ProcessLookupError, PermissionError):
        return False


def descends_from(pid: int, processes: Collection[int]) -> bool:
    """Whether a process was started, directly or not, by one of ``processes``; one that has ended was not."""
    try:
        return pid > 0 and any(parent.pid in processes for parent in psutil.Process(pid).parents())
    except psutil.Error:
        return False
