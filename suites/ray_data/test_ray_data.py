"""Ray Data LLM: the seed's example and vLLM's batch inference, each row once and as without Ray.

With the default Ray executor of that vLLM: Ray Data LLM says nothing of it.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from pytest_raycompat.flows.proof import WORKER_CLASSES
from pytest_raycompat.flows.ray_data import ITEMS, TOO_LONG


def answers(rows: list[dict[str, Any]]) -> dict[str, str]:
    """Return the answer to each item that has one."""
    return {row["item"]: row["answer"] for row in rows if row.get("answer")}


def assert_same_as_control(result: Any, run_flow: Any) -> None:
    """Compare the answers, in whatever order they were written, with those of one engine without Ray."""
    control = run_flow.control("ray_data").outputs["rows"]
    assert answers(result.outputs["rows"]) == answers(control)
    assert answers(control).keys() == set(ITEMS)


class TestFromItems:
    """The seed's example: chat template, one engine with tensor_parallel_size=2, Parquet; and a row that fails."""

    @pytest.fixture
    def processed(self, run_flow: Any) -> Any:
        """What makes the flow run in the test itself."""
        size = run_flow.up_to(2)
        return lambda: run_flow.with_control("ray_data")("ray_data", tensor_parallel_size=size, failing_row=True)

    def test_every_row_once(self, processed: Any) -> None:
        """What is read back from Parquet has each row that went in, once."""
        rows = processed().outputs["rows"]
        assert len(rows) == len(ITEMS) + 1
        assert {item: count for item, count in Counter(row["item"] for row in rows).items() if count > 1} == {}

    def test_same_answers_as_without_ray(self, processed: Any, run_flow: Any) -> None:
        """The answers are the control's."""
        assert_same_as_control(processed(), run_flow)

    def test_a_row_that_fails_is_reported_and_the_others_are_not_lost(self, processed: Any) -> None:
        """The row that is too long carries its error; no other does."""
        rows = processed().outputs["rows"]
        failed = [row for row in rows if row["__inference_error__"]]
        assert len(failed) == 1
        assert failed[0]["item"] in (None, TOO_LONG)
        assert "maximum" in failed[0]["__inference_error__"]

    def test_several_blocks_were_written(self, processed: Any) -> None:
        """The pipeline had several batches in hand, not one."""
        assert processed().outputs["files"] > 1


class TestFromText:
    """vLLM's batch inference example: prompts from text files, and two engines at once, with one GPU one."""

    @pytest.fixture
    def processed(self, run_flow: Any) -> Any:
        """What makes the flow run in the test itself."""
        engines = run_flow.up_to(2)
        return lambda: run_flow.with_control("ray_data")("ray_data", source="text", concurrency=engines)

    def test_every_row_once(self, processed: Any) -> None:
        """The engines share the rows: none is done twice, and none is left out."""
        rows = processed().outputs["rows"]
        assert sorted(row["item"] for row in rows) == sorted(ITEMS)

    def test_same_answers_as_without_ray(self, processed: Any, run_flow: Any) -> None:
        """The answers are the control's, whichever engine gave them."""
        assert_same_as_control(processed(), run_flow)

    @pytest.mark.gpus(2)
    def test_two_engines_were_up(self, processed: Any) -> None:
        """Ray has a worker for each engine, each with a GPU of its own."""
        evidence = processed().evidence
        workers = [actor for actor in evidence["actors"] if actor["class_name"] in WORKER_CLASSES["ray"]]
        assert len({actor["actor_id"] for actor in workers}) == 2
        assert evidence["free_gpus_before"] - evidence["free_gpus_during"] >= 2
