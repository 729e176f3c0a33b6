from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pytest_raycompat.records import Environment, ExceptionRecord
from pytest_raycompat.report.document import (
    SCHEMA_VERSION,
    AttemptRecord,
    BaselineRecord,
    ClusterRecord,
    ControlRecord,
    DeviceRecord,
    MachineRecord,
    Report,
    ReportError,
    ReportSet,
    read_report,
    read_reports,
    write_report,
)
from pytest_raycompat.report.document import (
    TestRecord as Record,
)

ROOT = ExceptionRecord(type="KeyError", message="'GPU'", process="EngineCore pid=71", traceback="  File …")
FULL = Report(
    project_version="0.1.0",
    created="2026-11-22T12:00:00+01:00",
    finished=True,
    environment=Environment(
        executable="/usr/bin/python3",
        python="3.11.7",
        platform="Linux",
        ray="2.35.0+corp.3",
        vllm="0.32.0",
        torch="2.7.1+cpu",
        vllm_build="cpu",
        executors=("ray-v2", "mp", "uni"),
        default_executor="ray-v2",
    ),
    device=DeviceRecord(kind="cuda", count=2, names=("NVIDIA L4", "NVIDIA L4"), driver="580.1"),
    machine=MachineRecord(cpu="AMD EPYC", cpus=8, memory_gb=31.2),
    baseline=BaselineRecord(path="main.json", created="2026-11-21T12:00:00+01:00", vanished=("a.py::test_c",)),
    cluster=ClusterRecord(description="local cluster", option="local:1x2", owned=True, notes=("no token",)),
    git_revision="0123abc",
    results=(
        Record(id="a.py::test_a", verdict="untested", reason="the run ended before it"),
        Record(
            id="a.py::test_b[ä]",
            verdict="gap-changed",
            reason="two\nlines",
            seconds=1.5,
            flow="generate",
            parameters={"executor": "ray-v2", "tensor_parallel_size": 2, "names": ["a"]},
            outcome="error",
            phase="start",
            exception=ROOT,
            chain=(ROOT, ExceptionRecord(type="RuntimeError", message="last")),
            gap="some-gap",
            evidence={"workers": [{"rank": 0, "actor_id": None}]},
            timings={"start": 1.25, "total": 1.5},
            control=ControlRecord(parameters={"executor": "mp"}, outcome="ok", timings={"total": 2.0}, logs=("b.log",)),
            reproduce="raycompat run generate",
            logs=("a.log",),
            log_excerpt="last line",
            file="a.py",
            line=7,
            attempts=(AttemptRecord(verdict="passed", seconds=1.0, outcome="ok", timings={"total": 1.0}),),
            flaky=True,
            samples=({"total": 1.5}, {"total": 1.6}),
            change="still-failing",
        ),
    ),
)


def test_a_report_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write_report(path, FULL)
    assert read_report(path) == FULL


def test_a_report_is_json_for_people_too(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write_report(path, FULL)
    text = path.read_text(encoding="utf-8")
    assert text.startswith('{\n  "schema_version": 1,\n')
    assert text.endswith("}\n")
    assert "a.py::test_b[ä]" in text
    assert json.loads(text)["results"][1]["control"]["parameters"] == {"executor": "mp"}


def test_what_the_report_holds_for_a_test_is_stable(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write_report(path, FULL)
    document = json.loads(path.read_text())
    assert list(document) == [
        "schema_version",
        "project_version",
        "created",
        "finished",
        "environment",
        "device",
        "machine",
        "cluster",
        "git_revision",
        "gaps_mode",
        "gaps",
        "baseline",
        "results",
    ]
    assert set(document["results"][1]) >= {
        "id",
        "flow",
        "parameters",
        "setting",
        "verdict",
        "outcome",
        "phase",
        "exception",
        "gap",
        "evidence",
        "timings",
        "control",
        "reproduce",
        "logs",
    }


def test_folders_on_the_way_are_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "report.json"
    write_report(path, FULL)
    assert read_report(path).finished is True


def test_a_report_replaces_the_one_before_and_can_be_read_by_all(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write_report(path, FULL)
    write_report(path, msgspec.structs.replace(FULL, finished=False))
    assert read_report(path).finished is False
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.json"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_report_that_cannot_be_put_into_json_leaves_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write_report(path, FULL)
    before = path.read_bytes()
    broken = msgspec.structs.replace(FULL, results=(Record(id="a", verdict="passed", evidence={"x": object()}),))
    with pytest.raises(TypeError, match="Encoding objects of type object is unsupported"):
        write_report(path, broken)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.json"]


def test_a_report_that_cannot_be_put_in_place_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: object, target: object) -> None:
        raise OSError("No space left on device")

    path = tmp_path / "report.json"
    write_report(path, FULL)
    before = path.read_bytes()
    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(OSError, match="No space left on device"):
        write_report(path, msgspec.structs.replace(FULL, finished=False))
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.json"]


def problem_of(path: Path, content: bytes | None) -> str:
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ReportError) as caught:
        read_report(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


def changed(**fields: Any) -> bytes:
    return json.dumps(json.loads(msgspec.json.encode(FULL)) | fields).encode()


@pytest.mark.parametrize("version", [SCHEMA_VERSION + 1, 0, "1", None])
def test_a_report_of_another_schema_is_refused(tmp_path: Path, version: Any) -> None:
    assert problem_of(tmp_path / "report.json", changed(schema_version=version, results="of another shape")) == (
        f"schema_version is {version!r}, this version of pytest-raycompat reads 1"
        + (": it was written by pytest-raycompat 0.1.0; update" if version == 2 else "")
    )


def test_json_that_does_not_say_its_schema_is_refused(tmp_path: Path) -> None:
    assert problem_of(tmp_path / "report.json", b"{}") == (
        "not a report of pytest-raycompat: it has no schema_version; one is written by --raycompat-report=PATH.json"
    )


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (changed(results=[{"id": "a", "verdict": "green"}]), "Invalid enum value 'green' - at `$.results[0].verdict`"),
        (changed(finished="yes"), "Expected `bool`, got `str` - at `$.finished`"),
        (changed(device={"kind": "cpu"}), "Object missing required field `count` - at `$.device`"),
    ],
    ids=["another verdict", "another type", "missing"],
)
def test_what_is_no_report_is_refused(tmp_path: Path, content: bytes, problem: str) -> None:
    assert problem_of(tmp_path / "report.json", content) == f"not a report of pytest-raycompat: {problem}"


