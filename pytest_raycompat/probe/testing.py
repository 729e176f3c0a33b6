"""Tests of ``if`` statements, as far as the sources of Ray and vLLM decide them."""

from __future__ import annotations

import ast

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
from pytest_raycompat.probe.scopes import SUBJECTS, Scope

_COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
}
_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
_SETTINGS = "vllm.envs."


def read_test(node: ast.expr, scope: Scope) -> Test:
    """Reduce a test to what is known of it."""
    match node:
        case ast.Constant(value=value):
            return Known(bool(value))
        case ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING"):
            return Known(False)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            inner = read_test(operand, scope)
            return inner if isinstance(inner, Unclear) else Not(inner)
        case ast.BoolOp(op=operator, values=values):
            return Both(isinstance(operator, ast.Or), tuple(read_test(value, scope) for value in values))
        case ast.Call(func=ast.Name(id="hasattr" | "getattr"), args=[subject, ast.Constant(value=str(name)), *_]):
            chain = scope.chain(subject)
            return Unclear() if chain is None else Has(chain, name)
        case ast.Compare(left=left, ops=[operator], comparators=[right]):
            return _comparison(left, operator, right, scope)
    module = scope.looked_for(node)
    if module is not None:
        return _existence(module)
    return _truth(scope.chain(node))


def _truth(chain: str | None) -> Test:
    if chain is None or "()" in chain:
        return Unclear()
    if chain.startswith(_SETTINGS):
        return Setting(chain.removeprefix(_SETTINGS))
    return Present(chain)


def _existence(module: str) -> Test:
    return Exists(module) if module.partition(".")[0] in SUBJECTS else Unclear()


def _comparison(left: ast.expr, operator: ast.cmpop, right: ast.expr, scope: Scope) -> Test:
    if isinstance(operator, ast.Is | ast.IsNot) and isinstance(right, ast.Constant) and right.value is None:
        module = scope.looked_for(left)
        chain = scope.chain(left)
        if module is not None:
            there = _existence(module)
        elif chain is None or "()" in chain or chain.startswith(_SETTINGS):
            return Unclear()
        else:
            there = Present(chain)
        return there if isinstance(operator, ast.IsNot) or isinstance(there, Unclear) else Not(there)
    sign = _COMPARISONS.get(type(operator))
    if sign is None:
        return Unclear()
    chain = scope.chain(left)
    if chain is not None and chain.startswith(_SETTINGS) and isinstance(right, ast.Constant) and sign in ("==", "!="):
        return Setting(chain.removeprefix(_SETTINGS), sign, str(right.value))
    return _versions(scope.version(left), sign, scope.version(right))


def _versions(left: tuple[bool, str] | None, sign: str, right: tuple[bool, str] | None) -> Test:
    match left, right:
        case (True, package), (False, version):
            return VersionTest(package, sign, version)
        case (False, version), (True, package):
            return VersionTest(package, _MIRRORED[sign], version)
    return Unclear()
