"""``raycompat report`` and ``raycompat diff``."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pytest_raycompat.cli import main
from pytest_raycompat.report.document import read_reports, write_report
from tests.making import make_record, make_report


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    write_report(
        tmp_path / "main.json", make_report(make_record("a.py::test_a"), make_record("a.py::test_b", "failed"))
    )
    write_report(
        tmp_path / "pull.json",
        make_report(
            make_record("a.py::test_a", "failed", reason="why", file="a.py", line=3),
            make_record("a.py::test_b", "failed"),
        ),
    )
    write_report(tmp_path / "old.json", make_report(make_record("a.py::test_a"), ray="2.35.0"))
    return tmp_path


def test_a_report_is_printed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "main.json", "old.json"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "Ray 2.60.0, vLLM 0.32.0, cpu"
    assert out[4] == "  verdicts: 1 passed, 1 failed"
    assert out[5] == "Ray 2.35.0, vLLM 0.32.0, cpu"


def test_a_report_is_no_wider_than_the_terminal(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    name = "suites/a_folder/test_" + "long_" * 20 + "name.py::test_it"
    write_report(folder / "long.json", make_report(make_record(name, flow="generate", parameters={"note": "x" * 60})))
    assert main(["report", "long.json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) == 80


def test_reports_are_merged_into_every_format(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outputs = [part for name in ("m.json", "m.md", "out/m.html") for part in ("-o", name)]
    assert main(["report", "main.json", "old.json", *outputs]) == 0
    assert [report.environment.ray for report in read_reports(folder / "m.json")] == ["2.60.0", "2.35.0"]
    assert (folder / "m.md").read_text().startswith("### ❌ Ray 2.60.0")
    assert (folder / "out" / "m.html").read_text().startswith("<!doctype html>")
    assert capsys.readouterr().err.splitlines() == ["report: m.json", "report: m.md", "report: out/m.html"]


def test_a_folder_is_searched(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "artefacts" / "one").mkdir(parents=True)
    (folder / "main.json").rename(folder / "artefacts" / "one" / "report.json")
    assert main(["report", "artefacts"]) == 0
    (folder / "none").mkdir()
    assert main(["report", "none"]) == 4
    assert capsys.readouterr().err == "raycompat: none: the folder has no .json file\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["report", "main.json", "pull.json"], "reports contradict each other:\n  a.py::test_a (Ray 2.60.0"),
        (["report", "main.json", "-o", "x.xml"], "-o: 'x.xml' has no known format: write a path that ends in .json"),
        (["report", "missing.json"], "missing.json: No such file or directory"),
        (["diff", "main.json", "broken.json"], "broken.json: truncated: the JSON ends after 20 bytes"),
        (["report", "main.json", "-o", "main.json/x.md"], "-o: 'main.json/x.md' is below 'main.json', which is a file"),
        (["report", "main.json", "-o", "/proc/x.md"], "-o: '/proc/x.md' cannot be written: /proc: No such file"),
        (["diff", "main.json", "pull.json", "-o", "main.json/x.md"], "-o: 'main.json/x.md' is below 'main.json'"),
        (["diff", "main.json", "pull.json", "-o", "."], "-o: '.' is a folder: write the path of a file"),
    ],
)
def test_bad_input(folder: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "broken.json").write_bytes((folder / "main.json").read_bytes()[:20])
    assert main(words) == 4
    assert capsys.readouterr().err.startswith(f"raycompat: {message}")


def test_what_cannot_be_written_is_no_change_for_the_worse(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "/none/summary.md")
    assert main(["diff", "main.json", "main.json", "--format", "github"]) == 4
    assert capsys.readouterr().err == "raycompat: /none/summary.md: No such file or directory\n"


@pytest.mark.parametrize("form", ["text", "md", "html", "json", "github"])
@pytest.mark.parametrize(("old", "new", "status"), [("main", "pull", 1), ("pull", "main", 0), ("main", "main", 0)])
def test_the_exit_status_says_whether_anything_is_worse(
    folder: Path, form: str, old: str, new: str, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["diff", f"{old}.json", f"{new}.json", "--format", form]) == status
    assert capsys.readouterr().err == ""


def test_a_diff_is_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", "main.json", "pull.json", "--format", "json", "-o", "out/diff.json"]) == 1
    assert json.loads((folder / "out" / "diff.json").read_text())["counts"] == {"regressed": 1, "still-failing": 1}
    assert capsys.readouterr().out == ""


def test_a_diff_for_github(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "summary.md")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(folder))
    assert main(["diff", "main.json", "pull.json", "--format", "github"]) == 1
    assert capsys.readouterr().out == (
        "::error file=a.py,title=regressed%3A failed,line=3::"
        "a.py::test_a (Ray 2.60.0, vLLM 0.32.0, cpu): passed → failed%0Awhy\n"
    )
    assert (folder / "summary.md").read_text().startswith("### ❌ vLLM on Ray: 1 worse\n")


def test_a_test_that_is_gone(folder: Path) -> None:
    write_report(folder / "less.json", make_report(make_record("a.py::test_b", "failed")))
    assert main(["diff", "main.json", "less.json"]) == 0
    assert main(["diff", "main.json", "less.json", "--fail-on-vanished"]) == 1


def test_without_jinja2_a_page_says_what_to_install(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["report", "main.json", "-o", "x.html"]) == 4
    assert main(["diff", "main.json", "pull.json", "--format", "html"]) == 4
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("raycompat: -o: 'x.html' needs jinja2: pip install 'pytest-raycompat[report]', or write a")
    assert second.startswith("raycompat: --format=html needs jinja2: pip install 'pytest-raycompat[report]'")


@pytest.mark.parametrize("command", ["diff", "report"])
def test_the_reference_names_every_option(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    options = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", capsys.readouterr().out)) - {"--help"}
    page = (Path(__file__).parents[2] / "docs" / "reference" / "cli.md").read_text()
    section = page.partition(f"\n## `raycompat {command}`\n")[2].partition("\n## ")[0]
    assert options <= set(re.findall(r"--[a-z][\w-]*", section))


def test_folders_of_repeated_runs_are_compared(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for side, first in (("main", 10.0), ("pull", 20.0)):
        for number in range(3):
            total = {"total": first + number / 10}
            record = make_record("a.py::test_a", flow="generate", outcome="ok", timings=total)
            write_report(folder / side / f"{number}.json", make_report(record))
    assert main(["diff", "main", "pull"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "main → pull: 1 measurement worse",
        "",
        "Ray 2.60.0, vLLM 0.32.0, cpu",
        "  1 unchanged",
        "  ! slower         generate, total: 10.1 ± 0.1 → 20.1 ± 0.1 s (+99 %; 3 and 3 samples)",
    ]
    write_report(folder / "pull" / "bad.json", make_report(make_record("a.py::test_a", "failed")))
    assert main(["diff", "main", "pull"]) == 4
    assert capsys.readouterr().err.startswith("raycompat: reports contradict each other:\n  a.py::test_a (Ray 2.60.0")
    (folder / "empty").mkdir()
    assert main(["diff", "main", "empty"]) == 4
    assert capsys.readouterr().err == "raycompat: empty: the folder has no .json file\n"
