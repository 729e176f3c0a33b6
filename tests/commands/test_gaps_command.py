"""``raycompat gaps``."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import msgspec
import pytest

import pytest_raycompat
from pytest_raycompat.cli import main
from pytest_raycompat.gaps import BUILTIN_FOLDER, builtin_gaps, load_gap_file, mismatches
from pytest_raycompat.gaps.drafts import generalised, toml_string
from pytest_raycompat.records import Environment, ExceptionRecord, Failure, Verdict
from pytest_raycompat.report.document import DeviceRecord, Report, ReportSet, read_reports, write_report
from pytest_raycompat.report.document import TestRecord as Record

OWN = """\
id = "{id}"
title = "Our own"
flows = ["serve", "corp.flow"]
raises = "ValueError"
message = "no fork of {id}"
fix = "never"
links = ["https://example.org/1"]
when.device = "cuda"
when.nodes = 2
"""


def listed_ids(text: str) -> list[str]:
    return [line.split()[0] for line in text.splitlines()[:-1] if not line.startswith(" ")]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], {"cgraph-overlap-kwarg-missing", "cgraph-version-guard", "cgraph-version-guard-served"}),
        (
            ["--ray", "2.35.0", "--vllm", "0.32.0"],
            {"cgraph-overlap-kwarg-missing", "cgraph-version-guard", "cgraph-version-guard-served"},
        ),
        (["--ray", "2.40.0"], {"cgraph-version-guard", "cgraph-version-guard-served"}),
        (["--ray", "2.35.0+corp.3", "--flow", "generate"], {"cgraph-version-guard"}),
        (["--vllm", "0.7.2"], {"cgraph-overlap-kwarg-missing"}),
        (["--executor", "ray-v2"], {"cgraph-overlap-kwarg-missing"}),
        (["--ray", "2.60.0"], set()),
    ],
    ids=" ".join,
)
def test_what_will_hit_me(options: list[str], expected: set[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gaps", "list", *options]) == 0
    out = capsys.readouterr().out
    ours = {gap.id for gap in builtin_gaps()}
    assert expected <= set(listed_ids(out)) <= ours
    named = {"cgraph-overlap-kwarg-missing", "cgraph-version-guard", "cgraph-version-guard-served"}
    assert set(listed_ids(out)) & named == expected
    assert out.splitlines()[-1] == f"{len(listed_ids(out))} of {len(ours)} gaps"
    assert max(map(len, out.splitlines())) <= 80


def test_a_list_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gaps", "list", "--flow", "generate", "--format", "json"]) == 0
    gaps = {gap["id"]: gap for gap in json.loads(capsys.readouterr().out)}
    gap = gaps["cgraph-version-guard"]
    assert gap["when"]["ray"] == "<2.43"
    assert gap["path"] == str(BUILTIN_FOLDER / "cgraph-version-guard.toml")
    assert (gap["line"], gap["overrides"], gap["review"]) == (1, None, None)


def test_gaps_of_ones_own_are_told_from_ours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("our-gap", "cgraph-version-guard"):
        (tmp_path / f"{name}.toml").write_text(OWN.format(id=name))
    assert main(["gaps", "list", f"--raycompat-gaps={tmp_path}", "--flow", "corp.flow"]) == 0
    out = capsys.readouterr().out
    own = tmp_path / "cgraph-version-guard.toml"
    assert f"cgraph-version-guard  (serve, corp.flow)  [{own}, overrides the built-in one]" in out.splitlines()
    assert f"our-gap  (serve, corp.flow)  [{tmp_path / 'our-gap.toml'}]" in out.splitlines()
    assert "  device cuda, 2 nodes or more; not shown by any run" in out.splitlines()
    assert main(["gaps", "list", f"--raycompat-gaps={tmp_path}", "--flow", "corp.flow", "--device", "cpu"]) == 0
    assert listed_ids(capsys.readouterr().out) == []
    assert main(["gaps", "explain", "cgraph-version-guard", f"--raycompat-gaps={tmp_path}"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"overrides    pytest_raycompat/gaps/data/{own.name}"


def test_a_gap_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "our-gap.toml"
    path.write_text(
        """\
