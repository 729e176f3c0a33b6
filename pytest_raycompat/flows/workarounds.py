"""How the workaround of a gap is applied to a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pytest_raycompat.cluster.spec import Shape
from pytest_raycompat.flows.described import Setting
from pytest_raycompat.flows.engine import executor_variables

if TYPE_CHECKING:
    from pytest_raycompat.session import Session


def applying(
    session: Session, identifier: str, flow: str, parameters: Mapping[str, Any], shape: Shape | None
) -> tuple[dict[str, Any], Setting | None]:
    """Return with what a flow runs so that its gap is worked around; no setting where it does not have the gap.

    Where the variables come to choosing another executor, that one is the parameter, and a run with it serves.
    Otherwise the executor becomes vLLM's own choice, so that the variables decide.

    Raises:
        ValueError: there is no such gap, or nothing in it that can be applied.
    """
    gap = next((gap for gap in session.gaps if gap.id == identifier), None)
    if gap is None or gap.workaround is None or not gap.workaround.env:
        have = ", ".join(gap.id for gap in session.gaps if gap.workaround is not None and gap.workaround.env)
        raise ValueError(f"{identifier!r} is not a gap with variables to work around it: choose one of {have}")
    executor = gap.when.executor or parameters.get("executor")
    others = {name: value for name, value in parameters.items() if name != "executor"}
    named = {"executor": executor} | others if executor is not None else others
    plan = session.flows.plan(flow, named, shape)
    if gap not in session.judge.applicable(plan):
        return named, None
    variables = {**executor_variables(executor), **gap.workaround.env}
    chosen = next((name for name in ("ray-v2", "ray-v1", "ray-v0") if executor_variables(name) == variables), None)
    if chosen is not None:
        return {"executor": chosen} | others, Setting(shape=shape, workaround=gap.id)
    return {"executor": "ray"} | others, Setting(shape=shape, variables=variables, workaround=gap.id)
