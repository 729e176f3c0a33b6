"""The reports of real runs in the documentation, and the pages that are made from them.

    python docs/report_pages.py [REPORT.json ...]

takes in reports, each in place of the one of the same device and versions of Ray and vLLM, and writes the Markdown
pages anew. The HTML pages are written when the documentation is built.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from packaging.version import Version

from pytest_raycompat.compare import rendering
from pytest_raycompat.compare.comparison import Comparison, compare
from pytest_raycompat.compare.environments import label
from pytest_raycompat.report import markdown
from pytest_raycompat.report.document import Report, ReportError, read_report, read_reports, write_report

FOLDER = Path(__file__).with_name("reports")
MADE = "<!-- Written by `python docs/report_pages.py` from the reports beside it; change nothing here. -->"
PAGES_HERE = "<!-- pages -->"
"""Where the built documentation links to the HTML pages, which a checkout does not have."""
HTML = {"matrix.html": "The runs side by side, with details and filters", "comparison.html": "What changed, as a page"}


def name_of(report: Report) -> str:
    """Name the file of a report: ``cpu-ray-2.60.0-vllm-0.32.0.json``."""
    return f"{report.device.kind}-ray-{report.environment.ray}-vllm-{report.environment.vllm}.json"


def read_all() -> list[Report]:
    """Read the reports, that of the newest Ray first."""
    reports = [read_report(path) for path in FOLDER.glob("*.json")]
    return sorted(
        reports,
        key=lambda one: (Version(one.environment.ray or "0"), Version(one.environment.vllm or "0"), one.device.kind),
        reverse=True,
    )


def comparisons(reports: Sequence[Report]) -> list[Comparison]:
    """Compare every report with the first one."""
    first, *others = reports
    return [compare([first], [other], names=(name_of(first), name_of(other))) for other in others]


def markdown_pages(reports: Sequence[Report]) -> dict[str, str]:
    """Write the Markdown pages, by their names."""
    changes = [
        f"## To {label(other)}\n\n{rendering.markdown(one)}"
        for one, other in zip(comparisons(reports), reports[1:], strict=True)
    ]
    return {
        "results.md": f"# Results of real runs\n\n{MADE}\n\n## Verdicts\n\n{markdown.render(reports)}",
        "changes.md": f"# What an older Ray changes\n\n{MADE}\n\n{chr(10).join(changes)}",
    }


def write_markdown() -> None:
    """Write the Markdown pages."""
    for name, text in markdown_pages(read_all()).items():
        (FOLDER / name).write_text(text, encoding="utf-8")


def write_html(target: Path) -> None:
    """Write the HTML pages into the folder ``target``."""
    from pytest_raycompat.report import page

    reports = read_all()
    target.mkdir(parents=True, exist_ok=True)
    (target / "matrix.html").write_text(page.render(reports), encoding="utf-8")
    (target / "comparison.html").write_text(page.render_comparison(comparisons(reports)[0]), encoding="utf-8")


def with_links(text: str) -> str:
    """Put links to the HTML pages into the text of a page of the documentation."""
    links = "\n".join(f'<li><a href="{name}">{title}</a></li>' for name, title in HTML.items())
    return text.replace(PAGES_HERE, f"<ul>\n{links}\n</ul>")


def main(arguments: Sequence[str]) -> int:
    """Take in reports and write the pages; return 4 where a file is not a report."""
    try:
        found = [report for path in arguments for report in read_reports(Path(path))]
    except ReportError as error:
        print(error, file=sys.stderr)
        return 4
    for report in found:
        write_report(FOLDER / name_of(report), report)
        print(f"report: {FOLDER.name}/{name_of(report)}")
    write_markdown()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