id = "our-gap"
title = "The fork has no placement groups"
flows = ["generate"]
phase = "start"
raises = "LookupError"
message = 'no placement group \\d+'
intermittent = true
cause = "They were taken out in the fork's second year, when nobody was known to use them, and came back in its third."
fix = "ray"
links = ["https://example.org/1", "https://example.org/2"]
confidence = "read"
needs = "a GPU"
review = 2030-01-31

[when]
ray = "<2.43"
lacks = ["ray.util.placement_group"]
vllm = ">=0.8.5"

[workaround]
text = "Switch it on."

[workaround.env]
CORP_GROUPS = "1"
"""
    )
    assert main(["gaps", "explain", "our-gap", f"--raycompat-gaps={path}"]) == 0
    assert capsys.readouterr().out == (
        """\
our-gap
The fork has no placement groups

flows        generate
applies      a Ray that lacks ray.util.placement_group (of the releases,
             <2.43), vllm >=0.8.5
shows as     error in phase start: LookupError: no placement group \\d+
             (intermittent: it may pass too)
cause        They were taken out in the fork's second year, when nobody was
             known to use them, and came back in its third.
workaround   Switch it on.
with         CORP_GROUPS=1
fix          by Ray
confidence   not shown by any run, read in the source of released wheels
needs        a GPU
review       on 2030-01-31
links        https://example.org/1
             https://example.org/2
