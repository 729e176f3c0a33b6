from __future__ import annotations

import datetime
import pickle
from pathlib import Path

import pytest

from pytest_raycompat.gaps import (
    BUILTIN_FOLDER,
    Conditions,
    Gap,
    GapFileError,
    Pair,
    Workaround,
    builtin_gaps,
    load_gap_file,
    load_gaps,
)
from pytest_raycompat.gaps.reading import line_of

FULL = """\
# a comment with id = "other"
id = "some-gap"
title = "Some gap"
flows = ["generate", "serve"]
phase = "start"
outcome = "error"
raises = "ray.exceptions.RayTaskError(ValueError)"
message = 'needs \\d+ of them'
intermittent = true
cause = "There are fewer."
fix = "ray"
links = [
    "https://example.org/1",
    "https://example.org/2",
]
needs = "a GPU"
review = 2030-01-31

[when]
ray = ">=2.9,<2.43"
vllm = "==0.8.5.post1"
torch = ">=2"
python = ">=3.11"
device = "cpu"
executor = "ray-v1"
nodes = 2
lacks = ["ray.dag.MultiOutputNode"]
decides = "versions"

[workaround]
text = \"\"\"
id = "not a key, but text"
\"\"\"

[workaround.env]
SOME_SWITCH = "1"

[[verified]]
ray = "2.35.0"
vllm = "0.8.5.post1"

[[verified]]
ray = "2.36.0"
vllm = "0.8.5.post1"
"""

MINIMAL = """\
id = "some-gap"
title = "Some gap"
flows = ["generate"]
raises = "ValueError"
fix = "never"
links = ["https://example.org/1"]
when.ray = "<2.43"
"""


def write(folder: Path, text: str, name: str = "some-gap.toml") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    return path


def replaced(old: str, new: str, text: str = FULL) -> str:
    assert text.count(old) == 1
    return text.replace(old, new)


def named(name: str) -> str:
    """Another gap than that of MINIMAL, with a message of its own."""
    return f"message = 'told by {name}'\n" + replaced("some-gap", name, MINIMAL)


def refused(path: Path) -> GapFileError:
    with pytest.raises(GapFileError) as caught:
        load_gap_file(path)
    return caught.value


def test_every_key_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, FULL)
    assert load_gap_file(path) == Gap(
        id="some-gap",
        title="Some gap",
        flows=("generate", "serve"),
        when=Conditions(
            ray=">=2.9,<2.43",
            vllm="==0.8.5.post1",
            torch=">=2",
            python=">=3.11",
            device="cpu",
            executor="ray-v1",
            nodes=2,
            lacks=("ray.dag.MultiOutputNode",),
            decides="versions",
        ),
        phase="start",
        outcome="error",
        raises="ray.exceptions.RayTaskError(ValueError)",
        message=r"needs \d+ of them",
        workaround=Workaround(text='id = "not a key, but text"\n', env={"SOME_SWITCH": "1"}),
        intermittent=True,
        cause="There are fewer.",
        needs="a GPU",
        review=datetime.date(2030, 1, 31),
        fix="ray",
        links=("https://example.org/1", "https://example.org/2"),
        verified=(Pair(ray="2.35.0", vllm="0.8.5.post1"), Pair(ray="2.36.0", vllm="0.8.5.post1")),
        path=path,
        line=2,
    )


def test_what_may_be_left_out(tmp_path: Path) -> None:
    gap = load_gap_file(write(tmp_path, MINIMAL))
    assert gap.when == Conditions(ray="<2.43")
    assert (gap.phase, gap.outcome, gap.message, gap.workaround, gap.verified) == (None, "error", None, None, ())


def test_a_crash_needs_no_exception(tmp_path: Path) -> None:
    gap = load_gap_file(write(tmp_path, replaced('raises = "ValueError"', 'outcome = "crash"', MINIMAL)))
    assert (gap.outcome, gap.raises) == ("crash", None)


def test_windows_line_ends_are_read(tmp_path: Path) -> None:
    assert load_gap_file(write(tmp_path, FULL.replace("\n", "\r\n"))).line == 2


