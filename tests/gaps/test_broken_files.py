"""Whatever is in a gap file, it is loaded whole, or refused with file and line: never a traceback, never left out."""

from __future__ import annotations

import datetime
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_raycompat.cli import main
from pytest_raycompat.gaps import Gap, GapFileError, load_gap_file, load_gaps
from pytest_raycompat.gaps.drafts import toml_string
from pytest_raycompat.gaps.formatting import formatted
from pytest_raycompat.gaps.lint import lint
from pytest_raycompat.gaps.reading import read_text

BROKEN = sorted((Path(__file__).parent / "broken").glob("*.toml"))
TODAY = datetime.date(2026, 11, 22)


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.stem)
def test_a_broken_file_is_refused_with_file_and_line(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(GapFileError) as caught:
        load_gap_file(path)
    lines = path.read_bytes().count(b"\n") + 1
    assert caught.value.line is not None
    assert 1 <= caught.value.line <= lines
    assert str(caught.value).startswith(f"{path}:{caught.value.line}: ")
    assert "\n" not in str(caught.value)
    assert main(["gaps", "list", f"--raycompat-gaps={path}"]) == 4
    assert capsys.readouterr().err == f"raycompat: {caught.value}\n"
    assert main(["gaps", "lint", str(path)]) == 4
    assert capsys.readouterr().out.startswith(str(caught.value).partition("; ")[0])


def test_of_an_authors_own_keys_the_wrong_one_is_named() -> None:
    with pytest.raises(GapFileError, match=r":13: when\.parameters\.way: expected `bool \| int \| str`, got `float`$"):
        load_gap_file(Path(__file__).parent / "broken" / "float-for-a-parameter.toml")


def test_there_are_broken_files() -> None:
    assert len(BROKEN) >= 30


@pytest.mark.parametrize("name", ["unclosed-array", "not-utf-8", "nested-too-deeply", "key-of-a-newer-version"])
def test_a_broken_file_ends_a_pytest_run(
    name: str, pytester: pytest.Pytester, run_pytest: Callable[..., pytest.RunResult]
) -> None:
    (path,) = (path for path in BROKEN if path.stem == name)
    pytester.makepyfile("def test_a(): pass")
    result = run_pytest(f"--raycompat-gaps={path}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.errlines[0].startswith(f"ERROR: --raycompat-gaps: {path}:")
    assert "Traceback" not in result.stderr.str() + result.stdout.str()


def test_one_broken_file_of_a_folder_is_not_left_out(tmp_path: Path) -> None:
    (tmp_path / "a-gap.toml").write_text(to_toml(SOUND))
    broken = tmp_path / "b-gap.toml"
    broken.write_text("id = ")
    with pytest.raises(GapFileError) as caught:
        load_gaps([tmp_path])
    assert caught.value.path == broken


SOUND: dict[str, Any] = {
    "id": "a-gap",
    "title": "A gap",
    "flows": ["generate", "corp.flow"],
    "phase": "start",
    "outcome": "error",
    "raises": "ValueError",
    "message": r"needs \d+ of them",
    "intermittent": True,
    "cause": "There are fewer.",
    "fix": "ray",
    "links": ["https://example.org/1"],
    "needs": "a GPU",
    "verified": [{"ray": "2.35.0", "vllm": "0.32.0"}],
    "review": datetime.date(2030, 1, 31),
    "when": {
        "ray": "<2.43",
        "vllm": ">=0.8.5",
        "torch": ">=2",
        "python": ">=3.11",
        "device": "cpu",
        "executor": "ray-v1",
        "nodes": 2,
        "lacks": ["ray.dag.MultiOutputNode"],
        "decides": "versions",
    },
    "workaround": {"text": "Do without.", "env": {"SOME_SWITCH": "1"}},
}
VALUES = st.recursive(
    st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.dates()
    | st.datetimes()
    | st.text(max_size=20)
    | st.sampled_from(
        ["", " ", ".*", "(", "[[a]", "a{99999999999}", "<2,>3", "==", "https://", "ray.", "2.35.0", "\u2028"]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


def places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """List where there is something in a document, from the outside in."""
    inner = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    return [path, *(place for key, one in inner for place in places(one, (*path, key)))]


def changed(document: Any, path: tuple[str | int, ...], change: Callable[[Any, Any], None]) -> Any:
    """Copy a document, and change what is at a place; ``change`` gets the container and the key."""
    copy = tomllib.loads(to_toml(document))
    container: Any = copy
    for part in path[:-1]:
        container = container[part]
    change(container, path[-1])
    return copy


def to_toml(document: dict[str, Any]) -> str:
    return "".join(f"{toml_string(key)} = {to_value(value)}\n" for key, value in document.items())


def to_value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml_string(key)} = {to_value(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[\n" + ",\n".join(to_value(one) for one in value) + "]"
    if isinstance(value, str):
        return toml_string(value)
    if isinstance(value, bool):
        return str(value).lower()
    return value.isoformat() if isinstance(value, datetime.date) else str(value)


PLACES = places(SOUND)[1:]
CHECK = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def outcome_of(path: Path) -> Gap | GapFileError:
    """Load a file; whatever else than a gap or its error comes of it fails the test."""
    try:
        return load_gap_file(path)
    except GapFileError as error:
        assert error.line is not None
        assert 1 <= error.line <= path.read_bytes().count(b"\n") + 1
        assert error.problem
        findings = lint([path], TODAY)
        assert str(findings[0].problem) == str(error)
        assert findings[0].fatal
        return error


def test_the_sound_document_is_a_gap(tmp_path: Path) -> None:
    path = tmp_path / "a-gap.toml"
    path.write_text(to_toml(SOUND))
    assert isinstance(outcome_of(path), Gap)


@CHECK
@given(place=st.sampled_from(PLACES), value=VALUES)
def test_any_value_at_any_place(tmp_path: Path, place: tuple[str | int, ...], value: Any) -> None:
    def change(container: Any, key: Any) -> None:
        container[key] = value

    path = tmp_path / "a-gap.toml"
    path.write_text(to_toml(changed(SOUND, place, change)), encoding="utf-8")
    outcome_of(path)


@CHECK
@given(place=st.sampled_from([place for place in PLACES if isinstance(place[-1], str)]), key=st.text(max_size=12))
def test_any_key_at_any_place_is_unknown_or_known(tmp_path: Path, place: tuple[str | int, ...], key: str) -> None:
    def change(container: Any, old: Any) -> None:
        container[key] = container.pop(old)

    path = tmp_path / "a-gap.toml"
    path.write_text(to_toml(changed(SOUND, place, change)), encoding="utf-8")
    result = outcome_of(path)
    if key != place[-1] and place[:2] != ("workaround", "env"):
        assert isinstance(result, GapFileError)


@CHECK
@given(place=st.sampled_from(PLACES))
def test_any_place_may_be_missing(tmp_path: Path, place: tuple[str | int, ...]) -> None:
    def change(container: Any, key: Any) -> None:
        del container[key]

    path = tmp_path / "a-gap.toml"
    path.write_text(to_toml(changed(SOUND, place, change)))
    result = outcome_of(path)
    required = {("id",), ("title",), ("flows",), ("when",), ("raises",), ("fix",), ("links",), ("workaround", "text")}
    if place in required:
        assert isinstance(result, GapFileError)


@CHECK
@given(data=st.data())
def test_any_bytes_put_in_or_taken_out(tmp_path: Path, data: st.DataObject) -> None:
    content = to_toml(SOUND).encode()
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, min(start + 30, len(content))))
    path = tmp_path / "a-gap.toml"
    path.write_bytes(content[:start] + data.draw(st.binary(max_size=6)) + content[end:])
    outcome_of(path)


@CHECK
@given(order=st.permutations(list(SOUND)), comments=st.lists(st.sampled_from(["", "# why\n", "\n", "# a\n\n# b\n"])))
def test_formatting_keeps_what_a_file_says_and_is_done_at_once(order: list[str], comments: list[str]) -> None:
    path = Path("a-gap.toml")
    lines = [to_toml({key: SOUND[key]}) for key in order]
    text = "".join(comment + line for comment, line in zip([*comments, *[""] * len(lines)], lines, strict=False))
    result = formatted(path, text)
    assert tomllib.loads(result) == tomllib.loads(text)
    assert formatted(path, result) == result
    assert sorted(line for line in result.splitlines() if line.startswith("#")) == sorted(
        line for line in text.splitlines() if line.startswith("#")
    )


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.stem)
def test_formatting_a_broken_file_keeps_what_it_says_or_refuses_it(path: Path) -> None:
    try:
        text = read_text(path)
        result = formatted(path, text)
    except GapFileError as error:
        assert error.problem.startswith(("not TOML: ", "not readable: "))
    else:
        assert tomllib.loads(result) == tomllib.loads(text)
