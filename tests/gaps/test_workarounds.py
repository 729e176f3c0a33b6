from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pytest_raycompat.flows.described import Setting
from pytest_raycompat.flows.workarounds import applying
from pytest_raycompat.gaps import builtin_gaps
from pytest_raycompat.gaps.schema import Conditions, Gap, Workaround
from suites.workarounds.test_workarounds import CASES
from tests.gaps.making import make_gap


def session(gap: Gap, *, applies: bool = True) -> Any:
    """What of a session is asked."""
    return SimpleNamespace(
        gaps=[gap],
        flows=SimpleNamespace(plan=lambda flow, parameters, shape: (flow, parameters)),
        judge=SimpleNamespace(applicable=lambda plan: [gap] if applies else []),
    )


def gap_with(env: dict[str, str]) -> Gap:
    when = Conditions(ray="<2.43", executor="ray-v1")
    return make_gap("guard", when=when, workaround=Workaround(text="Set it.", env=env))


def test_variables_that_choose_another_executor_are_that_executor() -> None:
    gap = gap_with({"VLLM_USE_RAY_V2_EXECUTOR_BACKEND": "1"})
    assert applying(session(gap), "guard", "generate", {"tensor_parallel_size": 2}, None) == (
        {"tensor_parallel_size": 2, "executor": "ray-v2"},
        Setting(workaround="guard"),
    )


def test_other_variables_are_given_to_vllm_which_chooses() -> None:
    gap = gap_with({"VLLM_USE_RAY_V2_EXECUTOR_BACKEND": "1", "NCCL_P2P_DISABLE": "1"})
    assert applying(session(gap), "guard", "generate", {}, None) == (
        {"executor": "ray"},
        Setting(variables={"VLLM_USE_RAY_V2_EXECUTOR_BACKEND": "1", "NCCL_P2P_DISABLE": "1"}, workaround="guard"),
    )


def test_variables_add_to_those_that_choose_the_gaps_executor() -> None:
    gap = gap_with({"NCCL_P2P_DISABLE": "1"})
    assert applying(session(gap), "guard", "generate", {}, None) == (
        {"executor": "ray"},
        Setting(variables={"VLLM_USE_RAY_V2_EXECUTOR_BACKEND": "0", "NCCL_P2P_DISABLE": "1"}, workaround="guard"),
    )


def test_a_run_without_the_gap_is_not_worked_around() -> None:
    gap = gap_with({"NCCL_P2P_DISABLE": "1"})
    assert applying(session(gap, applies=False), "guard", "generate", {}, None) == ({"executor": "ray-v1"}, None)


def test_a_gap_without_variables() -> None:
    message = "'guard' is not a gap with variables to work around it: choose one of $"
    with pytest.raises(ValueError, match=message):
        applying(session(make_gap("guard")), "guard", "generate", {}, None)


def test_with_a_workaround_that_changes_nothing_else_a_run_is_the_same_one() -> None:
    assert Setting(workaround="guard").of_run(on_ray=True) == Setting().of_run(on_ray=True) == ""
    assert Setting(workaround="guard").written(on_ray=True) == "workaround"


def test_every_workaround_with_variables_is_tried_by_the_suites() -> None:
    recorded = {gap.id: gap for gap in builtin_gaps() if gap.workaround is not None and gap.workaround.env}
    assert CASES.keys() == recorded.keys()
    assert {name: flow for name, (flow, _) in CASES.items() if flow not in recorded[name].flows} == {}