CONDITIONS = "ray, vllm, torch, python, device, executor, parameters, head_gpus, nodes, lacks"
KEYS = (
    "id, title, flows, when, phase, outcome, raises, message, intermittent, cause, workaround, fix, links, confidence, "
    "needs, verified, review"
)

WRONG_FILES = {
    "unknown key": ('phase = "start"', 'stage = "start"', 5, f"unknown key 'stage'; the keys are {KEYS}"),
    "no key for the place": ('phase = "start"', "line = 7", 5, f"unknown key 'line'; the keys are {KEYS}"),
    "unknown condition": (
        'torch = ">=2"',
        'cuda = ">=12"',
        22,
        f"unknown key 'cuda' in when; the keys are {CONDITIONS}, decides",
    ),
    "unknown key of a workaround": (
        "[workaround.env]",
        "[workaround.environment]",
        35,
        "unknown key 'environment' in workaround; the keys are text, env",
    ),
    "unknown key of a pair": (
        'ray = "2.36.0"',
        'Ray = "2.36.0"',
        43,
        "unknown key 'Ray' in verified.1; the keys are ray, vllm",
    ),
    "missing key": ('fix = "ray"\n', "", 1, "the key 'fix' is missing"),
    "missing key in a table": ('ray = "2.36.0"\n', "", 42, "the key 'verified.1.ray' is missing"),
    "wrong type": ('title = "Some gap"', "title = 7", 3, "title: expected `str`, got `int`"),
    "text for a list": ('flows = ["generate", "serve"]', 'flows = "generate"', 4, "flows: expected `array`, got `str`"),
    "wrong type in a list": (
        'flows = ["generate", "serve"]',
        'flows = ["generate", 7]',
        4,
        "flows.1: expected `str`, got `int`",
    ),
    "wrong type in a table": ('ray = ">=2.9,<2.43"', "ray = 2.43", 20, "when.ray: expected `str`, got `float`"),
    "wrong type of a variable": (
        'SOME_SWITCH = "1"',
        'A = "1"\nB = 1',
        37,
        "workaround.env.B: expected `str`, got `int`",
    ),
    "text for a table": (
        '[[verified]]\nray = "2.35.0"\nvllm = "0.8.5.post1"\n\n[[verified]]\nray = "2.36.0"\nvllm = "0.8.5.post1"\n',
        '[[verified]]\nray = "2.35.0"\nvllm = { version = "0.32.0" }\n',
        40,
        "verified.0.vllm: expected `str`, got `table`",
    ),
    "not an outcome": ('outcome = "error"', 'outcome = "ok"', 6, "outcome: 'ok' is not one of error, crash, timeout"),
    "not a fix": ('fix = "ray"', 'fix = "torch"', 11, "fix: 'torch' is not one of ray, vllm, never"),
    "not a device": ('device = "cpu"', 'device = "gpu"', 24, "when.device: 'gpu' is not one of cpu, cuda"),
    "not an executor": (
        'executor = "ray-v1"',
        'executor = "ray"',
        25,
        "when.executor: 'ray' is not one of ray-v0, ray-v1, ray-v2, mp, uni",
    ),
    "id of another file": (
        'id = "some-gap"\ntitle',
        'id = "other-gap"\ntitle',
        2,
        "id: 'other-gap' differs from the name of the file, 'some-gap'",
    ),
    "no flows": ('flows = ["generate", "serve"]', "flows = []", 4, "flows: empty; name at least one flow"),
    "bad ray specifier": (
        'ray = ">=2.9,<2.43"',
        'ray = "2.44.1"',
        20,
        "when.ray: '2.44.1' is not a version specifier; write '>=2.44.1', '==2.44.1' or '>=2.44.1,<3'",
    ),
    "bad vllm specifier": (
        'vllm = "==0.8.5.post1"',
        'vllm = ""',
        21,
        "when.vllm: an empty version specifier would match every version; write one such as '>=2.44.1'",
    ),
    "bad torch specifier": (
        'torch = ">=2"',
        'torch = "new"',
        22,
        "when.torch: 'new' is not a version specifier; write an operator and a version, such as '>=2.44.1'",
    ),
    "bad python specifier": (
        'python = ">=3.11"',
        'python = "~=3"',
        23,
        "when.python: '~=3' is not a version specifier; '~=' needs two numbers or more: write '~=3.0' or '>=3'",
    ),
    "error without raises": (
        'raises = "ray.exceptions.RayTaskError(ValueError)"\n',
        "",
        6,
        "outcome: an 'error' needs the key 'raises', the exception that it shows as",
    ),
    "raises no name": (
        'raises = "ray.exceptions.RayTaskError(ValueError)"',
        'raises = "ValueError: no"',
        7,
        "raises: 'ValueError: no' is not the name of an exception, such as 'ray.exceptions.RayTaskError'",
    ),
    "raises builtins": (
        'raises = "ray.exceptions.RayTaskError(ValueError)"',
        'raises = "builtins.ValueError"',
        7,
        "raises: write builtins without their module: 'ValueError'",
    ),
    "raises without module": (
        'raises = "ray.exceptions.RayTaskError(ValueError)"',
        'raises = "RayTaskError"',
        7,
        "raises: 'RayTaskError' is not a builtin exception; write its qualified name, with the module",
    ),
    "raises a builtin that is none": (
        'raises = "ray.exceptions.RayTaskError(ValueError)"',
        'raises = "dict"',
        7,
        "raises: 'dict' is not a builtin exception; write its qualified name, with the module",
    ),
    "bad regex": (
        "message = 'needs \\d+ of them'",
        "message = 'needs (7'",
        8,
        "message: 'needs (7' is not a regular expression: missing ), unterminated subpattern at position 6",
    ),
    "no links": (
        'links = [\n    "https://example.org/1",\n    "https://example.org/2",\n]',
        "links = []",
        12,
        "links: empty; name at least one place that documents the gap",
    ),
    "not a link": (
        '    "https://example.org/2",\n',
        '    "http://example.org/2",\n',
        12,
        "links.1: 'http://example.org/2' does not start with https://",
    ),
}


