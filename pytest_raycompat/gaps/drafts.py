"""Draft gap files for the failures of a report that no gap explains; to be completed and reviewed by hand."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import get_args

from packaging.version import Version

from pytest_raycompat.gaps.schema import Executor
from pytest_raycompat.judgement import BY_OUTCOME
from pytest_raycompat.records import Environment
from pytest_raycompat.report.document import Report, TestRecord

EXECUTORS = get_args(Executor)
MOST_CHARACTERS = 160
_VARIABLE = re.compile(
    r"(?P<id>\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b|\b0x[0-9a-fA-F]+\b"
    r"|\b(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{8,}\b)"
    r"|(?P<path>(?<![\w/])/(?:[\w.+@-]+/)+[\w.+@-]*)"
    r"|(?P<number>\d+)"
)
"""What differs from run to run in one message: ids, paths and numbers."""


def drafts(reports: Iterable[Report]) -> list[tuple[str, str]]:
    """Draft a gap file for each failure that no gap explains: its name and its text.

    The same failure comes once, with every environment of ``reports`` in which it was seen.
    """
    found: dict[tuple[str, str | None], list[Environment]] = {}
    first: dict[tuple[str, str | None], TestRecord] = {}
    for report in reports:
        for record in report.results:
            if is_unexplained(record):
                key = (draft_failure(record), executor_of(record))
                first.setdefault(key, record)
                seen = found.setdefault(key, [])
                seen += [report.environment] if report.environment not in seen else []
    names: list[str] = []
    written = []
    for (failure, executor), seen in found.items():
        names.append(free_name(first[failure, executor], names))
        text = draft_text(names[-1], failure, conditions(seen, executor), verified_line(seen))
        written.append((f"{names[-1]}.toml", text))
    return written


def is_unexplained(record: TestRecord) -> bool:
    """Whether a flow failed and no gap is about it; with ``--raycompat-gaps-mode=only`` a known failure is one too."""
    failed = record.verdict in BY_OUTCOME.values() and record.outcome not in (None, "ok")
    return failed and record.flow is not None and record.gap is None


def draft_failure(record: TestRecord) -> str:
    """Write what a failure is: two with the same text are one gap."""
    cause = record.exception
    lines = [
        f"title = {toml_string(f'{record.flow} fails in phase {record.phase}')}  # say what does not work, in one line",
        f"flows = [{toml_string(record.flow or '')}]",
        f"phase = {toml_string(record.phase or '')}",
        f"outcome = {toml_string(record.outcome or '')}",
    ]
    if cause is not None:
        lines.append(f"raises = {toml_string(cause.type)}")
        if cause.message.strip():
            lines.append(f"message = {toml_string(generalised(cause.message))}")
    return "\n".join(lines)


def draft_text(name: str, failure: str, conditions: Iterable[str], verified: Iterable[str]) -> str:
    """Write a draft."""
    lines = [
        f"id = {toml_string(name)}",
        failure,
        '# cause = ""  # why, once you know',
        'fix = "never"  # who will change it: ray, vllm or never',
        "links = []  # at least one place that documents it, such as https://github.com/ray-project/ray/issues/1",
        *verified,
        "",
        "[when]",
        *conditions,
        "",
        "# [workaround]",
        '# text = ""  # what a user can do, if there is anything',
    ]
    return "\n".join(lines) + "\n"


def executor_of(record: TestRecord) -> str | None:
    """Return the executor of a flow that failed, if it is one that a condition can name."""
    executor = record.parameters.get("executor")
    return executor if executor in EXECUTORS else None


def conditions(seen: Sequence[Environment], executor: str | None) -> list[str]:
    """Write the narrowest conditions that cover the pairs; a reviewer widens them to what is known."""
    lines = []
    for package in ("ray", "vllm"):
        versions = [version for one in seen if (version := getattr(one, package)) is not None]
        if versions:
            lines.append(f"{package} = {toml_string(covering(versions))}  # widen it to what you know")
    if executor is not None:
        lines.append(f"executor = {toml_string(executor)}")
    return lines


def covering(versions: Iterable[str]) -> str:
    """Write the specifier from the oldest of ``versions`` to the newest."""
    found = sorted(map(Version, versions))
    first, last = found[0], found[-1]
    return f"=={first}" if first == last else f">={first.public},<={last.public}"


def verified_line(seen: Iterable[Environment]) -> list[str]:
    """Write the pairs on which it was seen, where both of one are known."""
    pairs = dict.fromkeys((one.ray, one.vllm) for one in seen if one.ray is not None and one.vllm is not None)
    said = [f"{{ ray = {toml_string(ray)}, vllm = {toml_string(vllm)} }}" for ray, vllm in pairs]
    return [f"verified = [{', '.join(said)}]"] if said else []


def free_name(record: TestRecord, taken: Iterable[str]) -> str:
    """Make an id from the flow, the phase and the exception, with a number where it is taken."""
    kind = record.exception.type.rpartition(".")[2] if record.exception is not None else record.outcome
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", f"{record.flow}-{record.phase}-{kind}")
    name = re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")
    count = sum(one == name or re.fullmatch(rf"{re.escape(name)}-\d+", one) is not None for one in taken)
    return f"{name}-{count + 1}" if count else name


def generalised(message: str) -> str:
    """Turn the first line of a message into a regular expression that another run matches too."""
    line = next(line for line in message.splitlines() if line.strip()).strip()
    if len(line) > MOST_CHARACTERS:
        line = line[:MOST_CHARACTERS].rpartition(" ")[0] or line[:MOST_CHARACTERS]
    pattern, end = [], 0
    for found in _VARIABLE.finditer(line):
        pattern.append(escaped(line[end : found.start()]))
        pattern.append({"id": r"[0-9a-fx-]+", "path": r"\S+", "number": r"\d+"}[found.lastgroup or ""])
        end = found.end()
    return "".join([*pattern, escaped(line[end:])])


def escaped(text: str) -> str:
    """Escape what a regular expression reads as its own, and no more than that."""
    return re.sub(r"([\\.^$*+?{}\[\]|()])", r"\\\1", text)


def toml_string(text: str) -> str:
    """Write a TOML string: literal where it can be, which keeps regular expressions readable."""
    if text.isprintable() and "'" not in text and "\\" in text:
        return f"'{text}'"
    marks = {'"': r"\"", "\\": r"\\", "\n": r"\n", "\t": r"\t"}
    return '"' + "".join(marks.get(one) or (one if one.isprintable() else f"\\U{ord(one):08X}") for one in text) + '"'
