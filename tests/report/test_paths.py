from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_raycompat.report.paths import from_root, shown

ROOT = Path("/home/me/checkout")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("/home/me/checkout/.raycompat/logs/1.log", ".raycompat/logs/1.log"),
        ('  File "/home/me/checkout/a.py", line 3\n  File "/usr/b.py"', '  File "a.py", line 3\n  File "/usr/b.py"'),
        ("in /home/me/checkout/gaps/a.toml:1, and (/home/me/checkout/b)", "in gaps/a.toml:1, and (b)"),
        ("/home/me/checkouts/a", "/home/me/checkouts/a"),
        ("/mnt/home/me/checkout/a", "/mnt/home/me/checkout/a"),
        ("file:///home/me/checkout/a", "file:///home/me/checkout/a"),
        ("/home/me/checkout", "/home/me/checkout"),
        ({"logs": ["/home/me/checkout/a"], "n": 1, "none": None}, {"logs": ["a"], "n": 1, "none": None}),
    ],
)
def test_paths_below_the_root_are_relative_to_it(value: Any, expected: Any) -> None:
    assert from_root(value, ROOT) == expected


def test_below_the_top_nothing_changes() -> None:
    assert from_root("/usr/bin/python", Path("/")) == "/usr/bin/python"


def test_a_path_is_shown_from_where_one_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert shown(tmp_path / "a" / "b.log") == "a/b.log"
    assert shown(tmp_path.parent / "b.log") == str(tmp_path.parent / "b.log")
