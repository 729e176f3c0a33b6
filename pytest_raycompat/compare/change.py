"""From the verdict on a test before and now to what became of it."""

from __future__ import annotations

from pytest_raycompat.records import RED, Verdict
from pytest_raycompat.report.document import Change

NOT_RUN: frozenset[str] = frozenset({"unsupported", "untested"})
"""Verdicts that say nothing of the flow."""
ORDER: tuple[Change, ...] = ("regressed", "gap-closed", "new", "vanished", "fixed", "still-failing", "unchanged")
"""From what a reader must see first to what may be read last."""


def change_of(old: Verdict | None, new: Verdict | None, *, same_gap: bool = False) -> Change:
    """Say what became of a test; None is a test that a report does not have.

    What worked, or failed in the way that was known, and now does anything else but work, is ``regressed``: also where
    it was not run any more, and where what worked is now a known gap. With ``same_gap`` both verdicts name one gap: a
    pass that does is where an intermittent one did not show, so nothing became of the test if it shows or not.
    """
    if same_gap and {old, new} == {"passed", "known-gap"}:
        return "unchanged"
    if new is None:
        return "vanished"
    if new == "gap-closed":
        return "gap-closed"
    if old is None:
        return "new"
    if old in NOT_RUN:
        return "unchanged" if new in NOT_RUN else "new"
    if new == "passed":
        return "unchanged" if old == "passed" else "fixed"
    if old in ("passed", "gap-closed"):
        return "regressed"
    if old == "known-gap":
        return "still-failing" if new == "known-gap" else "regressed"
    return "still-failing"


def is_worse(old: Verdict | None, new: Verdict | None, *, same_gap: bool = False) -> bool:
    """Whether a change must fail the comparison.

    A new test that is red is worse: nothing says that it was broken before. So is a gap that was closed while its
    record stays, unless that was so before: whoever closes a gap changes its record.
    """
    change = change_of(old, new, same_gap=same_gap)
    if change == "gap-closed":
        return old != "gap-closed"
    return change == "regressed" or (change == "new" and new in RED)
