"""Finds the names of Ray and vLLM in an expression, and how they are called."""

from __future__ import annotations

import ast

from pytest_raycompat.probe.outline import Arguments, If, Step, Test, Touch, Unclear
from pytest_raycompat.probe.scopes import Scope
from pytest_raycompat.probe.testing import read_test

_LOGGER = "init_logger()."


def touches(node: ast.AST | None, scope: Scope) -> list[Step]:
    """List the names that an expression or a simple statement uses, in order."""
    found: list[Step] = []
    if node is not None:
        _visit(node, scope, found)
        scope.handed_over(node)
    return found


def arguments_of(call: ast.Call, scope: Scope) -> Arguments:
    """Describe the arguments of a call."""
    starred = any(isinstance(one, ast.Starred) for one in call.args)
    double = any(one.arg is None for one in call.keywords)
    return Arguments(
        sum(not isinstance(one, ast.Starred) for one in call.args),
        tuple(name for one in call.keywords for name in _names(one, scope)),
        starred or double,
    )


def _names(argument: ast.keyword, scope: Scope) -> list[str]:
    if argument.arg is not None:
        return [argument.arg]
    return sorted(scope.keys.get(argument.value.id, ())) if isinstance(argument.value, ast.Name) else []


def _visit(node: ast.AST, scope: Scope, found: list[Step]) -> None:
    match node:
        case ast.Call(func=function):
            chain = scope.chain(function)
            if chain is not None and isinstance(function, ast.Attribute):
                _visit_base(function.value, scope, found)
            elif chain is None:
                _visit(function, scope, found)
            for argument in (*node.args, *(one.value for one in node.keywords)):
                _visit(argument, scope, found)
            if chain is not None and _LOGGER not in chain and scope.is_used(function):
                found.append(Touch(chain, node.lineno, arguments_of(node, scope)))
        case ast.Attribute(value=value, ctx=ast.Load()):
            chain = scope.chain(node)
            if chain is None:
                _visit(value, scope, found)
            else:
                _visit_base(value, scope, found)
                if scope.is_used(node):
                    found.append(Touch(chain, node.lineno))
        case ast.Name(ctx=ast.Load()):
            chain = scope.chain(node)
            if chain is not None and "()" not in chain and scope.is_used(node):
                found.append(Touch(chain, node.lineno))
        case ast.Lambda():
            inner: list[Step] = []
            _visit(node.body, scope, inner)
            found += _either(Unclear(), node, inner, [])
        case ast.IfExp(test=test, body=body, orelse=orelse):
            _visit(test, scope, found)
            found += _either(read_test(test, scope), node, touches(body, scope), touches(orelse, scope))
        case ast.BoolOp(op=operator, values=[first, *others]):
            _visit(first, scope, found)
            decided = read_test(first, scope)
            rest = [step for one in others for step in touches(one, scope)]
            blocks = ([], rest) if isinstance(operator, ast.Or) else (rest, [])
            found += _either(decided, node, *blocks)
        case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp():
            _visit_comprehension(node, scope, found)
        case _:
            for child in ast.iter_child_nodes(node):
                _visit(child, scope, found)


def _visit_base(node: ast.expr, scope: Scope, found: list[Step]) -> None:
    """Visit what a name is looked up in, for the calls in it; the names in it are part of the longer one."""
    while isinstance(node, ast.Attribute | ast.Await):
        node = node.value
    if isinstance(node, ast.Call):
        _visit(node, scope, found)


def _visit_comprehension(
    node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp, scope: Scope, found: list[Step]
) -> None:
    inner = scope.inner()
    for one in node.generators:
        _visit(one.iter, inner, found)
        for name in ast.walk(one.target):
            if isinstance(name, ast.Name):
                inner.names[name.id] = None
        for test in one.ifs:
            _visit(test, inner, found)
    for part in (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,):
        _visit(part, inner, found)


def _either(test: Test, node: ast.expr, body: list[Step], otherwise: list[Step]) -> list[Step]:
    if not body and not otherwise:
        return []
    return [If(test, node.lineno, ast.unparse(node)[:100], tuple(body), tuple(otherwise))]
