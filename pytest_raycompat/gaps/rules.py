"""What must hold for a gap beyond the types of its keys: rules on one gap, and on two together."""

from __future__ import annotations

import builtins
import functools
import re
import warnings
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

from pytest_raycompat.flows.registry import FLOWS, MODULE
from pytest_raycompat.gaps.reading import KeyPath
from pytest_raycompat.gaps.schema import CALL, EXECUTOR_NEEDS, Conditions, Gap, GapKeys
from pytest_raycompat.versions import can_hold, is_version, parse_specifier, satisfies

PACKAGES = ("ray", "vllm", "torch", "python")
EVERY_FLOW_HAS = ("launch", "proof", CALL)
"""Phases beside those of a flow: the runner adds two, and a test may find wrong what the flow gave."""

_KEBAB_CASE = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
# Ray names the classes that it derives at run time RayTaskError(ValueError)
_QUALIFIED_NAME = re.compile(r"[^\W\d]\w*(\.([^\W\d]\w*|<locals>))*(\(\w+\))?")
_CAPABILITY = re.compile(r"ray(\.[^\W\d]\w*)+(\([^\W\d]\w*\))?")
_UNRELATED_MESSAGE = "zq 7: (x) y"
"""Has nothing of any real message, so only a pattern without words of its own (``.+``, ``\\w``) matches it."""
# what follows OWNER/REPOSITORY/ in the addresses that GitHub answers
_GITHUB = re.compile(
    r"/[\w.-]+/[\w.-]+(/?|/(issues|pull|discussions)/\d+(/.*)?|/commit/[0-9a-f]{7,40}|/(blob|tree)/[^/]+/.+"
    r"|/releases(/tag/.+)?|/security/advisories/GHSA-[\w-]+|/wiki(/.+)?|/compare/.+|/actions/runs/\d+(/.*)?)"
)

Problem = tuple[KeyPath, str]


def problems(keys: GapKeys, stem: str) -> Iterator[Problem]:
    """Find what is wrong with a gap that the types do not say: where, and what.

    Args:
        keys: the gap.
        stem: the name of its file, without ``.toml``.
    """
    yield from _name_problems(keys, stem)
    yield from _flow_problems(keys)
    yield from _condition_problems(keys)
    if keys.raises is None and keys.outcome == "error":
        yield ("outcome",), "an 'error' needs the key 'raises', the exception that it shows as"
    if keys.raises is not None:
        yield from _raises_problems(keys.raises)
    if keys.message is not None:
        yield from _message_problems(keys.message)
    yield from _workaround_problems(keys)
    if not keys.links:
        yield ("links",), "empty; name at least one place that documents the gap"
    for position, link in enumerate(keys.links):
        advice = _link_advice(link)
        if advice is not None:
            yield ("links", position), advice
    yield from _verified_problems(keys)


def first_rival(gap: Gap, others: Iterable[Gap]) -> Gap | None:
    """Find a gap among ``others`` that claims the same failure as ``gap``: in one run both would match it."""
    for other in others:
        if (
            (gap.outcome, gap.raises, gap.message) == (other.outcome, other.raises, other.message)
            and (gap.phase == other.phase or None in (gap.phase, other.phase))
            and not set(gap.flows).isdisjoint(other.flows)
            and _meet(gap.when, other.when)
        ):
            return other
    return None


def _meet(one: Conditions, other: Conditions) -> bool:
    """Whether there can be a run for which both hold; what one of them lacks may be lacking for both."""
    for key in ("device", "executor", "head_gpus"):
        values = {getattr(one, key), getattr(other, key)} - {None}
        if len(values) > 1:
            return False
    if any(other.parameters.get(name, value) != value for name, value in one.parameters.items()):
        return False
    pairs = (
        (one.decisive_ray, other.decisive_ray),
        (one.vllm, other.vllm),
        (one.torch, other.torch),
        (one.python, other.python),
    )
    return all(first is None or second is None or can_hold(first, second) for first, second in pairs)


def _name_problems(keys: GapKeys, stem: str) -> Iterator[Problem]:
    if not _KEBAB_CASE.fullmatch(keys.id):
        yield ("id",), f"{keys.id!r} is not kebab-case, such as 'cgraph-version-guard'"
    if keys.id != stem:
        yield ("id",), f"{keys.id!r} differs from the name of the file, {stem!r}"
    if not keys.title.strip() or "\n" in keys.title:
        yield ("title",), f"{keys.title!r} is not one line that says what does not work"


def _flow_problems(keys: GapKeys) -> Iterator[Problem]:
    if not keys.flows:
        yield ("flows",), "empty; name at least one flow"
    if keys.phase == CALL and not keys.intermittent:
        yield ("phase",), f"{CALL!r} is what a test finds wrong, and others pass; write intermittent = true"
    for position, name in enumerate(keys.flows):
        if name in FLOWS:
            phases = (*FLOWS[name].phases, *EVERY_FLOW_HAS)
            if keys.phase is not None and keys.phase not in phases:
                yield ("phase",), f"{name} has no phase {keys.phase!r}; it has {', '.join(phases)}"
        elif not MODULE.fullmatch(name):
            yield (
                ("flows", position),
                f"{name!r} is not a flow: write one of {', '.join(sorted(FLOWS))}, or a module (pkg.module)",
            )


