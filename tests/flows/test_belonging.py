from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from pytest_raycompat.cluster.observation import Actor
from pytest_raycompat.flows.belonging import actors_of

NOBODY = 2**22 + 1
"""A process id that Linux does not give."""
CHILD_OF_A_CHILD = """
import subprocess, sys
inner = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], start_new_session=True)
print(inner.pid, flush=True)
sys.stdin.read()
inner.kill()
"""


def actor(name: str, job: str, *, pid: int = NOBODY, driver: int = NOBODY) -> Actor:
    return Actor(
        actor_id=name,
        class_name="A",
        name="",
        node_id="n",
        pid=pid,
        job_id=job,
        driver_address="127.0.0.2",
        driver_pid=driver,
    )


@pytest.fixture
def grandchild() -> Iterator[tuple[int, int]]:
    """A process outside our session, and one that it started in a session of its own."""
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD_OF_A_CHILD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdin is not None and process.stdout is not None
    yield process.pid, int(process.stdout.readline())
    process.stdin.close()
    process.stdout.close()
    process.wait(10)


def names(actors: list[Actor]) -> list[str]:
    return [one.actor_id for one in actors]


def test_actors_of_jobs_that_the_flow_drives_are_its_own(grandchild: tuple[int, int]) -> None:
    stranger, _ = grandchild
    ours = actor("ours", "01", driver=os.getpid())
    theirs = actor("theirs", "02", driver=stranger)
    assert names(actors_of([ours, theirs], os.getsid(0))) == ["ours"]


def test_so_are_those_of_a_job_that_one_of_its_actors_drives(grandchild: tuple[int, int]) -> None:
    replica, engine = grandchild
    actors = [
        actor("worker", "02", driver=engine),
        actor("replica", "01", pid=replica, driver=os.getpid()),
        actor("theirs", "03"),
    ]
    assert names(actors_of(actors, os.getsid(0))) == ["worker", "replica"]


def test_a_driver_inside_an_actor_of_somebody_else_is_not_the_flows(grandchild: tuple[int, int]) -> None:
    replica, engine = grandchild
    actors = [actor("replica", "01", pid=replica), actor("worker", "02", driver=engine)]
    assert actors_of(actors, os.getsid(0)) == []


def test_a_job_that_was_the_flows_stays_so_when_its_driver_has_ended() -> None:
    left = actor("left", "02")
    assert actors_of([left], os.getsid(0)) == []
    assert actors_of([left], os.getsid(0), ["02"]) == [left]
