from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pytest_raycompat.bisection.search import Change, Search, changes, stretches


def run(history: list[str], confirm: int = 0) -> tuple[Search, list[int]]:
    search = Search(len(history), confirm)
    asked = []
    while (place := search.next()) is not None:
        assert place not in search.judged, "it asks for what it knows"
        asked.append(place)
        search.add(place, history[place])
    return search, asked


@st.composite
def monotone(draw: st.DrawFn) -> tuple[list[str], int]:
    """A history that changes once, with versions that cannot be judged, and the place of its first newer version."""
    older: str = draw(st.sampled_from(["good", "bad"]))
    newer: str = "bad" if older == "good" else "good"
    history: list[str] = [
        *([older] * draw(st.integers(1, 30))),
        *([newer] * draw(st.integers(1, 30))),
    ]
    boundary = history.index(newer)
    for place in draw(st.sets(st.integers(1, len(history) - 2))) if len(history) > 2 else ():
        history[place] = "skip"
    return history, boundary


@given(monotone(), st.integers(0, 5))
def test_the_change_of_a_history_that_changes_once_is_found(made: tuple[list[str], int], confirm: int) -> None:
    history, boundary = made
    search, asked = run(history, confirm)
    (change,) = changes(search.judged)
    assert change.older < boundary <= change.newer
    assert set(history[change.older + 1 : change.newer]) <= {"skip"}
    assert change.unjudged == tuple(range(change.older + 1, change.newer))
    assert history[change.older] != history[change.newer]
    assert len(asked) == len(set(asked))


@given(st.integers(2, 500), st.data())
def test_it_takes_no_more_steps_than_halving_does(count: int, data: st.DataObject) -> None:
    boundary = data.draw(st.integers(1, count - 1))
    history: list[str] = ["bad" if place < boundary else "good" for place in range(count)]
    _, asked = run(history)
    assert len(asked) <= 2 + (count - 1).bit_length()


@given(st.lists(st.sampled_from(["good", "bad (a)", "bad (b)", "skip"]), min_size=2, max_size=40))
def test_every_change_is_found_where_all_is_confirmed(history: list[str]) -> None:
    search, _ = run(history, confirm=len(history))
    if search.hopeless:
        assert history[0] == history[-1] or "skip" in (history[0], history[-1])
        return
    known = dict(enumerate(history))
    assert changes(search.judged) == changes(known)
    assert [judgement for judgement, _, _ in stretches(search.judged)] == [one for one, _, _ in stretches(known)]


@given(st.lists(st.sampled_from(["good", "bad (a)", "bad (b)", "skip"]), min_size=3, max_size=40), st.integers(0, 40))
def test_what_it_says_is_true_of_what_it_saw(history: list[str], confirm: int) -> None:
    search, _ = run(history, confirm)
    for change in changes(search.judged):
        if not search.hopeless:
            assert all(history[place] == "skip" for place in change.unjudged)
        assert history[change.older] != history[change.newer]


@given(monotone(), st.integers(0, 60))
def test_to_go_on_after_an_interrupt_asks_only_for_what_is_not_known(
    made: tuple[list[str], int], interrupted: int
) -> None:
    history, _ = made
    whole, asked = run(history, 2)
    answered: list[int] = []
    search = Search(len(history), 2)
    while (place := search.next()) is not None:  # what was judged before is answered from what is kept
        answered.append(place)
        search.add(place, history[place])
    assert answered[:interrupted] == asked[:interrupted]
    assert search.judged == whole.judged


def test_a_release_that_is_not_as_its_neighbours_are_is_seen() -> None:
    history: list[str] = ["bad" if place in (0, 1, 2, 3, 8) else "good" for place in range(12)]
    search, _ = run(history, confirm=0)
    assert len(changes(search.judged)) == 1
    search, _ = run(history, confirm=12)
    assert changes(search.judged) == [Change(3, 4), Change(7, 8), Change(8, 9)]
    assert stretches(search.judged) == [("bad", 0, 3), ("good", 4, 7), ("bad", 8, 8), ("good", 9, 11)]


def test_what_is_left_is_told() -> None:
    search = Search(9)
    search.add(0, "bad")
    search.add(8, "good")
    assert search.left == 7
    assert search.next() == 4
    search.add(4, "skip")
    assert search.left == 6
    assert search.next() == 3
    search.add(3, "bad")
    assert (search.left, search.next()) == (3, 5)
