from __future__ import annotations

import re

import pytest
from packaging.specifiers import SpecifierSet

from pytest_raycompat.versions import parse_specifier, satisfies

OPERATORS = "==, !=, ~=, <=, >=, <, >, ==="

WRONG = {
    "2.44.1": "write '>=2.44.1', '==2.44.1' or '>=2.44.1,<3'",
    "2.35.0+corp.3": "write '>=2.35.0', '==2.35.0+corp.3' or '>=2.35.0,<3'",
    "=>2.44": f"'=>' is not one of {OPERATORS}: write '>=2.44' or '==2.44'",
    "^2.44": f"'^' is not one of {OPERATORS}: write '>=2.44' or '==2.44'",
    ">=2.44.*": "'.*' goes with '==' or '!=' and plain numbers: write '==2.44.*' or '>=2.44'",
    "2.44.*": "'.*' goes with '==' or '!=' and plain numbers: write '==2.44.*' or '>=2.44'",
    "==2.44rc1.*": "'.*' goes with '==' or '!=' and plain numbers: write '==2.44.*' or '>=2.44rc1'",
    ">=2.35.0+corp.3": "a local version goes with '==' and '!=' only: write '>=2.35.0' or '==2.35.0+corp.3'",
    "~=2": "'~=' needs two numbers or more: write '~=2.0' or '>=2'",
    "~=2.post1": "'~=' needs two numbers or more: write '~=2.0' or '>=2.post1'",
    ">=2.44 <3": "separate clauses with commas, as in '>=2.44.1,<3'",
    "latest": "write an operator and a version, such as '>=2.44.1'",
    ">=": "write an operator and a version, such as '>=2.44.1'",
    ">=2,": "remove the comma that separates nothing",
}


@pytest.mark.parametrize(
    "text", [">=2.44.1", "==2.44.1", ">=2.44.1,<3", " >= 2.44 , < 3 ", "==2.44.*", "~=2.44", "===x"]
)
def test_specifiers_are_read(text: str) -> None:
    assert parse_specifier(text) == SpecifierSet(text)


@pytest.mark.parametrize(("text", "advice"), WRONG.items())
def test_a_wrong_specifier_is_refused_with_what_would_be_right(text: str, advice: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_specifier(text)
    assert str(caught.value) == f"{text!r} is not a version specifier; {advice}"


@pytest.mark.parametrize("advice", WRONG.values())
def test_every_specifier_that_is_advised_is_one(advice: str) -> None:
    for advised in re.findall(r"'([=!~<>]{1,2}\d[^']*)'", advice):
        parse_specifier(advised)


def test_the_wrong_clause_of_several_is_named() -> None:
    with pytest.raises(ValueError) as caught:
        parse_specifier("<3,2.44.1")
    assert str(caught.value) == (
        "'2.44.1' in '<3,2.44.1' is not a version specifier; write '>=2.44.1', '==2.44.1' or '>=2.44.1,<3'"
    )


@pytest.mark.parametrize("text", ["", "  "])
def test_an_empty_specifier_is_refused(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_specifier(text)
    assert str(caught.value) == "an empty version specifier would match every version; write one such as '>=2.44.1'"


def test_what_is_not_text_is_refused() -> None:
    with pytest.raises(ValueError) as caught:
        parse_specifier(2.44)  # type: ignore[arg-type]
    assert str(caught.value) == "2.44 is not a version specifier but float; write text such as '>=2.44.1'"


@pytest.mark.parametrize(
    ("version", "specifier", "expected"),
    [
        ("2.43.0", ">=2.43", True),
        ("2.42.1", ">=2.43", False),
        ("2.50.0", ">=2.43,<2.50", False),
        # a fork is the release that it was made from
        ("2.35.0+corp.3", "==2.35.0", True),
        ("2.35.0+corp.3", "!=2.35.0", False),
        ("2.35.0+corp.3", ">2.35.0", False),
        ("2.35.0+corp.3", "<=2.35.0", True),
        ("2.35.0+corp.3", "==2.35.*", True),
        # so is a nightly or a release candidate
        ("3.0.0.dev0", ">=3.0.0", True),
        ("3.0.0.dev0", "==3.0.0", True),
        ("3.0.0.dev0", "<3", False),
        ("2.60.0rc1", ">=2.60", True),
        ("2.60.0rc1", "<2.60", False),
        ("0.33.1.dev7+g0123abc.cu129", "==0.33.1", True),
        ("0.33.0rc2.dev5+g0123abc", "~=0.33.0", True),
        # a post release stays one
        ("0.8.5.post1", ">=0.8.5.post1", True),
        ("0.8.5", ">=0.8.5.post1", False),
        ("0.8.5.post1", "==0.8.5", False),
        ("0.8.5.post1+cu121", "==0.8.5.post1", True),
        ("0.8.5.post2.dev3", "==0.8.5.post2", True),
        ("1!2.0", ">=1!2.0", True),
        ("1!2.0.post1", "==1!2.0.post1", True),
    ],
)
def test_forks_and_nightlies_count_as_their_release(version: str, specifier: str, expected: bool) -> None:
    assert satisfies(version, specifier) is expected


@pytest.mark.parametrize(
    ("version", "specifier", "expected"),
    [
        ("2.35.0+corp.3", "==2.35.0+corp.3", True),
        ("2.35.0+corp.4", "==2.35.0+corp.3", False),
        ("2.35.0+corp.3", "!=2.35.0+corp.3", False),
        ("2.35.0", "==2.35.0+corp.3", False),
        ("3.0.0.dev0", ">=3.0.0.dev0", True),
        ("3.0.0.dev0", "==3.0.0.dev1", False),
        ("3.0.0.dev0", ">=3.0.0rc1", False),
        ("3.0.0rc2", ">=3.0.0rc1", True),
        ("3.0.0", "<=3.0.0rc1", False),
        # each clause for itself: the first sees 2.35.0
        ("2.35.0+corp.3", "<=2.35.0,!=2.35.0+corp.4", True),
        ("2.35.0+corp.3", "<=2.35.0,!=2.35.0+corp.3", False),
        ("2.35.0+corp.3", "===2.35.0", False),
        ("2.35.0+corp.3", "===2.35.0+corp.3", True),
        ("2.35.0", "===x", False),
    ],
)
def test_a_clause_that_names_more_than_a_release_sees_the_full_version(
    version: str, specifier: str, expected: bool
) -> None:
    assert satisfies(version, specifier) is expected


def test_a_specifier_that_was_read_before_is_accepted() -> None:
    assert satisfies("3.0.0.dev0", parse_specifier(">=3")) is True


def test_a_wrong_specifier_is_not_taken_for_unsatisfied() -> None:
    with pytest.raises(ValueError, match=r"^'2\.44' is not a version specifier; "):
        satisfies("2.44.0", "2.44")


def test_a_version_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError) as caught:
        satisfies("2.35.0-corp-fork", ">=2")
    assert str(caught.value) == "'2.35.0-corp-fork' is not a PEP 440 version"
