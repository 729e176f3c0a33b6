from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from pytest_raycompat.gaps import BUILTIN_FOLDER, GapFileError
from pytest_raycompat.gaps.formatting import formatted

PATH = Path("some-gap.toml")
BLANK = "  "
"""At the end of a line: taken away, unless it is in a text of several lines."""

UNORDERED = '''\
# Recorded by hand.

links = [
    "https://example.org/1",  # the issue
    # the fix
    "https://example.org/2",
]
# why it is called so
id = "some-gap"
fix = "never"{blank}
title = "Some gap"
flows = ["generate"]
workaround.text = """
  [when]{blank}
# not a comment
"""

[[verified]]
vllm = "0.32.0"
ray = "2.35.0"

# of which versions
[when]   # a remark
vllm = ">=0.8.5"


# measured
ray = "<2.43"
[[verified]]
ray = "2.36.0"
vllm = "0.32.0"
# the end
'''.replace("{blank}", BLANK)
ORDERED = '''\
# Recorded by hand.

# why it is called so
id = "some-gap"
title = "Some gap"
flows = ["generate"]
workaround.text = """
  [when]{blank}
# not a comment
"""
fix = "never"
links = [
    "https://example.org/1",  # the issue
    # the fix
    "https://example.org/2",
]

# of which versions
[when]   # a remark
# measured
ray = "<2.43"
vllm = ">=0.8.5"

[[verified]]
ray = "2.35.0"
vllm = "0.32.0"

[[verified]]
ray = "2.36.0"
vllm = "0.32.0"

# the end
'''.replace("{blank}", BLANK)


def test_keys_are_put_in_order_and_keep_their_comments() -> None:
    assert formatted(PATH, UNORDERED) == ORDERED
    assert tomllib.loads(ORDERED) == tomllib.loads(UNORDERED)


def test_what_is_in_order_stays_as_it_is() -> None:
    assert formatted(PATH, ORDERED) == ORDERED


@pytest.mark.parametrize("path", sorted(BUILTIN_FOLDER.glob("*.toml")), ids=lambda path: path.stem)
def test_our_own_files_are_in_order(path: Path) -> None:
    assert formatted(path, path.read_text()) == path.read_text()


def test_keys_that_are_not_known_come_last() -> None:
    assert formatted(PATH, 'stage = "x"\nwhen.cuda = ">=12"\nwhen.ray = "<2"\nid = "a"\n') == (
        'id = "a"\nwhen.ray = "<2"\nwhen.cuda = ">=12"\nstage = "x"\n'
    )


def test_tables_in_tables_follow_them() -> None:
    text = '[workaround.env]\nA = "1"\n[workaround]\ntext = "x"\n'
    assert formatted(PATH, text) == '[workaround]\ntext = "x"\n\n[workaround.env]\nA = "1"\n'


def test_what_is_not_toml_is_refused_with_its_line() -> None:
    with pytest.raises(GapFileError, match=r"^some-gap\.toml:2: not TOML: "):
        formatted(PATH, 'id = "a"\ntitle "b"\n')
