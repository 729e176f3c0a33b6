"""Gaps for a reader: which of them will be met, and what there is to know of one."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from pytest_raycompat.gaps.loading import BUILTIN_FOLDER
from pytest_raycompat.gaps.schema import Conditions, Gap
from pytest_raycompat.markers import plural
from pytest_raycompat.versions import is_version, satisfies

WIDTH = 78
LABEL_WIDTH = 13
CONFIDENCE = {
    "read": "read in the source of released wheels",
    "stated": "stated by its maintainers",
    "reported": "reported once",
}
FIXES = {"ray": "by Ray", "vllm": "by vLLM", "never": "none is to be expected"}


@dataclass(frozen=True)
class Filter:
    """What a reader asks about; what is None is left open."""

    ray: str | None = None
    vllm: str | None = None
    flow: str | None = None
    executor: str | None = None
    device: str | None = None

    def __post_init__(self) -> None:
        for name in ("ray", "vllm"):
            version = getattr(self, name)
            if version is not None and not is_version(version):
                raise ValueError(f"--{name}: {version!r} is not a version, such as 2.35.0")

    def admits(self, gap: Gap) -> bool:
        """Whether ``gap`` may be met.

        Nothing is looked up in an environment: where ``lacks`` decides, the releases that ``ray`` names stand for it,
        and without these the gap may be met on any Ray.
        """
        when = gap.when
        return (
            _may_be(self.ray, when.ray)
            and _may_be(self.vllm, when.vllm)
            and (self.flow is None or self.flow in gap.flows)
            and _same(self.executor, when.executor)
            and _same(self.device, when.device)
        )


def _may_be(version: str | None, specifier: str | None) -> bool:
    return version is None or specifier is None or satisfies(version, specifier)


def _same(asked: str | None, recorded: str | None) -> bool:
    return asked is None or recorded is None or asked == recorded


def as_data(gap: Gap) -> dict[str, Any]:
    """Turn a gap into what JSON can hold: the keys of its file, and where it is recorded."""
    data: dict[str, Any] = msgspec.to_builtins(gap, enc_hook=str)  # of all its values, msgspec knows paths alone not
    del data["root"]  # the path is whole
    return data


def listed(gaps: Iterable[Gap]) -> list[str]:
    """Write three lines for each gap: its id with its flows, its title, and where it applies."""
    lines = []
    for gap in gaps:
        lines.append(f"{gap.id}  ({', '.join(gap.flows)}){origin(gap)}")
        lines += textwrap.wrap(gap.title, WIDTH, initial_indent="  ", subsequent_indent="  ")
        lines += textwrap.wrap(
            f"{describe_conditions(gap.when)}; {describe_confidence(gap)}",
            WIDTH,
            initial_indent="  ",
            subsequent_indent="    ",
            break_on_hyphens=False,
        )
    return lines


def origin(gap: Gap) -> str:
    """Say where a gap is from, unless it is one of ours."""
    if gap.overrides is not None:
        return f"  [{gap.file}, overrides the built-in one]"
    return "" if gap.path.parent == BUILTIN_FOLDER else f"  [{gap.file}]"


def explained(gap: Gap) -> list[str]:
    """Write all there is to know of a gap."""
    rows = [
        ("flows", ", ".join(gap.flows)),
        ("applies", describe_conditions(gap.when)),
        ("shows as", describe_failure(gap)),
        ("cause", gap.cause or ""),
        ("workaround", gap.workaround.text if gap.workaround is not None else "none is known"),
        ("with", " ".join(f"{key}={value}" for key, value in gap.workaround.env.items()) if gap.workaround else ""),
        ("fix", FIXES[gap.fix]),
        ("confidence", describe_confidence(gap)),
        ("needs", gap.needs or ""),
        ("review", f"on {gap.review}" if gap.review is not None else ""),
    ]
    indent = " " * LABEL_WIDTH
    lines = [gap.id, *textwrap.wrap(gap.title, WIDTH), ""]
    for name, text in rows:
        if text:
            lines += textwrap.wrap(
                " ".join(text.split()),
                WIDTH,
                initial_indent=f"{name:<{LABEL_WIDTH}}",
                subsequent_indent=indent,
                break_on_hyphens=False,
                break_long_words=False,
            )
    lines += [f"{'links' if number == 0 else '':<{LABEL_WIDTH}}{link}" for number, link in enumerate(gap.links)]
    lines.append(f"{'recorded in':<{LABEL_WIDTH}}{gap.place}")
    if gap.overrides is not None:
        lines.append(f"{'overrides':<{LABEL_WIDTH}}{gap.overrides}")
    return lines


def describe_conditions(when: Conditions) -> str:
    """Write the conditions in one line: ``ray <2.43, vllm >=0.8.5, executor ray-v1``."""
    said = []
    if when.decisive_lacks:
        releases = f" (of the releases, {when.ray})" if when.ray is not None else ""
        said.append(f"a Ray that lacks {' or '.join(when.decisive_lacks)}{releases}")
    elif when.ray is not None:
        said.append(f"ray {when.ray}")
    for name in ("vllm", "torch", "python", "device", "executor"):
        value = getattr(when, name)
        if value is not None:
            said.append(f"{name} {value}")
    said += [f"{name} {value}" for name, value in when.parameters.items()]
    if when.nodes is not None:
        said.append(f"{when.nodes} nodes or more")
    if when.head_gpus is not None:
        said.append(f"a head with {plural(when.head_gpus, 'GPU')}")
    return ", ".join(said)


def describe_failure(gap: Gap) -> str:
    """Say how a gap shows."""
    said = gap.outcome + (f" in phase {gap.phase}" if gap.phase else "")
    if gap.raises or gap.message:
        said += ": " + ": ".join(filter(None, (gap.raises, gap.message)))
    return said + (" (intermittent: it may pass too)" if gap.intermittent else "")


def describe_confidence(gap: Gap) -> str:
    """Say what a gap rests on."""
    if gap.verified:
        pairs = ", ".join(f"Ray {pair.ray} with vLLM {pair.vllm}" for pair in gap.verified)
        return f"shown by a run on {pairs}"
    known = f", {CONFIDENCE[gap.confidence]}" if gap.confidence is not None else ""
    return f"not shown by any run{known}"
