"""Looks chains up in the definitions of Ray and vLLM."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from pytest_raycompat.probe.definitions import Definition
from pytest_raycompat.probe.subjects import Subject

_DEPTH = 24
"""How many re-exports in a row are followed."""
_OF_EVERY_MODULE = frozenset({"__name__", "__file__", "__path__", "__doc__", "__version__", "__spec__", "__dict__"})
_OF_EVERY_CLASS = frozenset(dir(type)) | frozenset(dir(object))
BARE_BASES = frozenset({"object", "abc.ABC", "ABC", "typing.Generic", "typing.Protocol", "Generic", "Protocol"})
"""Bases that bring no names that a user would ask for."""
TRANSPARENT = frozenset({"PublicAPI", "DeveloperAPI", "Deprecated", "staticmethod", "classmethod", "abstractmethod"})
"""Decorators that give back what they decorate, with its signature (ray/util/annotations.py, 2.60.0)."""


@dataclass(frozen=True)
class InModule:
    """A module."""

    subject: Subject
    name: str


@dataclass(frozen=True)
class Defined:
    """A class, a function or a value of a module or of a class."""

    subject: Subject
    module: str
    name: str
    """Qualified, below the module."""
    definition: Definition
    bound: bool = False
    """Whether it was looked up on an instance."""


@dataclass(frozen=True)
class Instance:
    """An instance of a class."""

    of: Defined


@dataclass(frozen=True)
class Missing:
    """It is not there; what Python would raise."""

    chain: str
    exception: str
    message: str
    subject: Subject


@dataclass(frozen=True)
class Unknown:
    """The sources do not tell what it is."""

    why: str
    there: bool = False
    """Whether it exists, whatever it is."""


@dataclass(frozen=True)
class Lost:
    """A module set the name to None, because of what is the key of :attr:`World.lost`."""

    name: str


Thing: TypeAlias = InModule | Defined | Instance | Missing | Unknown | Lost


class World:
    """The packages of one pair, and the program that uses them."""

    def __init__(self, subjects: Mapping[str, Subject]) -> None:
        self.subjects = subjects
        self.lost: set[str] = set()
        """Chains of names that a module has set to None."""
        self._root: str | None = None
        self._crossings = 0
        """How often a chain went on in another package: what did not is known of the package alone."""

    def resolve(self, chain: str, depth: int = 0) -> Thing:
        """Look a chain up."""
        root = chain.partition(".")[0].removesuffix("()")
        subject = self.subjects.get(root)
        if subject is None:
            self._crossings += 1  # it may be looked into in another world
            return Unknown(f"{root} is not looked into")
        if depth > _DEPTH:
            return Unknown("too many re-exports")
        if self.lost:  # what is lost, a chain goes through
            return self._resolved(chain, depth)
        outer = self._root
        if outer is not None and outer != root:
            self._crossings += 1
        known: Thing | None = subject.resolved.get(chain)
        if known is not None:
            return known
        before = self._crossings
        self._root = root
        try:
            thing = self._resolved(chain, depth)
        finally:
            self._root = outer
        if self._crossings == before:
            subject.resolved[chain] = thing
        return thing

    def _resolved(self, chain: str, depth: int) -> Thing:
        segments = chain.replace("()", ".()").split(".")
        thing: Thing = InModule(self.subjects[segments[0]], segments[0])
        for segment in segments[1:]:
            thing = self.called(thing, depth) if segment == "()" else self.attribute(thing, segment, depth)
            if isinstance(thing, Missing | Unknown | Lost):
                return thing
        return thing

    def attribute(self, thing: Thing, name: str, depth: int = 0) -> Thing:
        """Look a name up in what another one stands for."""
        match thing:
            case InModule():
                return self._of_module(thing, name, depth)
            case Defined(definition=definition) if definition.kind == "class":
                return self._of_class(thing, name, depth, bound=False)
            case Instance(of=of):
                return self._of_class(of, name, depth, bound=True)
            case Defined(definition=definition) if definition.kind == "value":
                held = self._instance_of(definition.target, thing, depth)
                return self.attribute(held, name, depth) if isinstance(held, Instance) else Unknown("a value")
            case Defined():
                return Unknown("an attribute of a function")
        return thing

    def called(self, thing: Thing, depth: int = 0) -> Thing:
        """Tell what a call returns."""
        match thing:
            case Defined(definition=definition) if definition.kind == "class":
                return Instance(thing)
            case Defined(subject=subject, module=module, name=name, definition=definition):
                outline = subject.outline(module)
                function = None if outline is None else outline.functions.get(name)
                if function is not None and function.returns is not None:
                    return self.resolve(function.returns, depth + 1)
                if definition.kind == "function" and plain(definition):
                    return self._instance_of(definition.target, thing, depth)
                return Unknown("what it returns is not annotated")
            case InModule() | Instance():
                return Unknown("what a call returns")
        return thing

    def _instance_of(self, target: str, near: Defined, depth: int) -> Thing:
        """Return an instance of the class that an annotation names; Unknown for anything else."""
        if not target or target.partition(".")[0] not in self.subjects:
            return Unknown("what it is is not annotated")
        named = self.resolve(target, depth + 1)
        if isinstance(named, Defined) and named.definition.kind == "class":
            return Instance(named)
        return Unknown("what it is cannot be told")

    def _of_module(self, where: InModule, name: str, depth: int) -> Thing:
        subject, module = where.subject, where.name
        if f"{module}.{name}" in self.lost:
            return Lost(f"{module}.{name}")
        outline = subject.outline(module)
        if outline is not None and name in outline.bindings:
            bound = outline.bindings[name]
            if not bound:
                return Unknown("one of several things, as the imports go")
            if bound != f"{module}.{name}":
                return self.resolve(bound, depth + 1)
        source = subject.module(module) if subject.has(module) else None
        if source is None and not subject.has(f"{module}.{name}"):
            return Unknown(f"{module} is not Python" if subject.has(module) else f"there is no {module}")
        member = None if source is None else source.members.get(name)
        if member is not None and not member.checking and member.target != f"{module}.{name}":
            return self._member(where, name, member, depth)
        if subject.has(f"{module}.{name}"):
            return InModule(subject, f"{module}.{name}")
        if source is None:
            return Unknown(f"{module} is not Python")
        if name in source.lazy:
            target = source.lazy[name] or (member.target if member is not None and member.kind == "alias" else "")
            return self.resolve(target, depth + 1) if target else Unknown("made when it is asked for", there=True)
        return self._further(where, name, source.wildcards, source.dynamic, depth)

    def _member(self, where: InModule, name: str, member: Definition, depth: int) -> Thing:
        if member.kind != "alias":
            return Defined(where.subject, where.name, name, member)
        if member.target.partition(".")[0] not in self.subjects:
            self._crossings += 1
            return Unknown(f"{member.target} is of another package")
        return self.resolve(member.target, depth + 1)

    def _further(self, where: InModule, name: str, wildcards: tuple[str, ...], dynamic: str, depth: int) -> Thing:
        for taken in wildcards:
            found = self.resolve(f"{taken}.{name}", depth + 1)
            if not isinstance(found, Missing):
                return found
        if dynamic:
            return Unknown(dynamic)
        if name in _OF_EVERY_MODULE:
            return Unknown("of every module", there=True)
        message = f"module {where.name!r} has no attribute {name!r}"
        return Missing(f"{where.name}.{name}", "AttributeError", message, where.subject)

    def _of_class(self, where: Defined, name: str, depth: int, *, bound: bool) -> Thing:
        found = self._inherited(where, name, depth, set())
        if isinstance(found, Defined) and bound:
            return Defined(found.subject, found.module, found.name, found.definition, bound=True)
        if found is not None:
            return found
        short = where.name.rpartition(".")[2]
        holder = f"{short!r} object" if bound else f"type object {short!r}"
        chain = f"{where.module}.{where.name}.{name}"
        return Missing(chain, "AttributeError", f"{holder} has no attribute {name!r}", where.subject)

    def _inherited(self, where: Defined, name: str, depth: int, seen: set[str]) -> Defined | Unknown | None:
        """Look a name up in a class and its bases; None where it is in none of them."""
        key = f"{where.module}.{where.name}"
        if key in seen or depth > _DEPTH:
            return None
        seen.add(key)
        members = where.definition.members
        if name in members:
            member = members[name]
            if member.kind == "alias":
                return Unknown("an import in a class", there=True)
            return Defined(where.subject, where.module, f"{where.name}.{name}", member)
        if name in _OF_EVERY_CLASS:
            return Unknown("of every class", there=True)
        source = where.subject.module(where.module)
        if source is not None and name in source.set_on_self:
            return Unknown("set by a method", there=True)
        if "__getattr__" in members or not plain(where.definition):
            return Unknown("a class with __getattr__, or a decorator")
        for base in where.definition.bases:
            found = self._in_base(base, where, name, depth, seen)
            if found is not None:
                return found
        return None

    def _in_base(self, base: str, where: Defined, name: str, depth: int, seen: set[str]) -> Defined | Unknown | None:
        if base in BARE_BASES:
            return None
        path = base if "." in base else f"{where.module}.{base}"
        if path.partition(".")[0] not in self.subjects:
            return Unknown(f"its base {base or 'class'} is of another package")
        parent = self.resolve(path, depth + 1)
        if isinstance(parent, Defined) and parent.definition.kind == "class":
            return self._inherited(parent, name, depth + 1, seen)
        return Unknown(f"its base {base} cannot be told")


def plain(definition: Definition) -> bool:
    """Tell whether nothing stands between a name and what its source says, such as a decorator that wraps."""
    return all(one.rpartition(".")[2] in TRANSPARENT for one in definition.decorators if one != "default")
