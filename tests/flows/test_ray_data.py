from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Optional, Union

import pytest

from pytest_raycompat.flows.ray_data import NothingAnswered, pool_of
from pytest_raycompat.flows.reporting import describe_chain


@pytest.mark.parametrize(
    ("annotation", "count", "said"),
    [
        (Union[int, tuple[int, int]], 2, (2, 2)),  # noqa: UP007  # as Ray writes it
        (Union[int, tuple[int, int]], 1, 1),  # noqa: UP007
        (Optional[int], 2, 2),  # noqa: UP045
        (int, 2, 2),
    ],
)
def test_how_many_engines_are_asked_for(annotation: Any, count: int, said: object) -> None:
    assert pool_of(count, SimpleNamespace(annotation=annotation)) == said


def test_what_a_failed_row_says_is_the_root_cause() -> None:
    error = NothingAnswered("AttributeError: module 'vllm.inputs' has no attribute 'data'")
    root, last = describe_chain(error)
    assert (root["type"], root["message"]) == ("AttributeError", "module 'vllm.inputs' has no attribute 'data'")
    assert last["message"] == f"no row was answered; the first says: {root['type']}: {root['message']}"
