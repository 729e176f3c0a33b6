"""Which environments may be compared, and in what they differ.

Rules (docs/reference/verdicts.md): another device kind or mode of known gaps is never compared. Other versions are
compared and named: they are what may have made the difference. On another machine, timings and measurements are not
compared. Paths, revisions and the version of this project may differ unsaid.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from pytest_raycompat.report.document import Report

Effect = Literal["tested", "machine", "named"]


class Difference(msgspec.Struct, frozen=True):
    """One thing in which two environments differ.

    ``effect`` is ``tested`` where it is what is under test, ``machine`` where it makes timings incomparable, else
    ``named``.
    """

    name: str
    old: str
    new: str
    effect: Effect

    def __str__(self) -> str:
        return f"{self.name}: {self.old} → {self.new}"


@dataclass(frozen=True)
class Pair:
    """The same environment before and now, or as near to it as there is; None where a side has none."""

    old: Report | None
    new: Report | None


def facts(report: Report) -> list[tuple[str, str, Effect]]:
    """List what of an environment is compared, as a reader names it."""
    environment, device, machine, cluster = report.environment, report.device, report.machine, report.cluster
    return [
        ("Ray", environment.ray or "none", "tested"),
        ("vLLM", environment.vllm or "none", "tested"),
        ("torch", environment.torch or "none", "tested"),
        ("Python", environment.python, "tested"),
        ("vLLM build", environment.vllm_build or "none", "tested"),
        ("executors", ", ".join(environment.executors) or "none", "tested"),
        ("default executor", environment.default_executor or "none", "tested"),
        ("cluster", cluster.option if cluster is not None else "none", "tested"),
        ("GPUs", ", ".join(device.names) or "none", "machine"),
        ("CPU", machine.cpu if machine is not None else "not known", "machine"),
        ("CPUs", str(machine.cpus) if machine is not None else "not known", "machine"),
        ("driver", device.driver or "none", "named"),
        ("platform", environment.platform, "named"),
    ]


def differences(old: Report, new: Report) -> tuple[Difference, ...]:
    """List in what two environments differ."""
    return tuple(
        Difference(name, before, now, effect)
        for (name, before, effect), (_, now, _) in zip(facts(old), facts(new), strict=True)
        if before != now
    )


def label(report: Report) -> str:
    """Name an environment in a few words: ``Ray 2.60.0, vLLM 0.32.0, cpu``."""
    environment = report.environment
    ray = f"Ray {environment.ray}" if environment.ray else "no Ray"
    vllm = f"vLLM {environment.vllm}" if environment.vllm else "no vLLM"
    mode = f", --raycompat-gaps-mode={report.gaps_mode}" if report.gaps_mode != "run" else ""
    return f"{ray}, {vllm}, {report.device.kind}{mode}"


def labels(reports: Sequence[Report]) -> list[str]:
    """Name environments so that no two have the same name, with whatever else tells them apart."""
    names = [label(report) for report in reports]
    for position, fact in enumerate(facts(reports[0]) if reports else ()):
        values = [facts(report)[position][1] for report in reports]
        for name in {one for one in names if names.count(one) > 1}:
            places = [index for index, one in enumerate(names) if one == name]
            if len({values[index] for index in places}) > 1:
                for index in places:
                    names[index] = f"{name}, {fact[0]} {values[index]}"
    return [f"{name} ({index + 1})" if names.count(name) > 1 else name for index, name in enumerate(names)]


def brief(names: Sequence[str]) -> list[str]:
    """Shorten the names of environments that are shown together to what tells them apart: ``Ray 2.60.0``."""
    parts = [name.split(", ") for name in names]
    if len(names) < 2 or len({len(one) for one in parts}) > 1:
        return list(names)
    telling = [place for place in range(len(parts[0])) if len({one[place] for one in parts}) > 1]
    return [", ".join(one[place] for place in telling) or name for one, name in zip(parts, names, strict=True)]


def sort_of(report: Report) -> tuple[str, str]:
    """Return what two reports must have in common to be compared."""
    return report.device.kind, report.gaps_mode


def versions_of(report: Report) -> tuple[str | None, ...]:
    """Return what two reports of the same environment have in common."""
    environment = report.environment
    return (*sort_of(report), environment.ray, environment.vllm, environment.torch, environment.python)


def identity(report: Report) -> tuple[str, ...]:
    """Return by what environments are told apart: what is under test, and the GPUs. Shards may be of other hosts."""
    return (
        *sort_of(report),
        *report.device.names,
        *(value for _, value, effect in facts(report) if effect == "tested"),
    )


def pair_up(old: Iterable[Report], new: Iterable[Report]) -> list[Pair]:
    """Find for each environment its like before: the same one; else of the same versions; else the only one left."""
    left, right, pairs = list(old), list(new), []
    for key in (identity, versions_of):
        for now in list(right):
            before = next((one for one in left if key(one) == key(now)), None)
            if before is not None:
                left.remove(before)
                right.remove(now)
                pairs.append(Pair(before, now))
    for sort in sorted({sort_of(one) for one in right}):
        befores = [one for one in left if sort_of(one) == sort]
        nows = [one for one in right if sort_of(one) == sort]
        if len(befores) == len(nows) == 1:
            left.remove(befores[0])
            right.remove(nows[0])
            pairs.append(Pair(befores[0], nows[0]))
    return [*pairs, *(Pair(None, now) for now in right), *(Pair(before, None) for before in left)]
