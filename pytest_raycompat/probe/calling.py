"""Compares the arguments of a call with the signature of what is called."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_raycompat.probe.definitions import Definition, Parameter
from pytest_raycompat.probe.outline import Arguments
from pytest_raycompat.probe.resolving import Defined, Missing, Thing, World, plain

_FIELDS_BY = frozenset({"dataclasses.dataclass", "dataclass"})
_SKIPPED = frozenset({"typing.ClassVar", "ClassVar"})


def refused(world: World, thing: Thing, arguments: Arguments) -> Missing | None:
    """Return what Python would raise about the arguments; None where they fit, or that cannot be told."""
    if not isinstance(thing, Defined):
        return None
    if thing.definition.kind == "class":
        return _refused_by_class(world, thing, arguments)
    if thing.definition.kind != "function" or not plain(thing.definition):
        return None
    parameters = thing.definition.parameters
    static = any(one.rpartition(".")[2] == "staticmethod" for one in thing.definition.decorators)
    of_class = any(one.rpartition(".")[2] == "classmethod" for one in thing.definition.decorators)
    in_class = "." in thing.name
    if in_class and not static:
        if not thing.bound and not of_class:
            return None  # called on the class, with the instance given, or not
        parameters = parameters[1:]
    return _refusal(thing, thing.name, parameters, arguments)


def _refused_by_class(world: World, thing: Defined, arguments: Arguments) -> Missing | None:
    if not all(one in _FIELDS_BY or _transparent(one) for one in thing.definition.decorators):
        return None
    if any(one in _FIELDS_BY for one in thing.definition.decorators):
        fields = dict(_fields(thing.definition))
        if "__init__" in thing.definition.members or thing.definition.bases:
            return None
        return _refusal(thing, f"{thing.name}.__init__", tuple(fields.values()), arguments)
    init = world.attribute(thing, "__init__")
    if not isinstance(init, Defined) or init.definition.kind != "function" or not plain(init.definition):
        return None
    if "__new__" in thing.definition.members:
        return None
    return _refusal(thing, f"{thing.name}.__init__", init.definition.parameters[1:], arguments)


def _transparent(decorator: str) -> bool:
    return plain(Definition("class", 0, decorators=(decorator,)))


def _fields(definition: Definition) -> Iterator[tuple[str, Parameter]]:
    for name, member in definition.members.items():
        if member.kind == "value" and "property" not in member.decorators and member.target not in _SKIPPED:
            yield name, Parameter(name, "either", "default" not in member.decorators)


def _refusal(thing: Defined, name: str, parameters: tuple[Parameter, ...], arguments: Arguments) -> Missing | None:
    named = {one.name for one in parameters if one.kind in ("either", "keyword")}
    takes_any = any(one.kind == "**" for one in parameters)
    chain = f"{thing.module}.{thing.name}"
    if not takes_any:
        for keyword in arguments.keywords:
            if keyword not in named:
                message = f"{name}() got an unexpected keyword argument {keyword!r}"
                return Missing(f"{chain}({keyword})", "TypeError", message, thing.subject)
    places = [one for one in parameters if one.kind in ("positional", "either")]
    if arguments.positional > len(places) and not any(one.kind == "*" for one in parameters):
        message = f"{name}() takes {len(places)} positional arguments but {arguments.positional} were given"
        return Missing(chain, "TypeError", message, thing.subject)
    if arguments.open:
        return None
    given = {one.name for one in places[: arguments.positional]} | set(arguments.keywords)
    wanted = [one.name for one in parameters if one.required and one.name not in given]
    if wanted:
        message = f"{name}() missing {len(wanted)} required arguments: {', '.join(map(repr, wanted))}"
        return Missing(f"{chain}({wanted[0]})", "TypeError", message, thing.subject)
    return None
