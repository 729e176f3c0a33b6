"""What a module defines, as griffe reads it: data that is kept for each release."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

if TYPE_CHECKING:
    import griffe

NEEDS_GRIFFE = "reading sources needs griffe: pip install 'pytest-raycompat[probe]'"


class Parameter(msgspec.Struct, frozen=True, array_like=True):
    """A parameter of a function."""

    name: str
    kind: Literal["positional", "either", "keyword", "*", "**"]
    required: bool


class Definition(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """What a name of a module or of a class is."""

    kind: Literal["class", "function", "value", "alias"]
    line: int
    target: str = ""
    """Of an alias, what it stands for; of a value, its class; of a function, the class that it returns."""
    parameters: tuple[Parameter, ...] = ()
    decorators: tuple[str, ...] = ()
    bases: tuple[str, ...] = ()
    members: dict[str, Definition] = {}
    checking: bool = False
    """Whether only a type checker sees it."""


class Module(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """What a module defines."""

    members: dict[str, Definition]
    wildcards: tuple[str, ...] = ()
    """Modules all of whose names it takes over."""
    lazy: dict[str, str] = {}
    """Names that its ``__getattr__`` serves, with what they stand for where it says so."""
    dynamic: str = ""
    """Why it may have names that its source does not show."""
    set_on_self: frozenset[str] = frozenset()
    """Attributes that methods set on ``self``, in any class of it."""
    settings: dict[str, str | None] = {}
    """Environment variables and their defaults, of ``vllm.envs``."""


def define(source: str, module: str, path: str) -> Module:
    """Read a module.

    Args:
        source: its text.
        module: its dotted name.
        path: its file, below ``site-packages``.

    Raises:
        ModuleNotFoundError: griffe is missing; the message says how to get it.
        SyntaxError: this Python cannot parse it.
    """
    try:
        import griffe
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(NEEDS_GRIFFE) from error
    tree = _visited(source, module, path)
    package = module if path.endswith("__init__.py") else module.rpartition(".")[0]
    members = {name: _definition(member) for name, member in tree.members.items() if not name.endswith("/*")}
    lazy, dynamic = _lazy(source, tree, package)
    return Module(
        members=members,
        wildcards=tuple(
            str(member.target_path).removesuffix(".*")
            for name, member in tree.members.items()
            if name.endswith("/*") and isinstance(member, griffe.Alias)
        ),
        lazy=lazy,
        dynamic=dynamic,
        set_on_self=frozenset(re.findall(r"\bself\.(\w+)\b(?:\s*:[^=\n]+)?\s*=[^=]", source)),
        settings=_settings(source) if module == "vllm.envs" else {},
    )


def _visited(source: str, module: str, path: str) -> griffe.Module:
    """Have griffe read a module; its packages stand above it, so that relative imports start from them."""
    import griffe

    file = Path(path)
    *packages, name = module.split(".")
    parent: griffe.Module | None = None
    for depth, package in enumerate(packages, 1):
        parent = griffe.Module(package, filepath=Path(*packages[:depth], "__init__.py"), parent=parent)
    return griffe.visit(name, filepath=file, code=source, parent=parent)


def _definition(member: griffe.Object | griffe.Alias) -> Definition:
    import griffe

    checking = not member.runtime
    if isinstance(member, griffe.Alias):
        return Definition("alias", member.alias_lineno or 0, member.target_path, checking=checking)
    line = member.lineno or 0
    decorators = tuple(one.callable_path for one in getattr(member, "decorators", ()))
    if isinstance(member, griffe.Class):
        return Definition(
            "class",
            line,
            decorators=decorators,
            bases=tuple(_path(base) for base in member.bases),
            members={name: _definition(one) for name, one in member.members.items()},
            checking=checking,
        )
    if isinstance(member, griffe.Function):
        parameters = tuple(_parameter(one) for one in member.parameters)
        return Definition("function", line, _path(member.returns), parameters, decorators, checking=checking)
    annotation = member.annotation if isinstance(member, griffe.Attribute) else None
    return Definition("value", line, _path(annotation), decorators=_labels(member), checking=checking)


def _labels(member: Any) -> tuple[str, ...]:
    """Tell a property, and a field of a class with a default."""
    labels = set(member.labels) & {"property", "cached"}
    if getattr(member, "value", None) is not None:
        labels.add("default")
    return tuple(sorted(labels))


def _parameter(one: griffe.Parameter) -> Parameter:
    import griffe

    kinds: dict[Any, Literal["positional", "either", "keyword", "*", "**"]] = {
        griffe.ParameterKind.positional_only: "positional",
        griffe.ParameterKind.keyword_only: "keyword",
        griffe.ParameterKind.var_positional: "*",
        griffe.ParameterKind.var_keyword: "**",
    }
    kind = kinds.get(one.kind, "either")
    return Parameter(one.name, kind, one.default is None and kind not in ("*", "**"))


def _path(expression: Any) -> str:
    """Return the dotted name of a class that an annotation or a base is; the empty text for anything else."""
    import griffe

    if isinstance(expression, str):
        return expression if re.fullmatch(r"[\w.]+", expression) else ""
    if isinstance(expression, griffe.ExprName | griffe.ExprAttribute):
        return expression.canonical_path
    if isinstance(expression, griffe.ExprSubscript):  # of Generic[T], the class is what counts
        left = _path(expression.left)
        return left if left in ("typing.Generic", "Generic", "typing.Protocol") else ""
    return ""


def _lazy(source: str, tree: griffe.Module, package: str) -> tuple[dict[str, str], str]:
    """Read which names a module's ``__getattr__`` serves; where that cannot be told, say why."""
    function = tree.members.get("__getattr__")
    if function is None:
        changed = re.search(r"\bglobals\(\)\s*(\[|\.update|\.setdefault)|sys\.modules\[__name__\]", source)
        return {}, f"it changes its own names ({changed.group().strip()})" if changed else ""
    lines = source.splitlines()[(function.lineno or 1) - 1 : function.endlineno]
    text = "\n".join(lines)
    body = ast.parse(text.lstrip() if not lines[0].startswith((" ", "\t")) else _dedented(lines))
    mentioned = {one.id for one in ast.walk(body) if isinstance(one, ast.Name)}
    served = {
        str(one.value): "" for one in ast.walk(body) if isinstance(one, ast.Constant) and isinstance(one.value, str)
    }
    for name in mentioned & set(tree.members):
        member = tree.members[name]
        served |= _served(None if member.is_alias else getattr(member, "value", None), package)
    closed = "raise AttributeError" in text and ("__import__" not in text)
    return served, "" if closed else "it has a __getattr__"


