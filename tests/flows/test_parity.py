from __future__ import annotations

import pytest

from pytest_raycompat.flows.parity import largest_difference


def test_the_candidate_that_differs_most_counts() -> None:
    ours = [{"logprobs": [{"1": -0.5, "2": -1.0}, {"3": -2.0}]}, {"logprobs": [{"4": -1.0}]}]
    theirs = [{"logprobs": [{"1": -0.5, "2": -1.25}, {"3": -2.0}]}, {"logprobs": [{"4": -1.125}]}]
    assert largest_difference(ours, theirs) == 0.25


def test_a_candidate_that_one_does_not_name_is_left_out() -> None:
    assert largest_difference([{"logprobs": [{"1": -0.5, "2": -9.0}]}], [{"logprobs": [{"1": -0.5, "3": -9.0}]}]) == 0


def test_completions_of_another_number_are_not_compared() -> None:
    with pytest.raises(ValueError):
        largest_difference([{"logprobs": []}], [])