@pytest.mark.parametrize(("old", "new", "line", "problem"), WRONG_FILES.values(), ids=WRONG_FILES)
def test_a_wrong_file_is_refused_with_its_line(tmp_path: Path, old: str, new: str, line: int, problem: str) -> None:
    path = write(tmp_path, replaced(old, new))
    error = refused(path)
    assert (error.path, error.line, error.problem) == (path, line, problem)
    assert str(error) == f"{path}:{line}: {problem}"


@pytest.mark.parametrize("pattern", ["", "^$", ".*", "(needs)?", "(?!needs)", ".", ".+", r"\\w+ \\d", r"\\S"])
def test_a_message_that_matches_everything_is_refused(tmp_path: Path, pattern: str) -> None:
    error = refused(write(tmp_path, replaced("'needs \\d+ of them'", f'"{pattern}"')))
    assert (error.line, error.problem) == (
        8,
        f"message: {pattern.replace(chr(92) * 2, chr(92))!r} matches unrelated messages too; "
        "quote a part of the message that is its own",
    )


@pytest.mark.parametrize("name", ["Some-Gap", "some_gap", "some--gap", "-gap", "some-gap-", "some gap"])
def test_an_id_is_kebab_case(tmp_path: Path, name: str) -> None:
    error = refused(write(tmp_path, replaced('"some-gap"', f'"{name}"', MINIMAL), f"{name}.toml"))
    assert (error.line, error.problem) == (1, f"id: {name!r} is not kebab-case, such as 'cgraph-version-guard'")


@pytest.mark.parametrize(
    ("conditions", "line"), [("[when]", 7), ("when = {}", 7), ("\n\n[when]\nlacks = []", 9)], ids=repr
)
def test_conditions_are_not_empty(tmp_path: Path, conditions: str, line: int) -> None:
    error = refused(write(tmp_path, replaced('when.ray = "<2.43"', conditions, MINIMAL)))
    assert (error.line, error.problem) == (line, f"when: empty; give at least one of {CONDITIONS}")


def test_an_error_by_default_needs_raises_as_well(tmp_path: Path) -> None:
    error = refused(write(tmp_path, replaced('raises = "ValueError"\n', "", MINIMAL)))
    assert (error.line, error.problem) == (
        1,
        "outcome: an 'error' needs the key 'raises', the exception that it shows as",
    )