def _dedented(lines: list[str]) -> str:
    import textwrap

    return textwrap.dedent("\n".join(lines))


def _served(value: Any, package: str) -> dict[str, str]:
    """Read a dict or a list of names; the text ``.module:name`` or ``.module`` of an entry says where it is from."""
    if value is None:
        return {}
    try:
        node = ast.parse(str(value), mode="eval").body
    except SyntaxError:
        return {}
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        return {str(one.value): "" for one in node.elts if isinstance(one, ast.Constant)}
    if not isinstance(node, ast.Dict):
        return {}
    found = {}
    for key, one in zip(node.keys, node.values, strict=True):
        if isinstance(key, ast.Constant):
            place = one.value if isinstance(one, ast.Constant) and isinstance(one.value, str) else ""
            relative = re.fullmatch(r"\.([\w.]+):(\w+)", place)
            found[str(key.value)] = f"{package}.{relative[1]}.{relative[2]}" if relative else ""
    return found


def _settings(source: str) -> dict[str, str | None]:
    """Read the variables of ``vllm.envs`` with their defaults; None for one whose default is not written there."""
    found: dict[str, str | None] = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and isinstance(key.value, str) and key.value.isupper():
                    found[key.value] = _default(value)
    return found


def _default(value: ast.expr) -> str | None:
    for one in ast.walk(value):
        if isinstance(one, ast.Call) and len(one.args) >= 1:
            name = one.func.attr if isinstance(one.func, ast.Attribute) else getattr(one.func, "id", "")
            if name in ("getenv", "get", "env_with_choices"):
                default = one.args[1] if len(one.args) > 1 else None
                if default is None:
                    return ""
                return str(default.value) if isinstance(default, ast.Constant) else None
    return None
