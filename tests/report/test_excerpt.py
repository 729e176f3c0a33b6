from __future__ import annotations

from pathlib import Path

from pytest_raycompat.report.excerpt import MOST_CHARACTERS, excerpt_of


def test_the_last_lines_without_colours(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("".join(f"line {number}\n" for number in range(100)) + "\x1b[31mred\x1b[0m\n10 %\r100 %\n\n")
    lines = excerpt_of([str(log)]).splitlines()
    assert (len(lines), lines[0], lines[-2:]) == (40, "line 62", ["red", "100 %"])


def test_the_first_log_that_says_something(tmp_path: Path) -> None:
    (tmp_path / "empty.log").write_text("\n \n")
    (tmp_path / "b.log").write_bytes(b"\xff said\n")
    logs = [str(tmp_path / name) for name in ("missing.log", "empty.log", "b.log")]
    assert excerpt_of(logs) == "� said"
    assert excerpt_of(logs[:2]) == ""


def test_long_lines_are_cut(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("x" * 200_000)
    assert excerpt_of([str(log)]) == "x" * MOST_CHARACTERS