def test_when_is_a_table(tmp_path: Path) -> None:
    error = refused(write(tmp_path, replaced('when.ray = "<2.43"', 'when = "<2.43"', MINIMAL)))
    assert (error.line, error.problem) == (7, "when: expected `table`, got `str`")


def test_workaround_is_a_table(tmp_path: Path) -> None:
    error = refused(write(tmp_path, MINIMAL + 'workaround = "update"\n'))
    assert (error.line, error.problem) == (8, "workaround: expected `table`, got `str`")


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ('id = "some-gap"\ntitle "x"\nfix = 1\n', 2, "not TOML: Expected '=' after a key in a key/value pair"),
        ('id = "some-gap"\nflows = [\n"a"\n', 3, "not TOML: Unclosed array"),
    ],
)
def test_a_syntax_error_has_its_line(tmp_path: Path, text: str, line: int, problem: str) -> None:
    error = refused(write(tmp_path, text))
    assert (error.line, error.problem) == (line, problem)


def test_a_file_that_is_not_utf_8_has_its_line(tmp_path: Path) -> None:
    path = tmp_path / "some-gap.toml"
    path.write_bytes(b'id = "some-gap"\ntitle = "caf\xe9"\n')
    assert str(refused(path)) == f"{path}:2: not TOML: byte 0xe9 is not UTF-8"


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    path = tmp_path / "some-gap.toml"
    path.mkdir()
    error = refused(path)
    assert error.line is None
    assert str(error) == f"{path}: cannot be read: Is a directory"


@pytest.mark.parametrize(
    ("where", "line"),
    [
        (("id",), 2),
        (("links",), 12),
        (("links", 1), 12),
        (("when",), 19),
        (("when", "ray"), 20),
        (("workaround", "text"), 31),
        (("workaround", "env"), 35),
        (("workaround", "env", "SOME_SWITCH"), 36),
        (("verified", 0, "vllm"), 40),
        (("verified", 1, "ray"), 43),
        (("when", "cuda"), 19),  # not there: the table that it would be in
        (("cuda",), 1),
    ],
    ids=repr,
)
def test_the_line_of_a_key(where: tuple[str | int, ...], line: int) -> None:
    assert line_of(FULL, where) == line


def test_a_folder_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    for name in ("b-gap", "c-gap", "a-gap"):
        write(tmp_path, named(name), f"{name}.toml")
    write(tmp_path, "not a gap", "notes.md")
    assert [gap.id for gap in load_gaps([tmp_path])] == ["a-gap", "b-gap", "c-gap"]


def test_files_and_folders_are_read_in_the_order_given(tmp_path: Path) -> None:
    file = write(tmp_path, named("z-gap"), "z-gap.toml")
    folder = write(tmp_path / "more", MINIMAL).parent
    assert [gap.id for gap in load_gaps([file, folder])] == ["z-gap", "some-gap"]


def test_a_file_that_comes_twice_counts_once(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL)
    assert [gap.id for gap in load_gaps([tmp_path, path])] == ["some-gap"]


def test_a_missing_path_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "nowhere"
    with pytest.raises(GapFileError) as caught:
        load_gaps([path])
    assert str(caught.value) == f"{path}: there is no such file or folder"


def test_a_folder_without_gap_files_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(GapFileError) as caught:
        load_gaps([tmp_path])
    assert str(caught.value) == f"{tmp_path}: the folder has no *.toml in it"


def test_two_files_with_one_id_are_an_error_that_names_both(tmp_path: Path) -> None:
    first = write(tmp_path / "one", MINIMAL)
    second = write(tmp_path / "two", "\n" + MINIMAL)
    with pytest.raises(GapFileError) as caught:
        load_gaps([first, second])
    assert str(caught.value) == f"{second}:2: id: 'some-gap' is recorded in {first}:1 too"


def test_an_error_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(GapFileError(Path("a.toml"), 3, "wrong")))
    assert str(error) == "a.toml:3: wrong"


def test_the_builtin_gaps_are_those_of_the_package() -> None:
    gaps = builtin_gaps()
    assert {gap.path for gap in gaps} == set(BUILTIN_FOLDER.glob("*.toml"))
    assert "cgraph-version-guard" in {gap.id for gap in gaps}
