"""The documentation does what it says: its examples run, and its reference pages name all there is and nothing else."""

from __future__ import annotations

import inspect
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from pytest_raycompat import hookspecs, options, records
from pytest_raycompat.cli import main
from pytest_raycompat.flows import events, registry
from pytest_raycompat.gaps import BUILTIN_FOLDER, load_gap_file, load_gaps, schema
from pytest_raycompat.report import document, terminal

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "reference"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^(?P<before>[^\n]*)\n```(?P<language>\w+)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
MARK = re.compile(r"<!-- (?P<kind>test|file|gap-file): (?P<name>\S+)(?: outcome=(?P<outcome>.*?))?(?: args=(.*?))? -->")


@dataclass(frozen=True)
class Block:
    """A fenced block, and what the comment on the line before it says."""

    page: Path
    language: str
    body: str
    kind: str | None = None
    name: str = ""
    outcome: Mapping[str, int] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.name or self.body.splitlines()[0]}"


@dataclass(frozen=True)
class Example:
    """A test file, and the files beside it."""

    test: Block
    files: tuple[Block, ...]


def blocks_of(page: Path) -> Iterator[Block]:
    for fence in FENCE.finditer(page.read_text()):
        block = Block(page, fence["language"], fence["body"])
        mark = MARK.fullmatch(fence["before"])
        if mark is None:
            yield block
            continue
        outcome = {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", mark["outcome"] or "")}
        arguments = tuple(shlex.split(mark[4])) if mark[4] else ("--ray-cluster=off",)
        yield Block(page, block.language, block.body, mark["kind"], mark["name"], outcome, arguments)


def examples_of(page: Path) -> Iterator[Example]:
    files: list[Block] = []
    for block in blocks_of(page):
        if block.kind == "file":
            files.append(block)
        elif block.kind == "test":
            yield Example(block, tuple(files))
            files.clear()
    assert not files, f"{files[0]} comes with no test"


BLOCKS = [block for page in PAGES for block in blocks_of(page)]
EXAMPLES = [example for page in PAGES for example in examples_of(page)]
GAP_FILES = [block for block in BLOCKS if block.kind == "gap-file"]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: str(example.test))
def test_an_example_does_what_it_says(
    example: Example, pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult]
) -> None:
    for block in (*example.files, example.test):
        file = pytester.path / block.name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block.body)
    assert example.test.outcome, "it does not say its outcome"
    result = run_pytest(*example.test.arguments, example.test.name)
    assert result.parseoutcomes() == example.test.outcome


@pytest.mark.parametrize("block", GAP_FILES, ids=str)
def test_a_gap_file_can_be_loaded(block: Block, tmp_path: Path) -> None:
    file = tmp_path / block.name
    file.write_text(block.body)
    gap = load_gap_file(file)
    assert set(gap.flows) <= set(registry.FLOWS)
    assert {gap.phase} <= {phase for name in gap.flows for phase in registry.FLOWS[name].phases}
    builtin = {gap.id for gap in load_gaps([BUILTIN_FOLDER])}
    if gap.id not in builtin:
        assert load_gaps([BUILTIN_FOLDER, file])[-1] == gap


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_every_python_and_toml_block_is_tested(block: Block) -> None:
    assert block.kind is not None or block.language not in ("python", "py", "toml")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_option_that_is_mentioned_exists(page: Path) -> None:
    known = {option_of(name) for name in options.NAMES}
    assert set(re.findall(r"--ray(?:compat)?-[\w-]+", page.read_text())) <= known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_page_that_is_linked_exists(page: Path) -> None:
    links = re.findall(r"\]\((?!https://)([^)#]+)[^)]*\)", page.read_text())
    assert [link for link in links if not (page.parent / link).is_file()] == []


def test_the_readme_names_the_default_versions() -> None:
    text = (ROOT / "README.md").read_text()
    defaults = re.findall(r'^(RAY|VLLM) = "(.*)"$', (ROOT / "toxfile.py").read_text(), re.MULTILINE)
    assert len(defaults) == 2
    for name, version in defaults:
        assert f"{ {'RAY': 'Ray', 'VLLM': 'vLLM'}[name] } {version}" in " ".join(text.split())


def option_of(name: str) -> str:
    return "--" + name.replace("_", "-")


def rows_of(page: str, heading: str | None = None) -> list[list[str]]:
    """Return the rows of the first table under ``heading``, or of the page."""
    text = (REFERENCE / page).read_text()
    if heading is not None:
        assert f"\n## {heading}\n" in text, f"{page} has no heading {heading!r}"
        text = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    table = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert table is not None
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table[0].splitlines()]
    assert {len(line) for line in lines} == {len(lines[0])}, "the table is ragged"
    return lines[2:]


def code_in(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def headings_of(page: str) -> list[str]:
    return re.findall(r"^## `(.*)`$", (REFERENCE / page).read_text(), re.MULTILINE)


def test_options() -> None:
    rows = rows_of("options.md")
    assert sorted(code_in(row[1])[0] for row in rows) == sorted(options.NAMES)
    for row in rows:
        assert code_in(row[0])[0].partition("=")[0] == option_of(code_in(row[1])[0])


def test_markers(run_pytest: Callable[..., pytest.RunResult]) -> None:
    with_ours, others = run_pytest("--markers").outlines, run_pytest("--markers", "-p", "no:raycompat").outlines
    ours = [line for line in with_ours if line not in others]
    assert ours
    written = [f"@pytest.mark.{heading}: " for heading in headings_of("markers.md")]
    assert written == [line.partition(": ")[0] + ": " for line in ours]


def test_fixtures(run_pytest: Callable[..., pytest.RunResult]) -> None:
    listed = run_pytest("--fixtures", "--color=no").stdout.str()
    found = re.findall(r"^(\w+)(?: \[(\w+) scope\])? -- .*pytest_raycompat/fixtures\.py:\d+$", listed, re.MULTILINE)
    text = (REFERENCE / "fixtures.md").read_text()
    written = re.findall(r"^## `(\w+)`\n\nScope: (\w+)\.", text, re.MULTILINE)
    assert sorted(written) == sorted((name, scope or "function") for name, scope in found)
    assert len(written) == len(headings_of("fixtures.md"))


def test_attributes_of_a_flow_result() -> None:
    text = (REFERENCE / "fixtures.md").read_text()
    table = re.search(r"The result has\n\n((?:\|.*\n)+)", text)
    assert table is not None
    named = [code_in(line)[0].removeprefix(".") for line in table[1].splitlines()[2:]]
    assert named == list(records.FlowResult.__struct_fields__)


def test_hooks() -> None:
    hooks = [value for name, value in vars(hookspecs).items() if name.startswith("pytest_raycompat_")]
    assert headings_of("hooks.md") == [
        f"{hook.__name__}({', '.join(inspect.signature(hook).parameters)})" for hook in hooks
    ]


def test_verdicts() -> None:
    rows = {code_in(row[0])[0]: row for row in rows_of("verdicts.md")}
    assert list(rows) == list(get_args(records.Verdict))
    for verdict in get_args(records.Verdict):
        assert rows[verdict][2] == terminal.color_of(verdict)
        assert rows[verdict][3] == ("fails the run" if verdict in records.RED else "no effect")
    order = re.search(r"shows the first of (.*?)\. `seconds`", (REFERENCE / "verdicts.md").read_text(), re.DOTALL)
    assert order is not None
    assert code_in(order[1]) == list(terminal.ORDER)


REPORT: Mapping[str, type[msgspec.Struct]] = {
    "The report": document.Report,
    "`environment`": records.Environment,
    "`device`": document.DeviceRecord,
    "`machine`": document.MachineRecord,
    "`cluster`": document.ClusterRecord,
    "`baseline`": document.BaselineRecord,
    "`results[]`": document.TestRecord,
    "`measurements`": records.Measurement,
    "`attempts[]`": document.AttemptRecord,
    "`gaps[]`": document.GapRecord,
    "`workarounds`": document.WorkaroundRecord,
    "`exception`": records.ExceptionRecord,
    "`control`": document.ControlRecord,
}


@pytest.mark.parametrize(("heading", "struct"), REPORT.items(), ids=[struct.__name__ for struct in REPORT.values()])
def test_fields_of_the_report(heading: str, struct: type[msgspec.Struct]) -> None:
    assert [code_in(row[0])[0] for row in rows_of("report.md", heading)] == list(struct.__struct_fields__)


def test_every_part_of_the_report_is_described() -> None:
    assert structs_of(document) - {document.ReportSet} <= set(REPORT.values())
    row = dict((code_in(row[0])[0], row[1]) for row in rows_of("report.md", "The report"))["schema_version"]
    assert row == str(document.SCHEMA_VERSION)


GAP: Mapping[str, type[msgspec.Struct]] = {
    "Keys": schema.GapKeys,
    "`when`": schema.Conditions,
    "`workaround`": schema.Workaround,
    "`verified`": schema.Pair,
}


@pytest.mark.parametrize(("heading", "struct"), GAP.items(), ids=[struct.__name__ for struct in GAP.values()])
def test_keys_of_a_gap_file(heading: str, struct: type[msgspec.Struct]) -> None:
    assert [code_in(row[0])[0] for row in rows_of("gap-file.md", heading)] == list(struct.__struct_fields__)


def test_every_part_of_a_gap_file_is_described() -> None:
    assert structs_of(schema) - {schema.Gap} == set(GAP.values())
    required = {one.encode_name for one in msgspec.structs.fields(schema.GapKeys) if one.required}
    assert {code_in(row[0])[0] for row in rows_of("gap-file.md", "Keys") if row[1] == "yes"} == required


def structs_of(module: object) -> set[type[msgspec.Struct]]:
    """Find the structs that a module defines itself, not those that it imports."""
    found = {one for one in vars(module).values() if isinstance(one, type) and issubclass(one, msgspec.Struct)}
    return {one for one in found if one.__module__ == getattr(module, "__name__", "")}


def commands_of(*words: str) -> list[str]:
    """Read the subcommands of ``raycompat`` from its help."""
    command = [sys.executable, "-m", "pytest_raycompat.cli", *words, "--help"]
    helped = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    return re.findall(r"^    (\w+) ", helped.partition("positional arguments:")[2].partition("\n\n")[0], re.MULTILINE)


def test_the_example_of_gaps_list(capsys: pytest.CaptureFixture[str]) -> None:
    (body,) = (
        block.body for block in blocks_of(REFERENCE / "cli.md") if block.body.startswith("$ raycompat gaps list")
    )
    command, _, shown = body.partition("\n")
    assert main(shlex.split(command)[2:]) == 0
    assert capsys.readouterr().out == shown


def test_commands() -> None:
    named = [code_in(row[0])[0].split()[1:3] for row in rows_of("cli.md")]
    assert list(dict.fromkeys(words[0] for words in named)) == commands_of()
    assert [words[1] for words in named if words[0] == "gaps"] == commands_of("gaps")


def test_events() -> None:
    rows = rows_of("flows.md", "Event protocol")
    kinds = {str(one.__struct_config__.tag): one for one in events.Event.__subclasses__()}
    assert [code_in(row[0])[0] for row in rows] == list(kinds)
    for row, struct in zip(rows, kinds.values(), strict=True):
        assert set(code_in(row[1])) == set(struct.__struct_fields__) - {"at"}


def test_flows() -> None:
    rows = {code_in(row[0])[0]: row for row in rows_of("flows.md")}
    assert {name: tuple(code_in(row[2])) for name, row in rows.items()} == {
        name: flow.phases for name, flow in registry.FLOWS.items()
    }


@pytest.mark.parametrize("flow", registry.FLOWS.values(), ids=lambda flow: flow.name)
def test_options_of_a_flow(flow: registry.Flow) -> None:
    helped = subprocess.run(
        [sys.executable, "-m", flow.module, "--help"], capture_output=True, text=True, timeout=60, check=True
    )
    found = set(re.findall(r"^  (--[\w-]+)", helped.stdout, re.MULTILINE))
    assert {code_in(row[0])[0] for row in rows_of("flows.md", f"Options of `{flow.name}`")} == found
