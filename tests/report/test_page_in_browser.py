"""What the page does in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pytest_raycompat.report import page as pages
from tests.report.browser import MALICIOUS, Browser, needs_chromium, sample, wait_for

pytestmark = needs_chromium


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


def test_what_a_flow_measured_is_shown(browser: Browser) -> None:
    page = browser.open(pages.render([sample()]))
    button = page.get_by_role("button", name="a.py::test_works")
    button.click()
    text = page.locator(f"#{button.get_attribute('aria-controls')}").inner_text()
    assert "81.23, 82 tokens/s" in text


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
