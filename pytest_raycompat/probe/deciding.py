"""Decides tests that are about the pair: versions, what is there, and variables with their defaults."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from packaging.version import InvalidVersion, Version

from pytest_raycompat.probe.findings import Finding, Place
from pytest_raycompat.probe.obstacles import Obstacle
from pytest_raycompat.probe.outline import (
    Both,
    Exists,
    Has,
    Known,
    Not,
    Present,
    Setting,
    Test,
    Unclear,
    VersionTest,
)
from pytest_raycompat.probe.resolving import Defined, InModule, Lost, Missing, Unknown, World

_OPERATORS: Mapping[str, Callable[[Version, Version], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
_FALSE = frozenset({"", "0", "false", "False", "None"})


@dataclass(frozen=True)
class Decision:
    """The result of a test, and what of the pair it rests on; None where it is not about the pair."""

    value: bool
    cause: Finding | None = None


class Decider:
    """Knows the pair and the variables of a flow."""

    def __init__(self, world: World, settings: Mapping[str, str]) -> None:
        self.causes: dict[str, Obstacle] = {}
        """Why a name is lost."""
        self._world = world
        self._settings = settings

    def decide(self, test: Test) -> Decision | None:
        """Return the result of a test; None where the sources do not tell it."""
        match test:
            case Known(value=value):
                return Decision(value)
            case Unclear():
                return None
            case Not(test=inner):
                decision = self.decide(inner)
                return None if decision is None else Decision(not decision.value, decision.cause)
            case Both():
                return self._several(test)
            case VersionTest():
                return self._version(test)
            case Has(chain=chain, name=name):
                return self._presence(f"{chain}.{name}", "has")
            case Exists(module=module):
                return self._existence(module)
            case Present(chain=chain):
                return self._presence(chain, "is not None")
            case Setting():
                return self._setting(test)

    def filled(self, message: str) -> str:
        """Fill the versions of the pair into a message."""
        for name, subject in self._world.subjects.items():
            message = message.replace(f"{{{name}}}", subject.version or "…")
        return message

    def _several(self, test: Both) -> Decision | None:
        decisions = [self.decide(one) for one in test.tests]
        for one in decisions:
            if one is not None and one.value == test.any:  # one is enough
                return one
        if None in decisions:
            return None
        return next((one for one in decisions if one is not None and one.cause), Decision(not test.any))

    def _version(self, test: VersionTest) -> Decision | None:
        subject = self._world.subjects.get(test.package)
        if subject is None or subject.version is None:
            return None
        try:
            value = _OPERATORS[test.operator](Version(subject.version), Version(test.version))
        except InvalidVersion:
            return None
        message = f"the code compares {subject.label} with {test.version}"
        return Decision(value, self._cause(f"{test.package}{test.operator}{test.version}", test.package, message))

    def _existence(self, module: str) -> Decision | None:
        package = module.partition(".")[0]
        subject = self._world.subjects.get(package)
        if subject is None:
            return None
        there = subject.has(module)
        return Decision(there, None if there else self._cause(module, package, f"No module named {module!r}"))

    def _presence(self, chain: str, asked: Literal["has", "is not None"]) -> Decision | None:
        thing = self._world.resolve(chain)
        match thing:
            case Lost(name=name):
                return Decision(False, self.causes[name].finding)
            case Missing(chain=missing, message=message):
                return Decision(False, self._cause(missing, missing.partition(".")[0], message))
            case InModule():
                return Decision(True)
            case Defined(definition=definition) if definition.kind in ("class", "function") or asked == "has":
                return Decision(True)
            case Unknown(there=True) if asked == "has":
                return Decision(True)
        return None

    def _setting(self, test: Setting) -> Decision | None:
        vllm = self._world.subjects.get("vllm")
        source = vllm.module("vllm.envs") if vllm is not None and vllm.has("vllm.envs") else None
        if source is None or test.name not in source.settings:
            return None
        value = self._settings.get(test.name, source.settings[test.name])
        if value is None:
            return None
        if not test.operator:
            return Decision(value not in _FALSE)
        return Decision((value == test.value) == (test.operator == "=="))

    def _cause(self, missing: str, package: str, message: str) -> Finding:
        subject = self._world.subjects[package]
        return Finding(
            status="breaks",
            missing=missing,
            subject=subject.label,
            package=package,
            exception="",
            message=message,
            used=Place("", 0),
        )
