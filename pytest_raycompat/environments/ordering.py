"""From a pair to the environment that it needs."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field

from pytest_raycompat.environments import recipe, sources
from pytest_raycompat.environments.building import Order
from pytest_raycompat.environments.candidates import Candidate


@dataclass(frozen=True)
class Pair:
    """A Ray and a vLLM to try together, on a device."""

    ray: Candidate
    vllm: Candidate
    device: str

    @property
    def name(self) -> str:
        """Name it so that it can be a file's name: ``ray-2.35.0-vllm-0.32.0-cpu``."""
        written = f"ray-{self.ray.label}-vllm-{self.vllm.label}-{self.device}"
        return re.sub(r"[^A-Za-z0-9.+@_-]+", "-", written)

    def __str__(self) -> str:
        return f"{self.ray}, {self.vllm}"


@dataclass(frozen=True)
class Orders:
    """Writes orders.

    ``python`` is a version or the path of an interpreter. ``settings`` are variables of uv, by which it looks where pip
    does.
    """

    python: str
    settings: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, python: str, device: str) -> Orders:
        """Read how pip is set up."""
        return cls(python, sources.uv_variables(device, os.environ))

    def write(self, pair: Pair, exclude_newer: str | None) -> Order:
        """Write the order of an environment for a pair."""
        needs = recipe.needs(pair.device, pair.ray.version, pair.vllm.version or (None if pair.vllm.is_none else "0"))
        wanted = [one.requirement for one in (pair.ray, pair.vllm) if not one.is_none]
        return Order(
            name=pair.name,
            python=self.python,
            requirements=(*wanted, *needs.require),
            override=needs.override,
            exclude_newer=exclude_newer,
            undated=tuple(recipe.facts()["dating"]["undated"]) if exclude_newer else (),
            variables=self.settings,
            room_gib=recipe.room_gib(pair.device, not pair.vllm.is_none),
        )
