"""A real browser for tests of pages: Debian's chromium, without a network."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from pytest_raycompat.records import ExceptionRecord, Measurement
from pytest_raycompat.report.document import AttemptRecord, ControlRecord, Report, WorkaroundRecord
from tests.making import make_gap, make_record, make_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="chromium is not installed: apt-get install chromium, to test the page in a browser"
)
FLAGS = [
    "--headless",
    "--no-sandbox",  # of root in a container
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
MALICIOUS = (
    "tests/test_own.py::test_a[</script><script>document.title='owned'</script><img src=x onerror=alert(1)>\"'&]"
)
ROOT = ExceptionRecord(type="KeyError", message="<b>'GPU'</b>", process="EngineCore pid=71", traceback="  File …")


def sample(ray: str = "2.60.0", *, old: bool = False) -> Report:
    generate: dict[str, Any] = {
        "flow": "generate",
        "parameters": {"executor": "ray-v2", "tensor_parallel_size": 2},
        "timings": {"start": 30.0, "generate": 2.5, "total": 32.5},
        "measurements": {"throughput": Measurement(unit="tokens/s", samples=(81.2345, 82.0), better="higher")},
        "evidence": {"executor": "RayExecutorV2"},
    }
    records = [
        make_record("a.py::test_works", outcome="ok", **generate),
        make_record("a.py::test_same_tokens", outcome="ok", **generate),
        make_record(
            "a.py::test_flaky",
            flaky=True,
            attempts=(AttemptRecord(verdict="infra", reason="0 of 2 GPUs are free", seconds=30.0),),
        ),
        make_record("b.py::test_needs", "unsupported", reason="needs 4 GPUs, found 2"),
        make_record("b.py::test_later", "untested", reason="the run ended before it"),
        make_record(
            "c.py::test_breaks",
            "known-gap" if old else "failed",
            reason="error in phase 'start': KeyError: <b>'GPU'</b>",
            flow="serve",
            parameters={"executor": "ray-v1"},
            outcome="error",
            gap="some-gap" if old else None,
            exception=ROOT,
            chain=(ROOT,),
            workarounds=(WorkaroundRecord(gap="some-gap", works=False, exception=ROOT),),
            control=ControlRecord(parameters={"executor": "mp"}, outcome="ok", timings={"total": 2.0}),
            reproduce="raycompat run serve -- --executor ray-v1",
            log_excerpt="ERROR <script>alert(2)</script>",
            logs=("logs/1.log",),
            file="c.py",
            line=3,
            change="regressed",
        ),
    ]
    if not old:
        records.append(make_record(MALICIOUS, "crashed", reason="</script><svg onload=alert(3)>"))
    gap = make_gap("some-gap", title="A <b>gap</b> " + "of-many-words-" * 12, changed=1, workaround="does not work")
    return make_report(*records, ray=ray, gaps=(gap,))


def wait_for(page: Any, count: int) -> None:
    """Wait until a page shows so many of its seven tests."""
    page.locator("#shown", has_text=f"{count} of 7 tests").wait_for()


class Browser:
    """Opens pages, and notes what a page must not do."""

    def __init__(self, chromium: Any, folder: Path) -> None:
        self._chromium = chromium
        self._folder = folder
        self.problems: list[str] = []

    def _note(self, problem: str) -> None:
        self.problems.append(problem)

    def _dismiss(self, dialog: Any) -> None:
        self._note(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _look_at_request(self, request: Any) -> None:
        if not request.url.startswith(("file:", "data:")):
            self._note(f"asks {request.url}")

    def open(self, text: str, width: int = 1280, scheme: str = "light", anchor: str = "", script: bool = True) -> Any:
        path = self._folder / "page.html"
        path.write_text(text, encoding="utf-8")
        context = self._chromium.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme, java_script_enabled=script
        )
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda message: self._note(f"console: {message.text}"))
        page.on("pageerror", lambda error: self._note(f"error: {error}"))
        page.on("dialog", self._dismiss)
        page.on("request", self._look_at_request)
        page.goto(path.as_uri() + anchor)
        return page
