from __future__ import annotations

import pytest

from pytest_raycompat.workers import thread_limit, worker_count


@pytest.mark.parametrize(("said", "count"), [(None, 1), ("1", 1), ("20", 20)])
def test_how_many_workers_there_are(said: str | None, count: int) -> None:
    assert worker_count({} if said is None else {"PYTEST_XDIST_WORKER_COUNT": said}) == count


@pytest.mark.parametrize(
    ("workers", "limit"), [(1, {}), (10, {"OMP_NUM_THREADS": "6"}), (100, {"OMP_NUM_THREADS": "1"})]
)
def test_each_has_its_share_of_the_cores(workers: int, limit: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(64)))
    assert thread_limit(workers) == limit
