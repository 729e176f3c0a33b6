"""However pytest ends, nothing of ours stays, and what is somebody else's goes on."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pytest_raycompat.processes.ownership import MARK_VARIABLE, end_processes, processes_of
from pytest_raycompat.processes.ports import free_port

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install ray, or tox run -e py"
)

FLOW = """
import sys, time
from multiprocessing import shared_memory
from pytest_raycompat.flows.reporting import run_program

def body(reporter):
    import ray
    reporter.phase("start")
    ray.init(address="auto", log_to_driver=False)

    @ray.remote(num_gpus=1)
    class Worker:
        def __init__(self):
            self.segment = shared_memory.SharedMemory(create=True, size=4096)
        def name(self):
            return self.segment.name

    worker = Worker.remote()
    reporter.output("segment", ray.get(worker.name.remote()))
    open("ready", "w").write(ray.get(worker.name.remote()))
    reporter.phase("sleep")
    time.sleep(600)

sys.exit(run_program("sleepy", {}, body))
"""

TEST = """
def test_first():
    pass

def test_sleepy(run_flow, ray_cluster):
    run_flow("flow.sleepy", executor="ray")

def test_never_reached(run_flow):
    run_flow("flow.sleepy", executor="ray", number=2)
"""


@pytest.fixture
def somebody_elses_ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[psutil.Process]:
    """A Ray that this project did not start, as its owner starts it."""
    folder = tmp_path_factory.mktemp("r")
    environment = {**os.environ, "HOME": str(folder)}
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats"]
    command += [f"--port={free_port()}", f"--ray-client-server-port={free_port()}", "--num-cpus=1"]
    command += [f"--dashboard-agent-listen-port={free_port()}", "--include-dashboard=false", f"--temp-dir={folder}"]
    log = folder / "log"
    with log.open("wb") as stream:
        started = subprocess.Popen(command, env=environment, stdout=stream, stderr=stream, start_new_session=True)
    wait_until(lambda: "Ray runtime started" in log.read_text(), 90, "somebody else's Ray started")
    yield psutil.Process(started.pid)
    end_processes([started.pid], lambda: reaped(started), grace_s=8, limit_s=20)
    started.wait(10)  # its threads may outlive its first one


def reaped(started: subprocess.Popen[bytes]) -> list[psutil.Process]:
    started.poll()
    return processes_of([started.pid])


def wait_until(done: object, limit_s: float, what: str) -> float:
    assert callable(done)
    began = time.monotonic()
    while not done():
        assert time.monotonic() - began < limit_s, f"not after {limit_s} s: {what}"
        time.sleep(0.1)
    return time.monotonic() - began


def heed_interrupts() -> None:
    """Undo what a shell does for jobs in the background, which would be inherited: they ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A pytest run in the middle of a flow."""
    (tmp_path / "flow").mkdir()
    (tmp_path / "flow" / "__init__.py").touch()
    (tmp_path / "flow" / "sleepy.py").write_text(FLOW)
    (tmp_path / "test_it.py").write_text(TEST)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    for name in ("CI", "GITHUB_ACTIONS", "RAY_ADDRESS", "PYTEST_XDIST_WORKER"):
        environment.pop(name, None)
    with (tmp_path / "out").open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--ray-cluster=local:1x1"],
            cwd=tmp_path,
            env=environment,
            stdout=stream,
            stderr=stream,
            preexec_fn=heed_interrupts,
        )
    try:
        wait_until(lambda: (tmp_path / "ready").exists() and (tmp_path / "ready").read_text(), 120, "flow runs")
        time.sleep(1.5)  # long enough for who has which segment to have been looked up
        yield process
    finally:
        process.kill()
        process.wait()


def mark_of(process: subprocess.Popen[bytes]) -> str:
    marks = {child.environ().get(MARK_VARIABLE) for child in psutil.Process(process.pid).children()}
    (mark,) = marks - {None}
    assert mark is not None
    return mark


def folders() -> set[Path]:
    return set(Path("/tmp").glob("raycompat-*"))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=lambda number: number.name)
def test_nothing_stays(
    number: signal.Signals,
    somebody_elses_ray: psutil.Process,
    running: subprocess.Popen[bytes],
    tmp_path: Path,
) -> None:
    theirs = {process.pid for process in processes_of([somebody_elses_ray.pid])}
    mark = mark_of(running)
    segment = Path("/dev/shm", (tmp_path / "ready").read_text())
    ours = [Path(path) for process in processes_of([], mark) if (path := process.environ().get("HOME"))]
    assert segment.exists()
    assert len(processes_of([], mark)) > 5

    running.send_signal(number)
    running.wait(60)
    wait_until(lambda: not processes_of([], mark), 15, "no process of ours")
    wait_until(lambda: not segment.exists(), 2, "no shared memory of ours")
    wait_until(lambda: not any(home.exists() for home in ours), 2, "no folder of ours")
    assert {process.pid for process in processes_of([somebody_elses_ray.pid])} == theirs

    report = (tmp_path / ".raycompat" / "report.json").read_text()
    assert '"id": "test_it.py::test_never_reached"' in report
    assert '"finished": false' in report
