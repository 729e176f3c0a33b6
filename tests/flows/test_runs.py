from __future__ import annotations

import contextlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pytest_raycompat.flows.described import PLAIN, Described, Setting
from pytest_raycompat.flows.registry import FLOWS
from pytest_raycompat.flows.runs import FlowRuns
from pytest_raycompat.markers import Asked


@pytest.mark.parametrize(
    ("device", "nodes", "late", "owned", "disabled"),
    [
        ("cuda", 1, 0, True, False),
        ("cuda", 2, 0, True, True),
        ("cuda", 1, 1, True, True),
        ("cuda", 2, 0, False, None),
        ("cpu", 2, 0, True, None),
    ],
    ids=["one-node", "two-nodes", "one-is-late", "attached", "cpu"],
)
def test_where_ranks_cannot_reach_each_other_s_gpus(
    device: str, nodes: int, late: int, owned: bool, disabled: bool | None
) -> None:
    session: Any = SimpleNamespace(tiny_model=Path("model"), device=device, shared_folder=None, makes_way=lambda: True)
    cluster: Any = SimpleNamespace(nodes=[None] * nodes, late=late, owned=owned)
    runs = FlowRuns(session, cast("Any", None), lambda result: None)
    assert runs._extra(FLOWS["generate"], cluster).get("disable_custom_all_reduce") is disabled


def test_a_cluster_is_not_trusted_after_what_was_not_the_flow_s_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    distrusted: list[Any] = []
    clusters: Any = SimpleNamespace(distrust=distrusted.append)
    session: Any = SimpleNamespace(shared_folder=None, makes_way=lambda: True, clusters=clusters)
    runs = FlowRuns(session, cast("Any", None), lambda result: None)
    cluster: Any = SimpleNamespace(real_gpus=())
    places: Any = SimpleNamespace(
        machine=lambda flow, on_ray: contextlib.nullcontext(), cluster=lambda *words, **more: cluster
    )
    monkeypatch.setattr(runs, "_places", places)
    monkeypatch.setattr(runs, "_beside", SimpleNamespace())

    def timed_out(*words: Any) -> None:
        raise TimeoutError("pytest-timeout")

    monkeypatch.setattr(runs, "_run_once", timed_out)
    with pytest.raises(TimeoutError):
        runs._run_in_its_place(FLOWS["generate"], {}, None, PLAIN, on_ray=True)
    assert distrusted == [cluster]


@pytest.mark.parametrize(("first", "second", "same"), [(False, False, True), (True, True, True), (False, True, False)])
def test_what_ran_beside_others_is_not_what_ran_alone(first: bool, second: bool, same: bool) -> None:
    keys = [Described(FLOWS["generate"], {}, Setting(asked=Asked(alone=alone))).key for alone in (first, second)]
    assert (keys[0] == keys[1]) is same
