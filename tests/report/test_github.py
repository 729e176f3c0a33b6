from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_raycompat.report.document import BaselineRecord
from pytest_raycompat.report.github import Annotation, append_summary, commands
from pytest_raycompat.report.markdown import LIMIT, cell, code, render
from tests.making import make_gap, make_record, make_report

WORKSPACE = {"GITHUB_WORKSPACE": "/work/repo"}


def test_a_command_is_escaped() -> None:
    annotation = Annotation("failed: 100%, at last", "a.py::test_a[x]", "50%\r\nof::it", "run it", "pkg/a,b.py", 3)
    assert commands([annotation], Path("/work/repo/sub"), WORKSPACE) == [
        "::error file=sub/pkg/a%2Cb.py,title=failed%3A 100%25%2C at last,line=3::"
        "a.py::test_a[x]%0A50%25%0D%0Aof::it%0Areproduce: run it"
    ]


def test_without_a_file_there_is_none() -> None:
    assert commands([Annotation("failed", "a", "why")], Path("/x"), {}) == ["::error title=failed::a%0Awhy"]


def test_what_shares_a_reason_is_one_annotation() -> None:
    annotations = [Annotation("failed", f"test_{number}", "why") for number in range(5)]
    assert commands(annotations, Path("/x"), {}) == ["::error title=failed::test_0 and 4 more%0Awhy"]


def test_no_more_than_github_shows() -> None:
    annotations = [Annotation("failed", f"test_{number}", f"why {number}") for number in range(30)]
    lines = commands(annotations, Path("/x"), {})
    assert len(lines) == 10
    assert lines[-1] == "::error::21 more; the summary of this job and the report have them all"


def test_a_summary_is_appended(tmp_path: Path) -> None:
    path = tmp_path / "summary.md"
    path.write_text("before\n")
    assert append_summary("after", {"GITHUB_STEP_SUMMARY": str(path)}) == path
    assert path.read_text() == "before\nafter\n"
    assert append_summary("after", {}) is None


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("plain", "`plain`"),
        ("a`b", "``a`b``"),
        ("`a``b`", "``` `a``b` ```"),
        ("two\nlines", "`two lines`"),
        ("", ""),
    ],
)
def test_code_cannot_be_left(text: str, written: str) -> None:
    assert code(text) == written


def test_a_cell_holds_no_bar() -> None:
    assert cell("a|b") == "`a\\|b`"


def test_markdown_says_all() -> None:
    report = make_report(
        make_record("a.py::test_a", flow="generate", parameters={"executor": "ray-v2"}, timings={"total": 3.0}),
        make_record("a.py::test_b", "failed", reason="```\n</details>@someone", reproduce="pytest a.py"),
        make_record("a.py::test_c", "failed", reason="```\n</details>@someone"),
        make_record("a.py::test_d", "known-gap", reason="some-gap: title", gap="some-gap"),
        finished=False,
    )
    text = render([report])
    assert text.startswith("### ❌ Ray 2.60.0, vLLM 0.32.0, cpu\n\n1 passed, 1 known-gap, 2 failed · ")
    assert "**The run did not finish.**" in text
    assert "| `generate` | `ray-v2` | ✅ passed | 1 | 3.0 |  |" in text
    assert "<details open><summary>❌ failed: 2 tests</summary>" in text
    assert "````text\n```\n</details>@someone\n````" in text
    assert "```sh\npytest a.py\n```" in text
    assert "<details><summary>🟡 known-gap: 1 test</summary>" in text


def test_markdown_says_what_changed_since_the_baseline() -> None:
    report = make_report(
        make_record("a", "failed", change="regressed"),
        make_record("b", change="unchanged"),
        baseline=BaselineRecord(path="main.json", created="2026", differences=("Ray: 2.60.0 → 2.61.0",)),
    )
    assert "Since `main.json`: 1 regressed, 1 unchanged\n\n- differs in `Ray: 2.60.0 → 2.61.0`" in render([report])


def test_untested_is_never_green() -> None:
    assert render([make_report(make_record("a", "untested"))]).startswith("### ⚪ ")
    assert render([make_report()]).startswith("### ⚪ ")
    assert render([make_report(make_record("a"))]).startswith("### ✅ ")


def test_markdown_lists_the_gaps_that_were_met() -> None:
    gap = make_gap("a-gap", shown=2, changed=1, workaround="works")
    text = render([make_report(make_record("a", "gap-changed", gap="a-gap"), gaps=(gap,))])
    assert "\n\n- `gap a-gap: shown in 2 of 3 tests; workaround: works`\n" in text


def test_markdown_fits() -> None:
    records = [make_record(f"a.py::test_{n}[{'x' * 300}]", "failed", reason=f"why {n} " * 200) for n in range(1000)]
    text = render([make_report(*records)])
    assert len(text) <= LIMIT
    assert text.count("<details") == text.count("</details>")
    assert "more entries left out**: this is as long as GitHub takes; the report has them all." in text
    grouped = render([make_report(*[make_record(f"a.py::test_{n}", "failed", reason="one") for n in range(1000)])])
    assert "failed: 1000 tests" in grouped
    assert "- and 995 more" in grouped


TESTS = """
import pytest

@pytest.mark.known_gap("cgraph-version-guard")
def test_fails():
    raise ValueError("100%")

@pytest.mark.known_gap("cgraph-version-guard")
def test_works(): pass
"""


def test_a_run_in_github_actions(
    pytester: pytest.Pytester,
    run_pytest: Callable[..., pytest.RunResult],
    make_interpreter: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    plugin_arguments: tuple[str, ...],
) -> None:
    pytester.mkdir("sub").joinpath("test_a.py").write_text(TESTS)
    summary = pytester.path / "summary.md"
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(pytester.path))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    python = make_interpreter({"ray": "2.60.0", "vllm": "0.32.0"})
    options = (f"--raycompat-python={python}", *plugin_arguments)
    result = run_pytest(*options, "--raycompat-report=r.json")
    (line,) = [line for line in result.outlines if line.startswith("::")]
    assert line.startswith(
        "::error file=sub/test_a.py,title=failed,line=4::sub/test_a.py::test_fails%0AValueError: 100%25%0Areproduce: "
    )
    assert "1 passed, 1 failed" in summary.read_text()
    again = run_pytest(*options, "--raycompat-baseline=r.json")
    assert again.ret == pytest.ExitCode.OK
    assert not [line for line in again.outlines if line.startswith("::")]