def _condition_problems(keys: GapKeys) -> Iterator[Problem]:
    when = keys.when
    conditions = [name for name in Conditions.__struct_fields__ if name != "decides"]
    if all(getattr(when, name) in (None, (), {}) for name in conditions):
        yield ("when",), f"empty; give at least one of {', '.join(conditions)}"
    sound = {}
    for package in PACKAGES:
        specifier = getattr(when, package)
        if specifier is not None:
            advice = _specifier_advice(specifier)
            if advice is None:
                sound[package] = specifier
            else:
                yield ("when", package), advice
    needed = EXECUTOR_NEEDS.get(when.executor or "")
    if needed is not None and "vllm" in sound and not can_hold(sound["vllm"], needed):
        yield (
            ("when", "executor"),
            f"{when.executor!r} is in vLLM {needed} only, and `vllm` says {sound['vllm']!r}: nothing meets both",
        )
    if when.nodes is not None and when.nodes < 1:
        yield ("when", "nodes"), f"{when.nodes} is not a number of nodes from 1"
    elif when.nodes is not None and when.executor in ("mp", "uni"):
        yield ("when", "nodes"), f"executor {when.executor!r} does not run on Ray, so it has no nodes"
    if when.head_gpus is not None and when.head_gpus < 0:
        yield ("when", "head_gpus"), f"{when.head_gpus} is not a number of GPUs"
    if "executor" in when.parameters:
        yield ("when", "parameters", "executor"), "write `executor` as a condition of its own"
    for position, name in enumerate(when.lacks):
        if not _CAPABILITY.fullmatch(name):
            yield (
                ("when", "lacks", position),
                f"{name!r} is not a name in Ray, such as 'ray.data.llm' or 'ray.dag.DAGNode.experimental_compile(arg)'",
            )
    if when.decides is not None and not (when.lacks and when.ray):
        yield ("when", "decides"), "there is nothing to decide between: give both `ray` and `lacks`, or remove it"


@functools.lru_cache  # gaps share specifiers, and loading them all may cost a run 30 ms
def _specifier_advice(specifier: str) -> str | None:
    try:
        parsed = parse_specifier(specifier)
    except ValueError as error:
        return str(error)
    return None if can_hold(parsed) else f"{specifier!r} contradicts itself: no version satisfies it"


def _verified_problems(keys: GapKeys) -> Iterator[Problem]:
    recorded = (("ray", keys.when.decisive_ray), ("vllm", keys.when.vllm))
    for position, pair in enumerate(keys.verified):
        for package, specifier in recorded:
            version = getattr(pair, package)
            where = ("verified", position, package)
            if not is_version(version):
                yield where, f"{version!r} is not a PEP 440 version, such as '2.35.0'"
            elif specifier and _specifier_advice(specifier) is None and not satisfies(version, specifier):
                yield where, f"{version!r} was shown to have the gap, but `when.{package}` ({specifier}) leaves it out"
    if keys.verified and keys.confidence is not None:
        yield ("confidence",), "a gap with `verified` pairs has been shown by a run; remove this key"


def _workaround_problems(keys: GapKeys) -> Iterator[Problem]:
    for name in keys.workaround.env if keys.workaround is not None else ():
        if not re.fullmatch(r"[^\W\d]\w*", name):
            yield ("workaround", "env", name), f"{name!r} is not the name of an environment variable"


def _raises_problems(name: str) -> Iterator[Problem]:
    if not _QUALIFIED_NAME.fullmatch(name):
        yield ("raises",), f"{name!r} is not the name of an exception, such as 'ray.exceptions.RayTaskError'"
    elif name.startswith("builtins."):
        yield ("raises",), f"write builtins without their module: {name.removeprefix('builtins.')!r}"
    elif "." not in name and not _is_builtin_exception(name):
        yield ("raises",), f"{name!r} is not a builtin exception; write its qualified name, with the module"


def _is_builtin_exception(name: str) -> bool:
    value = getattr(builtins, name, None)
    return isinstance(value, type) and issubclass(value, BaseException)


def _message_problems(pattern: str) -> Iterator[Problem]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # "possible nested set": it will mean something else one day
            expression = re.compile(pattern)
    except (re.error, OverflowError, RecursionError, Warning) as error:
        yield ("message",), f"{pattern!r} is not a regular expression: {error}"
        return
    if expression.search("") or expression.search(_UNRELATED_MESSAGE):
        yield ("message",), f"{pattern!r} matches unrelated messages too; quote a part of the message that is its own"


def _link_advice(link: str) -> str | None:
    if not link.startswith("https://"):
        return f"{link!r} does not start with https://"
    try:
        parts = urlsplit(link)
    except ValueError as error:
        return f"{link!r} is not an address: {error}"
    if re.search(r"\s", link) or "." not in (parts.hostname or ""):
        return f"{link!r} is not an address that a browser can open"
    if parts.hostname == "github.com" and not _GITHUB.fullmatch(parts.path):
        return f"{link!r} is not a page of GitHub; write https://github.com/OWNER/REPOSITORY/issues/N or …/pull/N"
    return None
