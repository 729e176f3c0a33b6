"""Names the known gap that a finding belongs to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import msgspec

from pytest_raycompat.gaps import Gap
from pytest_raycompat.probe.existence import exists
from pytest_raycompat.probe.findings import Finding, FlowResult, PairResult
from pytest_raycompat.probe.programs import PROGRAMS, Program
from pytest_raycompat.probe.subjects import Subject
from pytest_raycompat.versions import is_version, satisfies


def attributed(result: PairResult, ray: Subject, vllm: Subject, gaps: Iterable[Gap]) -> PairResult:
    """Name the gap of each finding that breaks, or that might.

    A gap is that of a finding if it is of the flow, applies to the pair, and its message is in what Python would say.
    """
    gaps = list(gaps)
    programs = {program.name: program for program in PROGRAMS}
    flows = tuple(_named(flow, programs[flow.flow], ray, vllm, gaps) for flow in result.flows)
    return msgspec.structs.replace(result, flows=flows)


def _named(flow: FlowResult, program: Program, ray: Subject, vllm: Subject, gaps: list[Gap]) -> FlowResult:
    fitting = [gap for gap in gaps if _applies(gap, program, {"ray": ray, "vllm": vllm})]
    findings = tuple(
        one if one.status == "guarded" else msgspec.structs.replace(one, gap=_gap_of(one, fitting))
        for one in flow.findings
    )
    return msgspec.structs.replace(flow, findings=findings)


def _gap_of(finding: Finding, gaps: list[Gap]) -> str | None:
    for gap in gaps:
        if gap.message is not None and any(re.search(gap.message, text) for text in finding.messages):
            return gap.id
    return None


def _applies(gap: Gap, program: Program, subjects: Mapping[str, Subject]) -> bool:
    when = gap.when
    if program.flow not in gap.flows:
        return False
    if when.executor is not None and program.executor is not None and when.executor != program.executor:
        return False
    for specifier, subject in ((when.decisive_ray, subjects["ray"]), (when.vllm, subjects["vllm"])):
        if specifier is not None and not (
            subject.version is not None and is_version(subject.version) and satisfies(subject.version, specifier)
        ):
            return False
    return not when.decisive_lacks or any(exists(subjects["ray"], name) is False for name in when.decisive_lacks)
