from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

from pytest_raycompat.flows.parity import (
    assert_same_answers,
    assert_same_texts,
    assert_same_tokens,
    common_start,
    largest_difference,
)


def test_the_candidate_that_differs_most_counts() -> None:
    ours = [{"logprobs": [{"1": -0.5, "2": -1.0}, {"3": -2.0}]}, {"logprobs": [{"4": -1.0}]}]
    theirs = [{"logprobs": [{"1": -0.5, "2": -1.25}, {"3": -2.0}]}, {"logprobs": [{"4": -1.125}]}]
    assert largest_difference(ours, theirs) == 0.25


def test_a_candidate_that_one_does_not_name_is_left_out() -> None:
    assert largest_difference([{"logprobs": [{"1": -0.5, "2": -9.0}]}], [{"logprobs": [{"1": -0.5, "3": -9.0}]}]) == 0


@pytest.mark.parametrize("place", [0, 1, 2])
def test_what_is_no_number_differs_most(place: int) -> None:
    ours = [{"logprobs": [{str(token): -1.0} for token in range(3)]}]
    theirs = [{"logprobs": [{str(token): float("nan") if token == place else -2.0} for token in range(3)]}]
    assert math.isnan(largest_difference(ours, theirs))


def test_completions_of_another_number_are_not_compared() -> None:
    with pytest.raises(ValueError):
        largest_difference([{"logprobs": []}], [])


def test_completions_are_compared_up_to_where_they_part() -> None:
    ours = {"token_ids": [1, 2, 3, 4], "logprobs": [{"1": -1.0}, {"2": -1.0}, {"3": -1.0, "9": -1.1}, {"4": -1.0}]}
    theirs = {"token_ids": [1, 2, 9, 9], "logprobs": [{"1": -1.0}, {"2": -1.0}, {"9": -1.0, "3": -1.1}, {"4": -9.0}]}
    short, other = common_start(ours, theirs)
    assert (short["token_ids"], other["token_ids"]) == ([1, 2, 3], [1, 2, 9])
    assert largest_difference([short], [other]) == pytest.approx(0.1)
    assert common_start(ours, ours) == (ours, ours)


def test_where_tokens_part_is_said_for_each_completion() -> None:
    ours = [{"token_ids": [1, 2]}, {"token_ids": [3, 4, 5]}, {"token_ids": [6]}]
    theirs = [{"token_ids": [1, 2]}, {"token_ids": [3, 9, 5]}, {"token_ids": [6, 7]}]
    assert_same_tokens(ours, ours)
    with pytest.raises(AssertionError) as raised:
        assert_same_tokens(ours, theirs)
    assert str(raised.value) == (
        "completion 2 of 3: token 2 of 3 is 4, the control's is 9; "
        "completion 3 of 3: token 2 of 1 is none, the control's is 7"
    )
    with pytest.raises(AssertionError, match=r"^2 completions, the control has 3$"):
        assert_same_tokens(ours[:2], theirs)


def test_texts_that_differ_are_said() -> None:
    ours, theirs = [{"text": "a"}, {"text": "b"}], [{"text": "a"}, {"text": "c"}]
    assert_same_texts(ours, ours)
    with pytest.raises(AssertionError) as raised:
        assert_same_texts(ours, theirs)
    assert str(raised.value) == "completion 2 of 2: its text is 'b', the control's is 'c'"


def test_answers_are_tokens_first_and_then_logprobs() -> None:
    def answers(token: int, logprob: float) -> SimpleNamespace:
        return SimpleNamespace(
            outputs={"completions": [{"token_ids": [token], "logprobs": [{str(token): logprob, "9": -3.0}]}]},
            device="cuda",
        )

    assert_same_answers(answers(1, -0.5), answers(1, -0.51))
    with pytest.raises(AssertionError) as raised:
        assert_same_answers(answers(1, -0.5), answers(1, -0.625))
    assert str(raised.value) == "log-probabilities differ by 0.125 from the control's; allowed is 0.02"
    with pytest.raises(AssertionError, match=r"^log-probabilities differ by nan "):
        assert_same_answers(answers(1, float("nan")), answers(1, -0.5))
    with pytest.raises(AssertionError, match=r"^completion 1 of 1: token 1 of 1 is 1, the control's is 2$"):
        assert_same_answers(answers(1, -0.5), answers(2, -0.9))
