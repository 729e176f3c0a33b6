from __future__ import annotations

import pytest

from pytest_raycompat.distribution import first_of, shortest_of


@pytest.mark.parametrize(
    ("seconds", "first"),
    [
        ({}, "a"),
        ({"a1": 10.0, "a2": 1.0, "b1": 30.0, "c1": 20.0}, "b"),
        ({"a1": 10.0, "a2": 25.0, "b1": 30.0, "c1": 20.0}, "a"),
        ({"a1": 10.0, "c1": 2.0}, "b"),
        ({"a1": 1.0, "b1": 2.0, "c1": 20.0}, "c"),
        ({"somebody else's": 20.0}, "a"),
        ({"a1": 0.0, "b1": 0.0, "c1": 0.0}, "a"),
    ],
)
def test_what_took_longest_is_first(seconds: dict[str, float], first: str) -> None:
    assert first_of({"a": ["a1", "a2"], "b": ["b1"], "c": ["c1"]}, seconds, {}) == first


@pytest.mark.parametrize(
    ("seconds", "first"),
    [({}, "b"), ({"a1": 90.0, "b1": 1.0, "c1": 2.0}, "c"), ({"a1": 90.0, "c1": 2.0}, "b")],
)
def test_what_needs_gpus_alone_is_before_all_others(seconds: dict[str, float], first: str) -> None:
    assert first_of({"a": ["a1"], "b": ["b1", "b2"], "c": ["c1"]}, seconds, {"b2": 2, "c1": 2}) == first


@pytest.mark.parametrize(
    ("priorities", "first"),
    [({"a1": -1}, "b"), ({"c1": 1}, "c"), ({"c1": 1, "b1": 2}, "b")],
)
def test_what_needs_all_gpus_waits_for_what_has_some_alone(priorities: dict[str, int], first: str) -> None:
    seconds = {"a1": 90.0, "b1": 2.0, "c1": 1.0}
    assert first_of({"a": ["a1"], "b": ["b1"], "c": ["c1"]}, seconds, priorities) == first


def test_what_is_to_come_later_comes_where_there_is_nothing_else() -> None:
    assert first_of({"a": ["a1"]}, {}, {"a1": -1}) == "a"


@pytest.mark.parametrize(
    ("seconds", "found"),
    [
        ({}, "a"),
        ({"a1": 0.9, "b1": 0.2}, "b"),
        ({"a1": 0.9, "a2": 0.2, "b1": 1.2, "c1": 1.0}, "c"),
        ({"c1": 90.0}, "c"),
        ({"a1": 2.0, "b1": 2.0, "c1": 2.0}, "a"),
    ],
)
def test_what_is_over_first(seconds: dict[str, float], found: str) -> None:
    assert shortest_of({"a": ["a1", "a2"], "b": ["b1"], "c": ["c1"]}, seconds) == found