"""
        f"recorded in  {path}:1\n"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["list", "--ray", "new"], "--ray: 'new' is not a version, such as 2.35.0"),
        (["list", "--vllm", ">=0.8"], "--vllm: '>=0.8' is not a version, such as 2.35.0"),
        (["list", "--flow", "generat"], "--flow: 'generat' is not a flow: write one of "),
        (["list", "--raycompat-gaps=no/such"], "no/such: there is no such file or folder"),
        (["explain", "cgraph-versoin-guard"], "'cgraph-versoin-guard' is not a gap: did you mean cgraph-version-guard"),
        (["explain", "xyz"], "'xyz' is not a gap: there are "),
        (["lint", "no/such"], "no/such: there is no such file or folder"),
        (["format", "no/such"], "no/such: there is no such file or folder"),
        (["propose", "no/such"], "no/such: No such file or directory"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gaps", *words]) == 4
    assert capsys.readouterr().err.startswith(f"raycompat: {message}")


@pytest.mark.parametrize("words", [["gaps"], ["gaps", "list", "--device", "gpu"], ["gaps", "list", "--", "--x"]])
def test_a_bad_command_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(words)
    assert raised.value.code == 4
    assert capsys.readouterr().err.startswith("usage: raycompat")


def test_lint_says_what_is_wrong_and_what_is_due(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "our-gap.toml"
    path.write_text(OWN.format(id="our-gap"))
    assert main(["gaps", "lint", str(tmp_path)]) == 0
    assert capsys.readouterr() == ("", "0 problems in 1 file\n")
    path.write_text("review = 2020-01-31\n" + OWN.format(id="our-gap"))
    assert main(["gaps", "lint", str(path)]) == 1
    assert capsys.readouterr().out == (
        f"{path}:1: review: its day, 2020-01-31, has come: "
        "see whether the gap still holds, and give it another day (due)\n"
    )
    path.write_text(OWN.format(id="our-gap").replace("when.nodes = 2", "when.nodes = 0").replace("fix", "fixed"))
    assert main(["gaps", "lint", str(path)]) == 4
    assert capsys.readouterr().out.startswith(f"{path}:6: unknown key 'fixed'; the keys are ")


def test_our_own_gaps_are_checked_where_none_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gaps", "lint"]) == 0
    assert main(["gaps", "format", "--check"]) == 0
    assert capsys.readouterr().err == f"0 problems in {len(builtin_gaps())} files\n"


def test_files_are_put_in_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "our-gap.toml"
    text = 'title = "Our own"\n' + OWN.format(id="our-gap").replace('title = "Our own"\n', "")
    path.write_text(text)
    path.chmod(0o640)
    assert main(["gaps", "format", "--check", str(tmp_path)]) == 1
    assert capsys.readouterr().out == f"{path}: not in order\n"
    assert path.read_text() == text
    assert main(["gaps", "format", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{path}: put in order\n"
    assert tomllib.loads(path.read_text()) == tomllib.loads(text)
    assert path.read_text().startswith('id = "our-gap"\ntitle = "Our own"\n')
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [entry.name for entry in tmp_path.iterdir()] == ["our-gap.toml"]
    assert main(["gaps", "format", "--check", str(tmp_path)]) == 0


CAUSE = ExceptionRecord(
    type="vllm.v1.engine.exceptions.EngineGenerateError",
    message="worker 3 of 8 at /tmp/ray/session_2026/x.sock (0x7f3a) said 'no' for "
    "0123abcd-0000-4000-8000-0123456789ab\nmore",
)


def record(id: str, verdict: Verdict = "failed", **fields: object) -> Record:
    values = {
        "flow": "generate",
        "parameters": {"executor": "ray-v1", "tensor_parallel_size": 2},
        "outcome": "error",
        "phase": "start",
        "exception": CAUSE,
    }
    return msgspec.convert({"id": id, "verdict": verdict, **msgspec.to_builtins({**values, **fields})}, Record)


def write(path: Path, *records: Record) -> Path:
    environment = Environment(
        executable="/usr/bin/python3", python="3.11.7", platform="Linux", ray="2.35.0+corp.3", vllm="0.32.0"
    )
    write_report(
        path,
        Report(
            project_version=pytest_raycompat.__version__,
            created="2026-11-22T12:00:00+00:00",
            finished=True,
            environment=environment,
            device=DeviceRecord(kind="cpu", count=0),
            results=records,
        ),
    )
    return path


def drafts_in(text: str) -> dict[str, str]:
    parts = re.split(r"^# (\S+\.toml): a draft\..*\n", text, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_a_failure_that_no_gap_explains_is_drafted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(
        tmp_path / "report.json",
        record("a"),
        record("the same again"),
        record("timeout", "timed-out", outcome="timeout", exception=None, phase="shutdown"),
        record("known", "known-gap", gap="x"),
        record("known, run as a normal test", gap="x"),
        record("passed", "passed", outcome="ok", phase="over", exception=None),
        record("no flow", flow=None),
    )
    assert main(["gaps", "propose", str(path)]) == 0
    captured = capsys.readouterr()
    assert captured.err == "2 failures that no gap explains\n"
    assert os.listdir(tmp_path) == ["report.json"]
    name = "generate-start-engine-generate-error.toml"
    drafts = drafts_in(captured.out)
    assert list(drafts) == [name, "generate-shutdown-timeout.toml"]
    document = tomllib.loads(drafts[name])
    assert document["when"] == {"ray": "==2.35.0+corp.3", "vllm": "==0.32.0", "executor": "ray-v1"}
    assert document["verified"] == [{"ray": "2.35.0+corp.3", "vllm": "0.32.0"}]

    draft = tmp_path / name
    draft.write_text(drafts[name])
    assert main(["gaps", "lint", str(draft)]) == 4  # it is to be completed first
    assert capsys.readouterr().out == f"{draft}:10: links: empty; name at least one place that documents the gap\n"
    draft.write_text(drafts[name].replace("links = []", 'links = ["https://example.org/1"]'))
    gap = load_gap_file(draft)
    assert mismatches(gap, Failure(outcome="error", phase="start", chain=(CAUSE,))) == ()
    other = msgspec.structs.replace(CAUSE, message=CAUSE.message.replace("3 of 8", "7 of 16").replace("/tmp", "/var"))
    assert mismatches(gap, Failure(outcome="error", phase="start", chain=(other,))) == ()


def test_a_failure_in_several_environments_is_one_draft(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    single = read_reports(write(tmp_path / "report.json", record("a"), record("b", parameters={"executor": "mp"})))[0]
    environments = [
        msgspec.structs.replace(single.environment, ray=ray, vllm=vllm)
        for ray, vllm in (("2.49.2", "0.32.0"), ("2.43.0", "0.31.0"), ("2.44.1", "0.31.0"))
    ]
    reports = [msgspec.structs.replace(single, environment=environment) for environment in environments]
    reports[0] = msgspec.structs.replace(reports[0], results=(record("a"), record("c", phase="inspect")))
    write_report(tmp_path / "merged.json", ReportSet(reports=tuple(reports)))
    assert main(["gaps", "propose", str(tmp_path / "merged.json")]) == 0
    everywhere, once, without_ray = (tomllib.loads(text) for text in drafts_in(capsys.readouterr().out).values())
    assert everywhere["when"] == {"ray": ">=2.43.0,<=2.49.2", "vllm": ">=0.31.0,<=0.32.0", "executor": "ray-v1"}
    assert everywhere["verified"] == [{"ray": one.ray, "vllm": one.vllm} for one in environments]
    assert (once["phase"], once["when"]["ray"]) == ("inspect", "==2.49.2")
    assert without_ray["when"] == {"ray": ">=2.43.0,<=2.44.1", "vllm": "==0.31.0", "executor": "mp"}


def test_drafts_of_one_kind_have_names_of_their_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = [
        record(str(number), exception=ExceptionRecord(type="ValueError", message=f"no {word}"))
        for number, word in enumerate(("one", "two", "three"))
    ]
    assert main(["gaps", "propose", str(write(tmp_path / "report.json", *records))]) == 0
    assert list(drafts_in(capsys.readouterr().out)) == [
        "generate-start-value-error.toml",
        "generate-start-value-error-2.toml",
        "generate-start-value-error-3.toml",
    ]


def test_where_all_is_explained_nothing_is_drafted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gaps", "propose", str(write(tmp_path / "report.json"))]) == 0
    assert capsys.readouterr() == ("", "0 failures that no gap explains\n")


@pytest.mark.parametrize(
    ("message", "pattern"),
    [
        ("Ray version 2.43.0 is required", r"Ray version \d+\.\d+\.\d+ is required"),
        ("f() got 'x' [y]", r"f\(\) got 'x' \[y\]"),
        ("at 0x7f3a, deadbeef01, facade", r"at [0-9a-fx-]+, [0-9a-fx-]+, facade"),
        ("in /tmp/ray/x.sock now", r"in \S+ now"),
        ("a/b", "a/b"),
        ("\n\n  first  \nsecond", "first"),
        ("word " * 100, ("word " * 32).strip()),
    ],
)
def test_a_message_is_generalised(message: str, pattern: str) -> None:
    assert generalised(message) == pattern


@pytest.mark.parametrize(
    "text", ["", "plain", "it's", r"\d+", r"it's \d+", 'say "x"', "tab\tnew\nline", "\x00\x7f\u2028é"]
)
def test_a_text_is_written_as_toml_reads_it(text: str) -> None:
    assert tomllib.loads(f"key = {toml_string(text)}") == {"key": text}


def test_a_reader_that_goes_away_is_no_error() -> None:
    finished = subprocess.run(
        f"{sys.executable} -m pytest_raycompat.cli gaps list --format json | head -c 1; echo ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert finished.stderr == ""
    assert finished.stdout in ("[0\n", "[1\n")


def test_listing_gaps_loads_nothing_of_a_cluster() -> None:
    program = (
        "import sys; from pytest_raycompat.cli import main; main(['gaps', 'list']); "
        "print(sorted(name for name in ('psutil', 'pynvml', 'pytest_raycompat.session', 'ray') if name in sys.modules))"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert finished.stdout.splitlines()[-1] == "[]"