HINT = "; one is written by --raycompat-report=PATH.json"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "the file is empty; a report is a JSON object"),
        (b"<?xml version='1.0'?><testsuites/>", "not JSON but XML or HTML; give the .json report"),
        (
            b'{"pytest_version": "9", "$report_type": "SessionStart"}\n{"$report_type": "x"}\n',
            "not JSON but JSON lines, as pytest-reportlog writes; a report is one JSON object",
        ),
        (b'{"created": "\xff"}', "not JSON: it is not UTF-8: invalid start byte"),
        (b"[" * 100_000, "not a report: brackets in brackets, too deep to read"),
        (b"verdicts: 1 passed", "not JSON: JSON is malformed: invalid character (byte 0)"),
        (
            changed()[:200],
            "truncated: the JSON ends after 200 bytes in the middle of a value",
        ),
        (b"[]", "not a report of pytest-raycompat: it holds a JSON array, not an object" + HINT),
        (
            b'{"created": 1, "exitcode": 0, "summary": {}, "tests": []}',
            "not a report of pytest-raycompat: it looks like one of pytest-json-report" + HINT,
        ),
        (
            b'{"machine_info": {}, "benchmarks": []}',
            "not a report of pytest-raycompat: it looks like one of pytest-benchmark" + HINT,
        ),
    ],
    ids=[
        "empty",
        "xml",
        "lines",
        "latin-1",
        "deep",
        "text",
        "truncated",
        "array",
        "pytest-json-report",
        "pytest-benchmark",
    ],
)
def test_what_is_something_else_is_named(tmp_path: Path, content: bytes, problem: str) -> None:
    assert problem_of(tmp_path / "report.json", content) == problem


def test_two_results_with_one_id_are_refused(tmp_path: Path) -> None:
    twice = msgspec.structs.replace(FULL, results=(*FULL.results, FULL.results[0]))
    assert problem_of(tmp_path / "report.json", msgspec.json.encode(twice)) == (
        "results[2].id 'a.py::test_a' is that of results[0] too; a test has one result"
    )
    several = ReportSet(reports=(FULL, twice))
    assert problem_of(tmp_path / "report.json", msgspec.json.encode(several)) == (
        "reports[1].results[2].id 'a.py::test_a' is that of reports[1].results[0] too; a test has one result"
    )


def test_reports_of_several_environments_are_read_as_such(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write_report(path, ReportSet(reports=(FULL, FULL)))
    assert read_reports(path) == (FULL, FULL)
    with pytest.raises(ReportError, match="it holds 2 reports, and one was expected"):
        read_report(path)


def test_a_report_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert problem_of(tmp_path / "report.json", None) == "No such file or directory"
    assert problem_of(tmp_path, None) == "Is a directory"


def test_keys_that_a_later_minor_version_may_add_are_no_error(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(changed(more={"a": 1}))
    assert read_report(path) == FULL
