from __future__ import annotations

from typing import get_args

import pytest

from pytest_raycompat.compare.change import ORDER, change_of, is_worse
from pytest_raycompat.records import GREEN, RED, Verdict
from pytest_raycompat.report.document import Change

VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
BROKEN = sorted(RED - {"gap-closed"})


def test_every_change_has_its_place() -> None:
    assert sorted(ORDER) == sorted(get_args(Change))


@pytest.mark.parametrize(
    ("old", "new", "change", "worse"),
    [
        ("passed", "passed", "unchanged", False),
        ("passed", "failed", "regressed", True),
        ("passed", "known-gap", "regressed", True),
        ("passed", "untested", "regressed", True),
        ("passed", "unsupported", "regressed", True),
        ("passed", "gap-closed", "gap-closed", True),
        ("passed", None, "vanished", False),
        ("known-gap", "known-gap", "still-failing", False),
        ("known-gap", "passed", "fixed", False),
        ("known-gap", "gap-closed", "gap-closed", True),
        ("known-gap", "gap-changed", "regressed", True),
        ("known-gap", "untested", "regressed", True),
        ("failed", "failed", "still-failing", False),
        ("failed", "crashed", "still-failing", False),
        ("failed", "known-gap", "still-failing", False),
        ("failed", "untested", "still-failing", False),
        ("failed", "passed", "fixed", False),
        ("gap-closed", "gap-closed", "gap-closed", False),
        ("gap-closed", "passed", "fixed", False),
        ("gap-closed", "failed", "regressed", True),
        ("untested", "passed", "new", False),
        ("untested", "failed", "new", True),
        ("untested", "unsupported", "unchanged", False),
        ("unsupported", "timed-out", "new", True),
        (None, "passed", "new", False),
        (None, "untested", "new", False),
        (None, "failed", "new", True),
    ],
)
def test_what_became_of_a_test(old: Verdict | None, new: Verdict | None, change: Change, worse: bool) -> None:
    assert (change_of(old, new), is_worse(old, new)) == (change, worse)


@pytest.mark.parametrize("verdict", VERDICTS)
def test_what_stays_as_it_is_is_never_worse(verdict: Verdict) -> None:
    assert not is_worse(verdict, verdict)


@pytest.mark.parametrize("old", sorted(GREEN))
@pytest.mark.parametrize("new", [*BROKEN, "untested", "unsupported"])
def test_what_was_green_and_is_not_is_worse(old: Verdict, new: Verdict) -> None:
    assert is_worse(old, new)


@pytest.mark.parametrize("old", [*VERDICTS, None])
def test_what_passes_is_never_worse(old: Verdict | None) -> None:
    assert not is_worse(old, "passed")
