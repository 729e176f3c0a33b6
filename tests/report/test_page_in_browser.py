"""The page as a real browser shows it: Debian's chromium, without a network."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_raycompat.compare.comparison import compare
from pytest_raycompat.records import ExceptionRecord
from pytest_raycompat.report import page as pages
from pytest_raycompat.report.document import AttemptRecord, ControlRecord, Report, WorkaroundRecord
from tests.making import make_gap, make_record, make_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(
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


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS, env={**os.environ})
        yield browser
        browser.close()


@pytest.fixture
def browser(chromium: Any, tmp_path: Path) -> Iterator[Browser]:
    ours = Browser(chromium, tmp_path)
    yield ours
    assert ours.problems == []
    for context in chromium.contexts:
        context.close()


@pytest.fixture
def shown() -> Callable[[Any], list[str]]:
    """List the tests that a page shows, without their files."""

    def list_them(page: Any) -> list[str]:
        ids = page.locator("#table tbody tr:not([hidden]):not(.detail) .open").all_inner_texts()
        return sorted(one.partition("::")[2] for one in ids)

    return list_them


def test_verdicts_are_filtered(browser: Browser, shown: Callable[[Any], list[str]]) -> None:
    page = browser.open(pages.render([sample()]))
    assert len(shown(page)) == 7
    assert page.locator("#shown").inner_text() == "7 of 7 tests"
    for verdict in ("passed", "unsupported", "untested"):
        page.get_by_role("checkbox", name=verdict, exact=False).first.uncheck()
    wait_for(page, 2)
    assert page.locator("#table tbody tr:not([hidden]) td:first-child .badge").all_text_contents() == [
        "✗crashed",
        "✗failed",
    ]
    page.get_by_role("button", name="Show all").first.click()
    wait_for(page, 7)


def test_text_is_filtered_by_test_flow_gap_and_reason(browser: Browser, shown: Callable[[Any], list[str]]) -> None:
    page = browser.open(pages.render([sample()]))
    for text, expected in (
        ("SAME tokens", ["test_same_tokens"]),
        ("serve ray-v1", ["test_breaks"]),
        ("4 gpus", ["test_needs"]),
        ("nothing like it", []),
    ):
        page.get_by_role("searchbox").fill(text)
        wait_for(page, len(expected))
        assert shown(page) == expected
    assert page.get_by_text("No test is like this.").is_visible()
    page.get_by_role("button", name="Show all").last.click()
    wait_for(page, 7)


def test_what_is_flaky_or_changed_is_found(browser: Browser, shown: Callable[[Any], list[str]]) -> None:
    page = browser.open(pages.render([sample()]))
    page.get_by_role("checkbox", name="flaky only").check()
    wait_for(page, 1)
    assert shown(page) == ["test_flaky"]
    page.get_by_role("checkbox", name="flaky only").uncheck()
    page.get_by_label("Since the baseline").select_option("regressed")
    wait_for(page, 1)
    assert shown(page) == ["test_breaks"]


def test_details_are_shown_as_text_and_by_the_keyboard(browser: Browser) -> None:
    page = browser.open(pages.render([sample()]))
    button = page.get_by_role("button", name="c.py::test_breaks")
    assert button.get_attribute("aria-expanded") == "false"
    button.focus()
    page.keyboard.press("Enter")
    assert button.get_attribute("aria-expanded") == "true"
    detail = page.locator(f"#{button.get_attribute('aria-controls')}")
    text = detail.inner_text()
    for part in (
        "error in phase 'start': KeyError: <b>'GPU'</b>",
        "raycompat run serve -- --executor ray-v1",
        "(in EngineCore pid=71)",
        "ERROR <script>alert(2)</script>",
        "some-gap: does not work: KeyError: <b>'GPU'</b>",
        "Control, the same without Ray",
        "c.py:3",
    ):
        assert part in text
    page.keyboard.press("Enter")
    assert button.get_attribute("aria-expanded") == "false"
    assert detail.count() == 0


def test_the_attempts_of_a_flaky_test_are_shown(browser: Browser) -> None:
    page = browser.open(pages.render([sample()]))
    page.get_by_role("button", name="a.py::test_flaky").click()
    assert "1: infra after 30.0 s: 0 of 2 GPUs are free" in page.locator(".detail").inner_text()


def test_a_malicious_name_is_a_name(browser: Browser) -> None:
    page = browser.open(pages.render([sample(), sample("2.35.0", old=True)]))
    page.get_by_role("button", name=MALICIOUS).click()
    assert page.title() == "2 of 13 tests are red: vLLM on Ray"
    assert page.locator("img, svg[onload], main script").count() == 0
    assert "</script><svg onload=alert(3)>" in page.locator(".detail").inner_text()


def test_a_link_leads_to_a_test_even_if_it_is_filtered_out(browser: Browser) -> None:
    page = browser.open(pages.render([sample()]), anchor="#t1")
    assert page.locator("#t1 .open").get_attribute("aria-expanded") == "true"
    page.get_by_role("searchbox").fill("nothing like it")
    wait_for(page, 0)
    page.evaluate("location.hash = '#t0'")
    page.locator("#t0 .open[aria-expanded=true]").wait_for()
    assert page.locator("#t0").is_visible()
    assert page.evaluate("document.activeElement.className") == "open"


def test_the_matrix_leads_to_details_and_never_shows_untested_green(browser: Browser) -> None:
    page = browser.open(pages.render([sample("2.35.0", old=True), sample("2.60.0")]))
    table = page.locator(".matrix")
    assert table.locator("thead th").all_inner_texts()[1:] == [
        "Ray 2.35.0, vLLM 0.32.0, cpu",
        "Ray 2.60.0, vLLM 0.32.0, cpu",
    ]
    rows = {
        row.locator("th").inner_text().strip(): [
            cell.split("\n")[0] for cell in row.locator("td .badge").all_text_contents()
        ]
        for row in table.locator("tbody tr").all()
    }
    assert rows["generate ray-v2 TP=2"] == ["✓passed2", "✓passed2"]
    assert rows["serve ray-v1"] == ["≈known-gap", "✗failed"]
    assert rows["test_later"] == ["?untested", "?untested"]
    missing = next(cells for name, cells in rows.items() if name.startswith("test_own.py"))
    assert missing == ["?untested", "✗crashed"]
    assert table.locator("td.ok .badge", has_text="untested").count() == 0
    table.locator("tr", has_text="serve").locator("a").nth(1).click()
    page.wait_for_selector(".detail")
    assert "Ray 2.60.0" in page.locator(".detail").inner_text()
    assert "raycompat run serve" in page.locator(".detail").inner_text()


def test_rows_are_sorted(browser: Browser) -> None:
    page = browser.open(pages.render([sample()]))
    head = page.locator("#table thead th", has_text="test")
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    first = page.locator("#table .open").first
    assert first.inner_text() == "a.py::test_flaky"
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert first.inner_text() == MALICIOUS


@pytest.mark.parametrize("width", [375, 1280])
@pytest.mark.parametrize("kind", ["one", "several", "comparison", "nothing"])
def test_nothing_runs_over_the_edge(browser: Browser, kind: str, width: int) -> None:
    one, other = sample(), sample("2.35.0", old=True)
    text = {
        "one": lambda: pages.render([one]),
        "several": lambda: pages.render([one, other, sample("2.58.0"), sample("2.50.0")]),
        "comparison": lambda: pages.render_comparison(compare([other], [one])),
        "nothing": lambda: pages.render([make_report()]),
    }[kind]()
    page = browser.open(text, width=width)
    for button in page.locator(".open").all():
        button.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out(browser: Browser, scheme: str) -> None:
    """Contrast of 4.5 at least (WCAG 2.2, 1.4.3), for every verdict and for quiet text."""
    page = browser.open(pages.render([sample()]), scheme=scheme)
    measured = page.evaluate(
        """() => {
            const part = (v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
            const light = (c) => { const [r, g, b] = c.match(/[\\d.]+/g).map(Number).map(part);
                                   return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
            const behind = (e) => {
                for (; e; e = e.parentElement) {
                    const c = getComputedStyle(e).backgroundColor;
                    if (!c.endsWith(', 0)') && c !== 'transparent') return c;
                }
                return 'rgb(255, 255, 255)';
            };
            return [...document.querySelectorAll('.badge, .quiet, h1, .open, dt, thead th')].map((e) => {
                const [a, b] = [light(getComputedStyle(e).color), light(behind(e))].sort((x, y) => y - x);
                return [e.className || e.tagName, (a + 0.05) / (b + 0.05)];
            });
        }"""
    )
    assert measured
    assert [(name, ratio) for name, ratio in measured if ratio < 4.5] == []


def test_the_first_stop_of_the_keyboard_leads_to_the_results(browser: Browser) -> None:
    page = browser.open(pages.render([sample()]))
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the results"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "results"


def test_without_scripts_the_table_is_complete(browser: Browser, shown: Callable[[Any], list[str]]) -> None:
    page = browser.open(pages.render([sample()]), script=False)
    assert page.locator("#table tbody tr").count() == 7
    assert "<noscript><p" in page.content()


def test_five_thousand_tests_stay_usable(browser: Browser) -> None:
    records = [
        make_record(f"a.py::test_{number}", "failed" if number % 5 == 0 else "passed", reason="why " * 20)
        for number in range(5000)
    ]
    page = browser.open(pages.render([make_report(*records)]))
    took = page.evaluate(
        """async () => {
            const began = performance.now();
            document.querySelector('[type=search]').value = 'test_4999';
            document.querySelector('.filters').dispatchEvent(new Event('input'));
            while (document.getElementById('shown').textContent !== '1 of 5000 tests')
                await new Promise((done) => requestAnimationFrame(done));
            return performance.now() - began;
        }"""
    )
    assert took < 3000  # ms, on a machine that does other things too; 250 where it does not
