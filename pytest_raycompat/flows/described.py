"""What tells one run of a flow from another: its parameters, and how it is run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from pytest_raycompat.cluster.spec import Shape
from pytest_raycompat.flows import proof
from pytest_raycompat.flows.registry import Flow, find_flow
from pytest_raycompat.markers import NOTHING_ASKED, Asked
from pytest_raycompat.report.terminal import write_parameters


@dataclass(frozen=True)
class Setting:
    """How a flow is run, beyond its parameters.

    Args:
        shape: the nodes that it needs; by default it runs on the run's own cluster.
        variables: environment variables of its process, beside those that every flow has.
        workaround: id of the gap whose workaround these are.
        deadline_s: when it is ended, in seconds; by default as the settings say.
        asked: what each of its GPUs must have.
    """

    shape: Shape | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    workaround: str | None = None
    deadline_s: float | None = None
    asked: Asked = NOTHING_ASKED

    def of_run(self, *, on_ray: bool) -> str:
        """Write what of it makes a run another one than with other settings: ``nodes=0+1+1 VARIABLE=value``."""
        words = [f"{name}={value}" for name, value in sorted(self.variables.items())]
        if self.shape is not None and on_ray:
            words.insert(0, f"nodes={self.shape.written.removeprefix('local:')}")
        return " ".join(words)

    def written(self, *, on_ray: bool) -> str:
        """Write it for people, who want to know too that a run is one with a workaround."""
        words = (self.of_run(on_ray=on_ray), "workaround" if self.workaround is not None else "")
        return " ".join(filter(None, words))


PLAIN = Setting()
Request: TypeAlias = tuple[str, Mapping[str, Any], Setting]
"""The name of a flow, its parameters, and how it is to be run."""
ENGINE_SIZES = ("tensor_parallel_size", "pipeline_parallel_size")


@dataclass(frozen=True)
class Described:
    """One run of a flow: with which parameters, its executor among them, and how."""

    flow: Flow
    parameters: Mapping[str, Any]
    setting: Setting

    @property
    def on_ray(self) -> bool:
        """Whether it runs on Ray."""
        return self.flow.on_ray(self.parameters)

    @property
    def title(self) -> str:
        """What it is called while it runs."""
        written = self.setting.written(on_ray=self.on_ray)
        return " ".join(filter(None, [self.flow.name, write_parameters(self.parameters), written]))

    @property
    def key(self) -> str:
        """Tells it from other runs."""
        alone = " alone" if self.setting.asked.alone else ""  # what was measured beside others will not do then
        return f"{self.flow.name} {sorted(self.parameters.items())} {self.setting.of_run(on_ray=self.on_ray)}{alone}"


def control_of(name: str, parameters: Mapping[str, Any], setting: Setting) -> Request:
    """Say what is the same work without Ray: with vLLM's ``mp`` executor, or ``uni`` for one rank."""
    control = find_flow(name).control
    if control is not None:
        name, parameters = control, {key: value for key, value in parameters.items() if key in ENGINE_SIZES}
    executor = "mp" if proof.ranks(parameters) > 1 else "uni"
    return name, {**parameters, "executor": executor}, Setting(deadline_s=setting.deadline_s, asked=setting.asked)
