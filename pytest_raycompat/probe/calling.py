"""Compares the arguments of a call with the signature of what is called."""

from __future__ import annotations

from pytest_raycompat.probe.definitions import Definition, Parameter
from pytest_raycompat.probe.outline import Arguments
from pytest_raycompat.probe.resolving import BARE_BASES, Defined, Missing, Thing, World, plain

_FIELDS_BY = frozenset({"dataclasses.dataclass", "dataclass"})
_STRUCTURE = "msgspec.Struct"
_DEPTH = 8


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
    definition = thing.definition
    if not all(one in _FIELDS_BY or _transparent(one) for one in definition.decorators):
        return None
    if "__new__" in definition.members:
        return None
    fields = None if "__init__" in definition.members else _fields(world, thing, 0)
    if fields is not None:  # by keyword only: of fields that are not parameters the sources say too little
        keywords = Arguments(0, arguments.keywords, True)
        parameters = tuple(Parameter(name, "either", False) for name in fields)
        return _refusal(thing, f"{thing.name}.__init__", parameters, keywords)
    init = world.attribute(thing, "__init__")
    if not isinstance(init, Defined) or init.definition.kind != "function" or not plain(init.definition):
        return None
    return _refusal(thing, f"{thing.name}.__init__", init.definition.parameters[1:], arguments)


def _transparent(decorator: str) -> bool:
    return plain(Definition("class", 0, decorators=(decorator,)))


def _fields(world: World, thing: Defined, depth: int) -> set[str] | None:
    """List the fields of a data class or a msgspec structure and of its bases; None for what is neither, or unclear."""
    definition = thing.definition
    structure = _STRUCTURE in definition.bases
    if depth > _DEPTH or not (structure or any(one in _FIELDS_BY for one in definition.decorators) or depth):
        return None
    found = {name for name, one in definition.members.items() if one.kind == "value"}
    for base in definition.bases:
        if base in BARE_BASES or base == _STRUCTURE:
            continue
        parent = world.resolve(base if "." in base else f"{thing.module}.{base}")
        if not isinstance(parent, Defined) or parent.definition.kind != "class":
            return None
        inherited = _fields(world, parent, depth + 1)
        if inherited is None:
            return None
        found |= inherited
    return found


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
