from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.report.browser import CHROMIUM, FLAGS, Browser


@pytest.fixture(scope="package")
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
