"""The reports in the documentation: valid, of the pairs that are promised, and the pages are made from them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import msgspec
import pytest
from jsonschema import Draft202012Validator

from docs import report_pages
from pytest_raycompat.report import schema
from pytest_raycompat.report.document import read_report, write_report
from tests.making import make_record, make_report

REPORTS = sorted(report_pages.FOLDER.glob("*.json"))


@pytest.mark.parametrize("path", REPORTS, ids=lambda path: path.stem)
def test_a_report_is_valid_and_named_after_what_it_is_of(path: Path) -> None:
    Draft202012Validator(json.loads(schema.PATH.read_text())).validate(json.loads(path.read_text()))
    assert report_pages.name_of(read_report(path)) == path.name


def test_the_default_ray_and_an_old_one_are_there() -> None:
    assert [report.environment.ray for report in report_pages.read_all()] == ["2.60.0", "2.35.0"]


@pytest.mark.parametrize("name", ["results.md", "changes.md"])
def test_a_page_is_up_to_date(name: str) -> None:
    """Where it is not: ``python docs/report_pages.py``."""
    assert report_pages.markdown_pages(report_pages.read_all())[name] == (report_pages.FOLDER / name).read_text()


def test_every_report_is_linked() -> None:
    index = (report_pages.FOLDER / "index.md").read_text()
    assert [path.name for path in REPORTS if f"({path.name})" not in index] == []


def test_the_built_pages_are_linked_and_complete(tmp_path: Path) -> None:
    text = report_pages.with_links((report_pages.FOLDER / "index.md").read_text())
    report_pages.write_html(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(report_pages.HTML)
    for name in report_pages.HTML:
        assert not (report_pages.FOLDER / name).with_suffix(".md").exists(), "both would be one page of the built docs"
        assert f'<a href="{name}">' in text
        assert (tmp_path / name).read_text().rstrip().endswith("</html>")


def test_reports_are_replaced_with_one_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(report_pages.FOLDER, tmp_path / "reports")
    monkeypatch.setattr(report_pages, "FOLDER", folder)
    new = tmp_path / "new.json"
    write_report(new, make_report(make_record("a.py::test_a", "failed", reason="why")))
    assert report_pages.main([str(new)]) == 0
    assert capsys.readouterr().out == "report: reports/cpu-ray-2.60.0-vllm-0.32.0.json\n"
    assert read_report(folder / "cpu-ray-2.60.0-vllm-0.32.0.json") == read_report(new)
    assert "`a.py::test_a`" in (folder / "results.md").read_text()
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        path.name for path in Path(__file__).parents[1].joinpath("docs", "reports").iterdir()
    )


def test_what_is_no_report_replaces_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.json"
    bad.write_bytes(msgspec.json.encode({"exitcode": 0, "tests": []}))
    before = [path.read_bytes() for path in REPORTS]
    assert report_pages.main([str(REPORTS[0]), str(bad)]) == 4
    assert "it looks like one of pytest-json-report" in capsys.readouterr().err
    assert [path.read_bytes() for path in REPORTS] == before
