from __future__ import annotations

from pathlib import Path

import pytest

from pytest_raycompat.cli import main
from pytest_raycompat.gaps import Conditions, Workaround
from pytest_raycompat.gaps.page import page
from tests.gaps.making import make_gap

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "known-gaps.md"


def test_the_page_of_our_own_gaps_is_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    """Where it is not: ``raycompat gaps list --format md > docs/reference/known-gaps.md``."""
    assert main(["gaps", "list", "--format", "md"]) == 0
    assert capsys.readouterr().out == PAGE.read_text()


def test_an_entry_has_all_there_is_to_know() -> None:
    gap = make_gap(
        title="A_1 <needs> *two*",
        when=Conditions(ray="<2.43", device="cuda"),
        cause="One\nline, and `a_b`",
        workaround=Workaround(text="Set it.", env={"A": "1"}),
        needs="two GPUs",
        confidence="read",
    )
    text = page([gap])
    assert "Of 1 gaps, 0 have been shown by a run, and 1 have not.\n" in text
    assert "| [some-gap](#some-gap) | generate | `ray <2.43, device cuda` | no; it needs two GPUs |\n" in text
    assert text.endswith(
        """\
## some-gap

A\\_1 \\<needs> \\*two\\*

- flows: generate
- applies to: `ray <2.43, device cuda`
- shows as: `error in phase start: ValueError: needs \\d+ of them`
- cause: One line, and `a_b`
- workaround: Set it.
- variables: `A=1`
- fix: by Ray
- confidence: not shown by any run, read in the source of released wheels
- needs: two GPUs
- links: <https://example.org/1>
"""
    )
