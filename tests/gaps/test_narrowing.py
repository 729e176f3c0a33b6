from __future__ import annotations

from pathlib import Path

import pytest

from pytest_raycompat.gaps import Conditions, Pair
from pytest_raycompat.gaps.narrowing import Narrowing, narrow, narrowed
from pytest_raycompat.gaps.wording import what_to_write
from pytest_raycompat.records import Environment
from pytest_raycompat.versions import satisfies
from tests.gaps.making import make_gap


def environment(ray: str | None, vllm: str | None = "0.32.0") -> Environment:
    return Environment(executable="/usr/bin/python3", python="3.11.7", platform="Linux", ray=ray, vllm=vllm)


@pytest.mark.parametrize(
    ("specifier", "version", "shown", "expected"),
    [
        ("<2.43", "2.41.0", [], "<2.41.0"),
        ("<=2.43", "2.43.0", [], "<2.43.0"),
        (">=2.9,<2.43", "2.41.0", ["2.35.0"], ">=2.9,<2.41.0"),
        (">=0.8.5", "0.33.0", ["0.32.0"], ">=0.8.5,<0.33.0"),
        (None, "0.33.0", [], "<0.33.0"),
        # it was shown on newer ones, so it is over for older ones alone
        (">=2.35,<2.43", "2.36.0", ["2.42.0"], "<2.43,>2.36.0"),
        (">=2.35", "2.35.0", [], ">2.35.0"),
        # it was shown on both sides
        ("<2.43", "2.36.0", ["2.35.0", "2.42.0"], "<2.43,!=2.36.0"),
        ("==2.35.*", "2.35.1", ["2.35.0"], "==2.35.*,<2.35.1"),
        ("==2.35.*", "2.35.0", [], "==2.35.*,>2.35.0"),
        # a fork says nothing about the release that it is made from
        ("<2.43", "2.35.0+corp.3", ["2.35.0"], "<2.43,!=2.35.0+corp.3"),
        ("<2.43", "2.35.0+corp.3", [], "<2.43,!=2.35.0+corp.3"),
        (">=0.8.5", "0.33.1.dev7", [], ">=0.8.5,<0.33.1.dev7"),
        (">=0.8", "0.8.5.post1", ["0.8.4"], ">=0.8,<0.8.5.post1"),
        ("==2.35.0", "2.35.0", [], None),
        ("==2.46.0+corp.1", "2.46.0+corp.1", [], None),
    ],
)
def test_a_specifier_is_narrowed(specifier: str | None, version: str, shown: list[str], expected: str | None) -> None:
    result = narrowed(specifier, version, shown)
    assert result == expected
    if result is not None:
        assert not satisfies(version, result)
        assert all(satisfies(one, result) for one in shown)


OLD_PAIR = Pair(ray="2.35.0", vllm="0.32.0")


def test_what_is_new_in_the_pair_is_narrowed() -> None:
    gap = make_gap(when=Conditions(ray="<2.43", vllm=">=0.8.5"), verified=(OLD_PAIR,))
    assert narrow(gap, environment("2.41.0")) == Narrowing("ray", "<2.43", "<2.41.0")
    assert narrow(gap, environment("2.35.0", "0.33.0")) == Narrowing("vllm", ">=0.8.5", ">=0.8.5,<0.33.0")


def test_where_both_are_new_the_one_that_fixes_it_is_narrowed() -> None:
    when = Conditions(ray="<2.43", vllm=">=0.8.5")
    by_ray, by_vllm = (make_gap(when=when, fix=fix) for fix in ("ray", "vllm"))
    assert narrow(by_ray, environment("2.41.0", "0.33.0")) == Narrowing("ray", "<2.43", "<2.41.0")
    assert narrow(by_vllm, environment("2.41.0", "0.33.0")) == Narrowing("vllm", ">=0.8.5", ">=0.8.5,<0.33.0")


def test_where_nothing_is_left_of_one_the_other_is_narrowed() -> None:
    gap = make_gap(when=Conditions(ray="==2.35.0"), fix="ray")
    assert narrow(gap, environment("2.35.0")) == Narrowing("vllm", None, "<0.32.0")


def test_a_gap_without_a_condition_on_ray_is_narrowed_by_vllm() -> None:
    gap = make_gap(when=Conditions(vllm=">=0.8.5"), fix="never")
    assert narrow(gap, environment("2.60.0")) == Narrowing("vllm", ">=0.8.5", ">=0.8.5,<0.32.0")


def test_a_pair_on_which_it_was_shown_is_not_narrowed_away() -> None:
    gap = make_gap(verified=(OLD_PAIR,))
    assert narrow(gap, environment("2.35.0")) is None
    assert what_to_write(gap, environment("2.35.0")) == (
        "it was shown on this very pair: see what else has changed, then remove the pair from `verified` in "
        "gaps/some-gap.toml:1, or write intermittent = true if it comes and goes"
    )


def test_the_line_to_change_is_named(tmp_path: Path) -> None:
    path = tmp_path / "some-gap.toml"
    path.write_text('id = "some-gap"\n[when]\n# as released\nray = "<2.43"\n')
    gap = make_gap(path=path, verified=(OLD_PAIR,))
    assert what_to_write(gap, environment("2.41.0")) == (
        f'write ray = "<2.41.0" in {path}:4 (now ray = "<2.43"), or remove the file'
    )
    assert what_to_write(gap, environment("2.35.0", "0.33.0")) == (
        f'write vllm = "<0.33.0" in {path}:2 (there is none now), or remove the file'
    )


def test_what_is_lacking_is_not_needed_any_more() -> None:
    gap = make_gap(when=Conditions(ray="<2.39", lacks=("ray.a", "ray.b")), verified=(OLD_PAIR,))
    assert what_to_write(gap, environment("2.35.0", "0.33.0")) == (
        'write vllm = "<0.33.0" in gaps/some-gap.toml:1 (there is none now), or remove the file\n'
        "this Ray lacks ray.a or ray.b (`lacks`), and the flow does not need it any more"
    )


def test_where_nothing_is_left_the_file_goes() -> None:
    gap = make_gap(when=Conditions(ray="==2.35.0"))
    assert what_to_write(gap, environment("2.35.0", None)) == (
        "no version would be left: remove the file gaps/some-gap.toml:1"
    )
