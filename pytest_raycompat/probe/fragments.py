"""Parts of statements that an outline needs: what is caught, what is set to None, what a message says."""

from __future__ import annotations

import ast
import re

from pytest_raycompat.probe.scopes import Scope

Definition = ast.FunctionDef | ast.AsyncFunctionDef


def is_first_use(node: ast.If) -> bool:
    """Tell whether it is ``if X is None: X = …``, which is done the first time."""
    match node.test:
        case ast.Compare(left=left, ops=[ast.Is()], comparators=[ast.Constant(value=None)]):
            name = ast.unparse(left)
            return any(
                isinstance(one, ast.Assign) and any(ast.unparse(target) == name for target in one.targets)
                for one in node.body
            )
    return False


def merge(scope: Scope, first: dict[str, str | None], second: dict[str, str | None]) -> None:
    """Bring together what two blocks, of which one is done, made of the names."""
    for name in {**first, **second}:
        before = scope.names.get(name)
        one, other = first.get(name, before), second.get(name, before)
        if name not in first or name not in second:  # it is used only where the block that brings it was done
            scope.names[name] = (one or other) if before is None else None
        else:
            scope.names[name] = one if one == other else None


def attributes_of(node: ast.ClassDef, scope: Scope) -> dict[str, str | None]:
    """Tell what the attributes that methods set on ``self`` stand for; None for what is not followed."""
    found: dict[str, str | None] = {}
    for one in ast.walk(node):
        if not isinstance(one, ast.Assign | ast.AnnAssign | ast.AugAssign):
            continue
        for target in one.targets if isinstance(one, ast.Assign) else [one.target]:
            if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id == "self":
                value = one.value if isinstance(one, ast.Assign | ast.AnnAssign) else None
                chain = None if value is None else scope.chain(value)
                name = target.attr
                found[name] = chain if found.get(name, chain) == chain else None
    return found


def parameters(node: Definition) -> list[ast.arg]:
    """List the parameters of a function."""
    rest = [one for one in (node.args.vararg, node.args.kwarg) if one is not None]
    return [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, *rest]


def caught(handler: ast.ExceptHandler) -> tuple[str, ...]:
    """Name the exceptions that a handler catches; none for all."""
    if handler.type is None:
        return ()
    types = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return tuple(one.attr if isinstance(one, ast.Attribute) else getattr(one, "id", "?") for one in types)


def suppressed(node: ast.expr) -> tuple[str, ...]:
    """Name the exceptions that ``contextlib.suppress`` catches."""
    match node:
        case ast.Call(func=ast.Attribute(attr="suppress") | ast.Name(id="suppress"), args=types):
            return tuple(one.attr if isinstance(one, ast.Attribute) else getattr(one, "id", "?") for one in types)
    return ()


def lost(body: list[ast.stmt]) -> set[str]:
    """Name what a block sets to None."""
    return {
        target.id
        for one in body
        if isinstance(one, ast.Assign) and isinstance(one.value, ast.Constant) and one.value.value is None
        for target in one.targets
        if isinstance(target, ast.Name)
    }


def written(node: ast.expr, scope: Scope) -> str:
    """Return the text of a message, with what is known of its variable parts."""
    match node:
        case ast.Constant(value=value):
            return str(value)
        case ast.JoinedStr(values=values):
            return re.sub("…+", "…", "".join(written(value, scope) for value in values))
        case ast.FormattedValue(value=value):
            version = scope.version(value)
            return "…" if version is None else (f"{{{version[1]}}}" if version[0] else version[1])
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return written(left, scope) + written(right, scope)
    return "…"
