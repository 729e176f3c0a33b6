"""What names stand for while a module is read: chains, versions, and modules that were looked for."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

SUBJECTS = ("ray", "vllm")
"""The packages whose names are followed."""
ABSENT = ("sglang",)
"""Packages that Ray's LLM libraries take instead of vLLM, and that an environment with vLLM does not have."""
_PARSERS = frozenset({"parse", "Version", "parse_version", "LooseVersion"})


_IMPORTERS = frozenset({"import_module", "try_import"})
"""Functions that return the module whose name they get; Ray Serve LLM's own one returns None without it."""


def _last(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else str(getattr(function, "id", ""))


@dataclass
class Scope:
    """The names of a function, or of a module."""

    module: str
    package: str
    """The package that relative imports start from."""
    names: dict[str, str | None] = field(default_factory=dict)
    """What a name stands for; None for something that is not followed."""
    versions: dict[str, tuple[bool, str]] = field(default_factory=dict)
    """Names that hold a version: whether it is the installed one of a package, and which package or version."""
    found: dict[str, str] = field(default_factory=dict)
    """Names that hold what ``find_spec`` returned, and for which module."""
    attributes: Mapping[str, str | None] = field(default_factory=dict)
    """What the attributes of ``self`` stand for."""
    keys: dict[str, frozenset[str]] = field(default_factory=dict)
    """Keys that a local dict is sure to have, for calls with ``**``."""
    checking: set[str] = field(default_factory=set)
    """Names that only a type checker sees: they tell what a parameter is, and are not used."""
    owner: str | None = None
    """The chain of an instance of the class whose method this is."""

    def inner(self) -> Scope:
        """Return the scope of a function in this one."""
        return Scope(
            self.module,
            self.package,
            dict(self.names),
            dict(self.versions),
            dict(self.found),
            self.attributes,
            dict(self.keys),
            set(self.checking),
            self.owner,
        )

    @contextmanager
    def branch(self) -> Iterator[dict[str, str | None]]:
        """Read a block that may not be done: what it changes is given back, and undone."""
        before, keys = dict(self.names), dict(self.keys)
        changed: dict[str, str | None] = {}
        yield changed
        changed.update({name: chain for name, chain in self.names.items() if before.get(name, "") != chain})
        self.names = before
        # what a block that may not be done took away may be gone, and what it added may not be there
        self.keys = {name: known & self.keys.get(name, frozenset()) for name, known in keys.items()}

    def absolute(self, module: str | None, level: int) -> str:
        """Return the module that ``from .module import`` names."""
        if level == 0:
            return module or ""
        parents = self.package.split(".")
        parents = parents[: len(parents) - level + 1]
        return ".".join([*parents, *([module] if module else [])])

    def is_used(self, node: ast.expr) -> bool:
        """Tell whether an expression can be one that is evaluated when the program runs."""
        while isinstance(node, ast.Attribute | ast.Call):
            node = node.value if isinstance(node, ast.Attribute) else node.func
        return not (isinstance(node, ast.Name) and node.id in self.checking)

    def chain(self, node: ast.expr) -> str | None:
        """Return the chain that an expression stands for; None for what is not followed."""
        match node:
            case ast.Name(id=name):
                return self.names.get(name)
            case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name) if self.owner is not None:
                if name in self.attributes:
                    return self.attributes[name]
                return f"{self.owner}.{name}"
            case ast.Attribute(value=value, attr=name):
                base = self.chain(value)
                return None if base is None else f"{base}.{name}"
            case ast.Call(func=ast.Attribute(attr="bind" | "remote" | "options")):
                return None  # what an actor or a graph returns is not what its method does
            case ast.Call(func=function, args=[ast.Constant(value=str(module)), *_]) if _last(function) in _IMPORTERS:
                return module if module.partition(".")[0] in SUBJECTS else None
            case ast.Call(func=ast.Name(id="getattr"), args=[value, ast.Constant(value=str(name)), *_]):
                base = self.chain(value)
                return None if base is None else f"{base}.{name}"
            case ast.Call(func=function):
                base = self.chain(function)
                return None if base is None else f"{base}()"
            case ast.Await(value=value) | ast.NamedExpr(value=value):
                return self.chain(value)
        return None

    def instance(self, annotation: ast.expr | None) -> str | None:
        """Return the chain of an instance of the class that an annotation names."""
        if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
            try:
                annotation = ast.parse(annotation.value, mode="eval").body
            except SyntaxError:
                return None
        if not isinstance(annotation, ast.Name | ast.Attribute):
            return None
        chain = self.chain(annotation)
        return None if chain is None or "()" in chain else f"{chain}()"

    def version(self, node: ast.expr) -> tuple[bool, str] | None:
        """Tell which version an expression holds: the installed one of a package, or one that is written there."""
        match node:
            case ast.Constant(value=str(text)):
                return False, text
            case ast.Name(id=name):
                return self.versions.get(name)
            case ast.Attribute(attr="__version__"):
                chain = self.chain(node)
                package = (chain or "").partition(".")[0]
                return (True, package) if chain == f"{package}.__version__" and package in SUBJECTS else None
            case ast.Call(func=function, args=[argument]):
                last = _last(function)
                if last == "version" and isinstance(argument, ast.Constant) and argument.value in SUBJECTS:
                    return True, str(argument.value)
                return self.version(argument) if last in _PARSERS else None
        return None

    def with_keys(self, name: str, value: ast.expr | None) -> None:
        """Note which keys a dict has that is given a name."""
        self.keys.pop(name, None)
        if isinstance(value, ast.Dict) and None not in value.keys:
            self.keys[name] = frozenset(
                str(key.value) for key in value.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)
            )

    def with_key(self, target: ast.expr) -> None:
        """Note ``NAME["key"] = …``."""
        match target:
            case ast.Subscript(value=ast.Name(id=name), slice=ast.Constant(value=str(key))):
                self.keys[name] = self.keys.get(name, frozenset()) | {key}

    def handed_over(self, node: ast.AST) -> None:
        """Forget the keys of dicts that something else may change: they are passed on, or have a method called."""
        for one in ast.walk(node):
            match one:
                case ast.Call(func=function, args=arguments):
                    owner = [function.value] if isinstance(function, ast.Attribute) and function.attr != "get" else []
                    for used in (*arguments, *owner):
                        if isinstance(used, ast.Name):
                            self.keys.pop(used.id, None)
                case ast.Delete(targets=targets):
                    for target in targets:
                        if isinstance(target, ast.Subscript) and isinstance(target.value, ast.Name):
                            self.keys.pop(target.value.id, None)

    def looked_for(self, node: ast.expr) -> str | None:
        """Return the module that ``find_spec`` is asked for."""
        match node:
            case ast.Name(id=name):
                return self.found.get(name)
            case ast.Call(
                func=ast.Attribute(attr="find_spec") | ast.Name(id="find_spec"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                return name
        return None
