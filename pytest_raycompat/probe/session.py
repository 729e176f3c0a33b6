"""Probing from the command line and from other commands: opens what is named, once, and keeps what was read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Self

import msgspec
from packaging.version import Version

from pytest_raycompat.gaps import Gap
from pytest_raycompat.probe import existence
from pytest_raycompat.probe.attributing import attributed
from pytest_raycompat.probe.findings import Finding, PairResult
from pytest_raycompat.probe.opening import Opener
from pytest_raycompat.probe.pairs import probe
from pytest_raycompat.probe.programs import PROGRAMS, Program
from pytest_raycompat.probe.subjects import Subject
from pytest_raycompat.releases import Release, Target
from pytest_raycompat.releases.cache import Cache, cache_folder
from pytest_raycompat.releases.index import Index

_HELD = 3
"""How many releases keep their sources in memory, 10 to 30 MB each."""
_LOOKED_INTO = 8
"""How many known releases on each side are asked for a missing name."""


class Session:
    """A context manager that probes pairs; used by one thread."""

    def __init__(
        self,
        *,
        python: str | None = None,
        gaps: Iterable[Gap] = (),
        refresh: bool = False,
        warn: Callable[[str], None] = print,
    ) -> None:
        """Set up.

        Args:
            python: whose wheels are read, such as ``3.12``; default: this one's.
            gaps: known gaps, to name in findings.
            refresh: ask the index anew.
            warn: told what a user should know.

        Raises:
            ReleaseError: a configuration file of pip cannot be read, or ``python`` is not a version.
        """
        cache = Cache(cache_folder(), warn=warn)
        self.index = Index(cache=cache, warn=warn, refresh=refresh)
        self.opener = Opener(self.index, cache, Target.here(python), warn)
        self._gaps = tuple(gaps)
        self._opened: dict[tuple[str, str], Subject] = {}
        self._ours: Subject | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.opener.save()
        self.opener.close()
        self.index.__exit__()

    def subject(self, package: str, text: str) -> Subject:
        """Open what a user names: a version, a wheel, or a folder.

        Raises:
            ReleaseError: it cannot be opened.
        """
        key = (package, text)
        if key not in self._opened:
            self._opened[key] = self.opener.named(package, text)
            for older in list(self._opened.values())[:-_HELD]:
                older.release_sources()
        return self._opened[key]

    def installed(self, python: str) -> dict[str, Subject]:
        """Open the packages of an interpreter.

        Raises:
            ReleaseError: it does not answer.
        """
        return self.opener.installed(python)

    def pair(self, ray: Subject, vllm: Subject, programs: Sequence[Program] = PROGRAMS) -> PairResult:
        """Probe a pair.

        Raises:
            ReleaseError: a file that is needed cannot be read.
        """
        if self._ours is None:
            self._ours = self.opener.ours()
        result = attributed(probe(ray, vllm, self._ours, programs), ray, vllm, self._gaps)
        self.opener.save()
        return result

    def with_history(self, result: PairResult, subjects: dict[str, Subject]) -> PairResult:
        """Add to findings in which releases, of those that were read before, the missing name is."""
        known: dict[str, list[Subject]] = {}

        def told(finding: Finding) -> Finding:
            subject = subjects.get(finding.package)
            if subject is None or finding.status == "guarded" or not re.fullmatch(r"[\w.]+(\(\w+\))?", finding.missing):
                return finding
            if finding.package not in known:
                known[finding.package] = list(self._read_before(subject))
            found = existence.history(finding, subject, known[finding.package])
            return msgspec.structs.replace(finding, history=found)

        flows = tuple(
            msgspec.structs.replace(flow, findings=tuple(told(one) for one in flow.findings)) for flow in result.flows
        )
        return msgspec.structs.replace(result, flows=flows)

    def _read_before(self, subject: Subject) -> Iterator[Subject]:
        if subject.version is None:
            return
        here = Version(subject.version)
        releases = [one for one in self.index.releases(subject.package) if self.opener.is_known(one)]
        older = [one for one in releases if one.parsed < here][-_LOOKED_INTO:]
        newer = [one for one in releases if one.parsed > here][:_LOOKED_INTO]
        yield from (self.subject(one.package, one.version) for one in older)
        yield subject
        yield from (self.subject(one.package, one.version) for one in newer)


def candidates(releases: Iterable[Release], target: Target) -> list[Release]:
    """List the releases that a user would take: final, not yanked, with a wheel for this Python."""
    return [
        one
        for one in releases
        if not one.parsed.is_prerelease and one.yanked is None and target.choose_to_read(one.files) is not None
    ]
