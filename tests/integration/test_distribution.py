from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


def test_a_worker_with_a_long_flow_keeps_no_other_waiting(
    pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult]
) -> None:
    pytester.makepyfile(
        """
import pathlib, time

THIRD = pathlib.Path("third")

class TestFirst:
    def test_long(self):
        deadline = time.monotonic() + 20
        while not THIRD.exists():
            assert time.monotonic() < deadline, "nobody else has run the third piece"
            time.sleep(0.05)

    def test_short(self):
        pass

class TestSecond:
    def test_one(self):
        pass

    def test_two(self):
        pass

class TestThird:
    def test_one(self):
        THIRD.touch()

    def test_two(self):
        pass
"""
    )
    run_pytest("--ray-cluster=local", "-n2").assert_outcomes(passed=6)


def test_pieces_of_one_test_all_run(pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult]) -> None:
    pytester.makepyfile(**{f"test_{number}": "def test_it(): pass" for number in range(7)})
    run_pytest("--ray-cluster=local", "-n2").assert_outcomes(passed=7)


@pytest.mark.parametrize(
    ("ray", "seconds", "outcomes"),
    [
        pytest.param(">=99", 0, {"passed": 5, "skipped": 1}, id="lacks something"),
        pytest.param(">=2", 1.05, {"passed": 6}, id="takes longer than a moment"),
    ],
)
def test_a_long_piece_of_one_test_keeps_none_waiting_but_the_shortest(
    pytester: pytest.Pytester,
    run_pytest: Callable[..., pytest.RunResult],
    ray: str,
    seconds: float,
    outcomes: dict[str, int],
) -> None:
    pytester.makepyfile(
        test_one="""
import os, pathlib, pytest, time

@pytest.mark.ray_version(">=2")
def test_long():
    time.sleep(1.6)
    deadline = time.monotonic() + 20
    while "PYTEST_XDIST_WORKER" in os.environ and not pathlib.Path("last").exists():
        assert time.monotonic() < deadline, "nobody else has run the last piece"
        time.sleep(0.05)
""",
        test_two=f"""
import os, pathlib, pytest, time

@pytest.mark.ray_version(">=2")
class TestBeside:
    def test_one(self):
        time.sleep(1.4)

    def test_two(self):
        pass

@pytest.mark.ray_version(">=2")
class TestLast:
    def test_one(self):
        time.sleep(1.2)

    def test_two(self):
        if "PYTEST_XDIST_WORKER" in os.environ:
            pathlib.Path("last").touch()

@pytest.mark.ray_version("{ray}")
def test_shortest():
    time.sleep({seconds})
""",
    )
    run_pytest("--ray-cluster=local").assert_outcomes(**outcomes)
    run_pytest("--ray-cluster=local", "-n2").assert_outcomes(**outcomes)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_more_workers_than_pieces(
    pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult], count: int
) -> None:
    pytester.makepyfile(**{f"test_{number}": "def test_it(): pass" for number in range(count)})
    run_pytest("--ray-cluster=local", "-n3").assert_outcomes(passed=count)


SLEEPS = """
import pathlib, pytest, time

@pytest.mark.ray_version(">=2")
def test_it():
    time.sleep({})
    pathlib.Path("log").write_text(pathlib.Path("log").read_text() + {!r})
"""


@pytest.fixture
def sleepers(pytester: pytest.Pytester) -> Path:
    """What three tests write, each of which takes longer than the one before, in the order in which they ran."""
    (pytester.path / "log").touch()
    pytester.makepyfile(test_a=SLEEPS.format(0, "a"), test_b=SLEEPS.format(0.1, "b"), test_c=SLEEPS.format(0.5, "c"))
    return pytester.path / "log"


def test_what_took_longest_in_the_baseline_begins(sleepers: Path, run_pytest: Callable[..., pytest.RunResult]) -> None:
    run_pytest("--ray-cluster=local", "--raycompat-report=old.json").assert_outcomes(passed=3)
    shutil.rmtree(".raycompat")
    run_pytest("--ray-cluster=local", "--raycompat-baseline=old.json", "-n1").assert_outcomes(passed=3)
    assert sleepers.read_text() == "abccba"


def test_what_took_longest_the_last_time_begins(sleepers: Path, run_pytest: Callable[..., pytest.RunResult]) -> None:
    run_pytest("--ray-cluster=local", "-n1").assert_outcomes(passed=3)
    run_pytest("--ray-cluster=local", "-n1", "-k", "test_a").assert_outcomes(passed=1)
    assert sleepers.read_text() == "abca"
    run_pytest("--ray-cluster=local", "-n1").assert_outcomes(passed=3)
    assert sleepers.read_text() == "abcacba"
