"""Draft gap files for the failures of a report that no gap explains; to be completed and reviewed by hand."""

from __future__ import annotations

import re
from collections.abc import Iterable

from packaging.version import Version

from pytest_raycompat.judgement import BY_OUTCOME
from pytest_raycompat.records import Environment
from pytest_raycompat.report.document import Report, TestRecord

EXECUTORS = ("ray-v1", "ray-v2", "mp", "uni")
MOST_CHARACTERS = 160
_VARIABLE = re.compile(
    r"(?P<id>\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b|\b0x[0-9a-fA-F]+\b"
    r"|\b(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{8,}\b)"
    r"|(?P<path>(?<![\w/])/(?:[\w.+@-]+/)+[\w.+@-]*)"
    r"|(?P<number>\d+)"
)
"""What differs from run to run in one message: ids, paths and numbers."""


def drafts(report: Report) -> list[tuple[str, str]]:
    """Draft a gap file for each failure that no gap explains: its name and its text. The same failure comes once."""
    found: dict[str, tuple[str, str]] = {}
    names: set[str] = set()
    for record in report.results:
        if record.verdict not in BY_OUTCOME.values() or record.flow is None or record.outcome in (None, "ok"):
            continue
        if record.gap is not None:  # with --raycompat-gaps-mode=only, a failure that is known
            continue
        body = draft_body(record, report)
        if body in found:
            continue
        name = free_name(record, names)
        names.add(name)
        found[body] = (f"{name}.toml", f"id = {toml_string(name)}\n{body}")
    return list(found.values())


def draft_body(record: TestRecord, report: Report) -> str:
    """Write a draft without its id."""
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
    lines += [
        '# cause = ""  # why, once you know',
        'fix = "never"  # who will change it: ray, vllm or never',
        "links = []  # at least one place that documents it, such as https://github.com/ray-project/ray/issues/1",
        *verified_line(report.environment),
        "",
        "[when]",
        *condition_lines(record, report.environment),
        "",
        "# [workaround]",
        '# text = ""  # what a user can do, if there is anything',
    ]
    return "\n".join(lines) + "\n"


def condition_lines(record: TestRecord, environment: Environment) -> list[str]:
    """Write the narrowest conditions that cover the pair; a reviewer widens them to what is known."""
    lines = []
    for package in ("ray", "vllm"):
        version = getattr(environment, package)
        if version is not None:
            lines.append(f"{package} = {toml_string(f'=={Version(version)}')}  # widen it to what you know")
    if record.parameters.get("executor") in EXECUTORS:
        lines.append(f"executor = {toml_string(record.parameters['executor'])}")
    return lines


def verified_line(environment: Environment) -> list[str]:
    """Write the pair on which it was seen, if both of it are known."""
    if environment.ray is None or environment.vllm is None:
        return []
    return [f"verified = [{{ ray = {toml_string(environment.ray)}, vllm = {toml_string(environment.vllm)} }}]"]


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
