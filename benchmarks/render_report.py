"""How long a report of many tests takes to be written in each format, and to be compared.

    python benchmarks/render_report.py [TESTS]

A third of the tests failed, with chains, evidence and the end of a log, as a bad night has them.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from pytest_raycompat.compare import rendering
from pytest_raycompat.compare.comparison import compare
from pytest_raycompat.records import Environment, ExceptionRecord
from pytest_raycompat.report.document import DeviceRecord, Report, TestRecord, read_reports
from pytest_raycompat.report.formats import write_as

LIMIT_S = 2.0
"""What a report of 5,000 tests may take."""
ROOT = ExceptionRecord(type="ValueError", message="Ray version 2.43.0 is required", traceback="  File …\n" * 20)


def make_record(number: int) -> TestRecord:
    """Make a test; every third one failed."""
    failed = number % 3 == 0
    return TestRecord(
        id=f"suites/generate/test_{number // 50}.py::TestGenerate::test_{number}[{number % 7}-ray-v2]",
        verdict="failed" if failed else "passed",
        reason=f"error in phase 'start': ValueError: {number // 40}" if failed else "",
        flow="generate",
        parameters={"executor": "ray-v2", "tensor_parallel_size": 1 + number % 64},
        outcome="error" if failed else "ok",
        phase="start" if failed else "over",
        chain=(ROOT,) if failed else (),
        evidence={"workers": [{"rank": rank, "actor_id": "ab" * 16, "node": "127.0.0.2"} for rank in range(4)]},
        timings={"launch": 1.0, "start": 20.0 + number % 5, "total": 22.0 + number % 5},
        reproduce="raycompat run generate --ray-cluster=local:1x2 -- --executor ray-v2",
        log_excerpt="a line of a log\n" * 40 if failed else "",
    )


def timed(name: str, work: Callable[[], object]) -> float:
    """Run ``work``, print how long it took, and return that, in seconds."""
    began = time.perf_counter()
    work()
    took = time.perf_counter() - began
    print(f"{name:<6} {took:6.2f} s")
    return took


def write(path: Path, report: Report) -> float:
    """Time how long a format takes, in seconds."""
    took = timed(path.suffix, lambda: write_as(path, [report]))
    print(f"       {path.stat().st_size / 1e6:6.1f} MB")
    return took


def main() -> int:
    """Run the benchmark; return 1 where the page takes too long."""
    tests = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    environment = Environment(executable="python", python="3.11.7", platform="Linux", ray="2.60.0", vllm="0.32.0")
    report = Report(
        project_version="0.1.0",
        created="2026-11-22T12:00:00+01:00",
        finished=True,
        environment=environment,
        device=DeviceRecord(kind="cpu", count=0),
        results=tuple(make_record(number) for number in range(tests)),
    )
    with tempfile.TemporaryDirectory() as name:
        took = {suffix: write(Path(name, f"report.{suffix}"), report) for suffix in ("json", "md", "html")}
        timed("read", lambda: read_reports(Path(name, "report.json")))
        timed("diff", lambda: rendering.markdown(compare([report], [report])))
    return int(took["html"] > LIMIT_S)


if __name__ == "__main__":
    sys.exit(main())
