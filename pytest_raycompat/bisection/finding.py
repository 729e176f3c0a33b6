"""What a bisect found: in words, as a specifier, and as the edit of a gap file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from pytest_raycompat.bisection.judging import Judged
from pytest_raycompat.bisection.search import SKIP, Change, changes, stretches
from pytest_raycompat.environments.recipe import Package
from pytest_raycompat.gaps.narrowing import line_of_condition
from pytest_raycompat.gaps.schema import Gap
from pytest_raycompat.report.paths import shown
from pytest_raycompat.versions import parse_specifier, satisfies


@dataclass(frozen=True)
class Finding:
    """A search that is over.

    ``versions`` are those that were searched, oldest first; ``judged`` says how those that were tried were judged.
    """

    package: Package
    versions: tuple[str, ...]
    judged: Mapping[int, Judged]

    @property
    def judgements(self) -> dict[int, str]:
        """How each version was judged."""
        return {place: judged.judgement for place, judged in self.judged.items()}

    @property
    def changes(self) -> list[Change]:
        """Where the history changes, also from one reason to be bad to another."""
        return changes({place: judged.label for place, judged in self.judged.items()})

    @property
    def monotonic(self) -> bool:
        """Whether it changes between good and bad once."""
        return len(changes(self.judgements)) == 1

    @property
    def specifiers(self) -> list[str]:
        """The versions that are bad as PEP 440 specifiers, one for each stretch of them."""
        return self.where(lambda judged: judged.judgement == "bad")

    def where(self, holds: Callable[[Judged], bool]) -> list[str]:
        """Write the versions for which something holds as specifiers, one for each stretch of them.

        What lies between two stretches and could not be judged is counted in, for nothing shows that it does not hold.
        """
        found = stretches(
            {place: str(holds(one)) if one.judgement != SKIP else SKIP for place, one in self.judged.items()}
        )
        written = []
        for place, (label, _, _) in enumerate(found):
            if label != str(True):
                continue
            clauses = [f">={self.versions[found[place - 1][2] + 1]}"] if place > 0 else []
            clauses += [f"<{self.versions[found[place + 1][1]]}"] if place < len(found) - 1 else []
            written += [",".join(clauses)] if clauses else []
        return written


def describe(finding: Finding) -> list[str]:
    """Say where the history changes."""
    name = {"ray": "Ray", "vllm": "vLLM"}[finding.package]
    lines = []
    if not finding.monotonic:
        told = "; ".join(
            f"{judgement} on {_range(finding.versions, first, last)}"
            for judgement, first, last in stretches(finding.judgements)
        )
        lines.append(f"the history is not monotonic: {told}")
    for change in finding.changes:
        older, newer = finding.judged[change.older], finding.judged[change.newer]
        lines.append(
            f"{name} {finding.versions[change.older]} is {older.label}, "
            f"{name} {finding.versions[change.newer]} is {newer.label}"
        )
        if change.unjudged:
            told = ", ".join(finding.versions[place] for place in change.unjudged)
            lines.append(f"  between them could not be judged: {told}")
    lines += [f"bad: {finding.package} {specifier}" for specifier in finding.specifiers]
    return lines


def edits(finding: Finding, gaps: Iterable[Gap]) -> list[str]:
    """Say for each gap that showed what follows for its file, and where none showed what a new one is to say."""
    met = {identifier for judged in finding.judged.values() for identifier in judged.gaps}
    known = {gap.id: gap for gap in gaps}
    lines = [line for identifier in sorted(met & known.keys()) for line in _edit(finding, known[identifier])]
    if lines:
        return [*lines, *_unexplained(finding)]
    if len(finding.specifiers) == 1:
        lines = ["no known gap records this; a new gap file says:", "  [when]"]
        lines.append(f'  {finding.package} = "{finding.specifiers[0]}"')
        reports = [one.report for one in finding.judged.values() if one.judgement == "bad" and one.report]
        lines += [f"a draft of the rest: raycompat gaps propose {shown(reports[0])}"] if reports else []
    return lines


def _unexplained(finding: Finding) -> list[str]:
    """Name what is bad and no known gap, each cause once."""
    found: dict[str, Judged] = {}
    for _, judged in sorted(finding.judged.items()):
        if judged.judgement == "bad" and not judged.gaps:
            found.setdefault(judged.cause, judged)
    lines = []
    for judged in found.values():
        label = judged.label
        where = " and ".join(finding.where(lambda one, label=label: not one.gaps and one.label == label))  # type: ignore[misc]
        lines.append(f"bad, and no known gap: {finding.package} {where}: {judged.why}")
        lines += [f"  a draft: raycompat gaps propose {shown(judged.report)}"] if judged.report is not None else []
    return lines


def _edit(finding: Finding, gap: Gap) -> list[str]:
    before: str | None = getattr(gap.when, finding.package)
    # a version that is bad for another reason says nothing of this gap
    expected = {
        finding.versions[place]: judged.judgement == "bad"
        for place, judged in finding.judged.items()
        if judged.judgement == "good" or gap.id in judged.gaps
    }
    head = f"gap {gap.id}, {shown(gap.path)}:{line_of_condition(gap, finding.package)}"
    if before is not None and agrees(before, expected):
        return [f'{head}: {finding.package} = "{before}" agrees with every release that was judged']
    proposal = proposed(finding, gap, before, expected)
    if proposal is None:
        return [f"{head}: no one specifier of {finding.package} holds where it showed, and nowhere else"]
    removed = [f'-{finding.package} = "{before}"'] if before is not None else []
    decided = ["  (`lacks` decides; this tells a reader which releases lack it)"] if gap.when.decisive_lacks else []
    return [f"{head}:", *removed, f'+{finding.package} = "{proposal}"', *decided]


def proposed(finding: Finding, gap: Gap, before: str | None, expected: Mapping[str, bool]) -> str | None:
    """Write the condition of a gap as it should be; None where no one specifier will do.

    Clauses of the other end than the one that was searched stay.
    """
    verified: Sequence[str] = [getattr(pair, finding.package) for pair in gap.verified]
    clauses = [str(clause) for clause in parse_specifier(before)] if before else []
    for specifier in finding.where(lambda judged: gap.id in judged.gaps):
        ends = {clause[0] for clause in specifier.split(",")}
        kept = [clause for clause in clauses if not re.match(f"[{''.join(ends)}]", clause)]
        candidate = ",".join([*sorted(kept), specifier])
        if agrees(candidate, expected) and all(satisfies(version, candidate) for version in verified):
            return candidate
    return None


def agrees(specifier: str, expected: Mapping[str, bool]) -> bool:
    """Whether a specifier holds exactly for the versions for which it is to hold."""
    return all(satisfies(version, specifier) == holds for version, holds in expected.items())


def _range(versions: Sequence[str], first: int, last: int) -> str:
    return versions[first] if first == last else f"{versions[first]} to {versions[last]}"
