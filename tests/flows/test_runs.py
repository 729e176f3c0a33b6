from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pytest_raycompat.flows.registry import FLOWS
from pytest_raycompat.flows.runs import FlowRuns


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
