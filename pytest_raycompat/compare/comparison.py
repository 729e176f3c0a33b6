"""Two lists of reports in, what became of every test out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from pytest_raycompat.compare.change import ORDER, change_of, is_worse
from pytest_raycompat.compare.environments import Difference, Pair, differences, label, pair_up
from pytest_raycompat.compare.measuring import MeasurementChange, measurement_changes
from pytest_raycompat.nodeids import name_of, sharing
from pytest_raycompat.records import Verdict
from pytest_raycompat.report.document import Change, Report, TestRecord
from pytest_raycompat.report.terminal import describe_parameters


class CompareError(ValueError):
    """Reports cannot be compared; says why."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one test."""

    id: str
    change: Change
    worse: bool
    old: Verdict | None
    new: Verdict | None
    flow: str | None = None
    parameters: str = ""
    gap: str | None = None
    reason: str = ""
    """Why it has its verdict now; of a test that vanished, why it had the one before."""
    flaky: bool = False
    """Whether it ended in several ways before or now, so that the change may be none."""
    file: str = ""
    line: int = 0
    reproduce: str = ""


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Tests of one class or module, with the same parameters, of which the same became for the same reason."""

    entries: tuple[Entry, ...]

    @property
    def first(self) -> Entry:
        """The one that stands for all."""
        return self.entries[0]

    @property
    def name(self) -> str:
        """The id of the test, or what the tests have in common."""
        return self.first.id if len(self.entries) == 1 else sharing(self.first.id)

    @property
    def tests(self) -> tuple[str, ...]:
        """The names of the tests, where there are several."""
        return tuple(name_of(entry.id) for entry in self.entries) if len(self.entries) > 1 else ()


class EnvironmentComparison(msgspec.Struct, frozen=True, kw_only=True):
    """One environment before and now; a side without it is None."""

    old: str | None
    new: str | None
    old_finished: bool = True
    new_finished: bool = True
    differences: tuple[Difference, ...] = ()
    entries: tuple[Entry, ...] = ()
    measurements: tuple[MeasurementChange, ...] = ()
    """What changed of what flows measured, and of how long their phases took."""
    measurements_compared: bool = True

    @property
    def measured_worse(self) -> int:
        """How many of the measurements fail the comparison."""
        return sum(one.worse for one in self.measurements)

    @property
    def name(self) -> str:
        """What a reader calls it."""
        if self.old is None or self.new is None or self.old == self.new:
            return self.new or self.old or ""
        return f"{self.old} → {self.new}"


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What a change did, environment by environment."""

    old: str
    """Path of the reports before."""
    new: str
    environments: tuple[EnvironmentComparison, ...]
    worse: bool
    """Whether anything is worse that fails the comparison."""
    counts: dict[Change, int]


def compare(
    old: Sequence[Report],
    new: Sequence[Report],
    *,
    names: tuple[str, str] = ("old", "new"),
    vanished_is_worse: bool = False,
) -> Comparison:
    """Compare reports.

    Raises:
        CompareError: no environment of one side may be compared with one of the other.
    """
    pairs = pair_up(old, new)
    if not any(pair.old is not None and pair.new is not None for pair in pairs):
        before, now = ("; ".join(sorted({label(one) for one in side})) or "nothing" for side in (old, new))
        raise CompareError(
            f"nothing can be compared: {names[0]} is of {before}, {names[1]} of {now}; "
            "reports of the same device kind and --raycompat-gaps-mode are compared, and of several environments only "
            "those of the same versions"
        )
    environments = tuple(compare_pair(pair, vanished_is_worse=vanished_is_worse) for pair in pairs)
    entries = [entry for environment in environments for entry in environment.entries]
    return Comparison(
        old=names[0],
        new=names[1],
        environments=environments,
        worse=any(entry.worse for entry in entries) or any(environment.measured_worse for environment in environments),
        counts=count(entries),
    )


def compare_pair(pair: Pair, *, vanished_is_worse: bool = False) -> EnvironmentComparison:
    """Compare one environment before and now."""
    old, new = pair.old, pair.new
    measured = compare_measurements(old, new) if old is not None and new is not None else None
    return EnvironmentComparison(
        old=label(old) if old is not None else None,
        new=label(new) if new is not None else None,
        old_finished=old is None or old.finished,
        new_finished=new is None or new.finished,
        differences=differences(old, new) if old is not None and new is not None else (),
        entries=compare_results(
            old.results if old is not None else (),
            new.results if new is not None else (),
            vanished_is_worse=vanished_is_worse,
        ),
        measurements=measured or (),
        measurements_compared=measured is not None,
    )


def compare_measurements(old: Report, new: Report) -> tuple[MeasurementChange, ...] | None:
    """Say what takes longer or does less; None where the machines differ, so that it cannot be compared."""
    if any(one.effect == "machine" for one in differences(old, new)):
        return None
    return measurement_changes(old, new)


def compare_results(
    old: Iterable[TestRecord], new: Iterable[TestRecord], *, vanished_is_worse: bool = False
) -> tuple[Entry, ...]:
    """Say what became of each test, what must be seen first first."""
    before = {record.id: record for record in old}
    now = {record.id: record for record in new}
    entries = [entry_of(before.get(one), now.get(one)) for one in {**before, **now}]
    if vanished_is_worse:
        entries = [
            msgspec.structs.replace(entry, worse=True) if entry.new is None and entry.old == "passed" else entry
            for entry in entries
        ]
    return tuple(sorted(entries, key=lambda entry: (not entry.worse, ORDER.index(entry.change), entry.id)))


def groups_of(entries: Iterable[Entry]) -> list[Group]:
    """Group entries for a reader, in the order of their first ones: the tests of a flow break together."""
    found: dict[tuple[object, ...], list[Entry]] = {}
    for entry in entries:
        same = (entry.change, entry.worse, entry.old, entry.new, entry.gap, entry.reason, entry.flaky)
        found.setdefault((sharing(entry.id), *same), []).append(entry)
    return [Group(entries=tuple(members)) for members in found.values()]


def entry_of(old: TestRecord | None, new: TestRecord | None) -> Entry:
    """Say what became of one test, which at least one side has."""
    record = new or old
    assert record is not None
    before, now = (old.verdict if old is not None else None), (new.verdict if new is not None else None)
    same_gap = old is not None and new is not None and old.gap is not None and old.gap == new.gap
    return Entry(
        id=record.id,
        change=change_of(before, now, same_gap=same_gap),
        worse=is_worse(before, now, same_gap=same_gap),
        old=before,
        new=now,
        flow=record.flow,
        parameters=describe_parameters(record),
        gap=record.gap,
        reason=record.reason,
        flaky=any(one is not None and one.flaky for one in (old, new)),
        file=record.file,
        line=record.line,
        reproduce=record.reproduce,
    )


def count(entries: Iterable[Entry]) -> dict[Change, int]:
    """Count the changes, in the order in which they are shown."""
    found = [entry.change for entry in entries]
    return {change: found.count(change) for change in ORDER if change in found}


def describe_counts(counts: dict[Change, int]) -> str:
    """Write counts: ``1 regressed, 2 fixed, 40 unchanged``."""
    return ", ".join(f"{number} {change}" for change, number in counts.items()) or "no tests"
