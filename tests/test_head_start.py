from __future__ import annotations

from pathlib import Path

import pytest

from pytest_raycompat import head_start
from pytest_raycompat.distribution import ALONE
from pytest_raycompat.head_start import HeadStart


@pytest.fixture
def said() -> list[tuple[str, float, float]]:
    return []


@pytest.fixture
def ours(tmp_path: Path, said: list[tuple[str, float, float]]) -> HeadStart:
    return HeadStart(tmp_path, lambda *told: said.append(told))


def test_nobody_waits_where_no_test_needs_gpus_alone(ours: HeadStart, said: list[object]) -> None:
    ours.wait()
    assert said == []


def test_one_process_waits_for_nobody(tmp_path: Path, said: list[object]) -> None:
    (tmp_path / ALONE).touch()
    alone = HeadStart(None, lambda *told: said.append(told))
    alone.wait()
    alone.begun()
    assert said == []


def test_who_shares_waits_until_one_has_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ALONE).touch()
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    other = HeadStart(tmp_path, lambda *told: None)
    ours = HeadStart(tmp_path, lambda *told: other.begun())
    ours.wait()
    assert len(slept) == 1
    HeadStart(tmp_path, lambda *told: pytest.fail("it has begun")).wait()


def test_it_is_not_waited_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ours: HeadStart, said: list[tuple[str, float, float]]
) -> None:
    (tmp_path / ALONE).touch()
    monkeypatch.setattr(head_start, "LIMIT_S", 0.05)
    ours.wait()
    assert said[0][0] == "what needs GPUs alone begins"
    assert said[0][1] + said[0][2] == 0.05
    told = len(said)
    ours.wait()  # once a worker
    assert len(said) == told
