"""Reduces the source of a module to its outline. The standard library's ``ast`` does the parsing."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence

from pytest_raycompat.probe.fragments import (
    Definition,
    attributes_of,
    caught,
    is_first_use,
    lost,
    merge,
    parameters,
    suppressed,
    written,
)
from pytest_raycompat.probe.outline import (
    Function,
    Handler,
    If,
    Import,
    Known,
    Lose,
    Outline,
    Raise,
    Return,
    Step,
    Try,
    Unclear,
)
from pytest_raycompat.probe.scopes import ABSENT, SUBJECTS, Scope
from pytest_raycompat.probe.testing import read_test
from pytest_raycompat.probe.touching import touches

_SHOWN_CHARACTERS = 100


def outline(source: str, module: str, path: str, own: str) -> Outline:
    """Reduce a module.

    Args:
        source: its text.
        module: its dotted name.
        path: its file, as findings name it.
        own: the package that it belongs to; its functions are followed too.

    Raises:
        SyntaxError: this Python cannot parse it.
    """
    tree = ast.parse(source)
    package = module if path.endswith("__init__.py") else module.rpartition(".")[0]
    return _Reader(module, package, path, source.splitlines(), own).read(tree)


class _Reader:
    def __init__(self, module: str, package: str, path: str, lines: list[str], own: str) -> None:
        self.module = module
        self.path = path
        self.lines = lines
        self.roots = (*SUBJECTS, own, *ABSENT)
        self.functions: dict[str, Function] = {}
        self.scope = Scope(module, package)
        self.postponed: list[tuple[str, Definition, Scope]] = []
        self.annotated = True
        self.replaced: dict[str, str] = {}

    def read(self, tree: ast.Module) -> Outline:
        future = (one for one in tree.body if isinstance(one, ast.ImportFrom) and one.module == "__future__")
        self.annotated = not any(name.name == "annotations" for one in future for name in one.names)
        for one in ast.walk(tree):  # functions may use what is defined below them
            if isinstance(one, ast.ClassDef | Definition) and one.col_offset == 0:
                self.scope.names[one.name] = f"{self.module}.{one.name}"
        body = self.block(tree.body, self.scope, "")
        imported = self.imported(tree)
        bindings = {
            name: chain or ""
            for name, chain in self.scope.names.items()
            if chain != f"{self.module}.{name}" and (chain is not None or name in imported)
        }
        while self.postponed:
            name, node, scope = self.postponed.pop()
            self.functions[name] = self.function(node, scope, name)
        return Outline(self.path, body, self.functions, bindings | self.replaced)

    def imported(self, tree: ast.Module) -> set[str]:
        return {
            name.asname or name.name
            for one in ast.walk(tree)
            if isinstance(one, ast.ImportFrom) and (one.module or "").partition(".")[0] in self.roots
            for name in one.names
        }

    def block(self, statements: Iterable[ast.stmt], scope: Scope, where: str) -> tuple[Step, ...]:
        steps: list[Step] = []
        for statement in statements:
            steps += self.statement(statement, scope, where)
        return tuple(steps)

    def statement(self, node: ast.stmt, scope: Scope, where: str) -> Sequence[Step]:
        match node:
            case ast.Import() | ast.ImportFrom():
                return self.imports(node, scope)
            case ast.If():
                return self.condition(node, scope, where)
            case ast.Try() | ast.TryStar():
                return self.attempt(node, scope, where)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                return self.definition(node, scope, where)
            case ast.ClassDef():
                return self.class_(node, scope, where)
            case ast.Raise():
                return self.raised(node, scope)
            case ast.Return():
                return [*touches(node.value, scope), Return(node.lineno)]
            case ast.Assign() | ast.AnnAssign():
                return self.assignment(node, scope, where)
            case ast.For() | ast.AsyncFor():
                steps = touches(node.iter, scope)
                self.forget(node.target, scope)
                return [*steps, *self.block([*node.body, *node.orelse], scope, where)]
            case ast.While():
                return [*touches(node.test, scope), *self.block([*node.body, *node.orelse], scope, where)]
            case ast.With() | ast.AsyncWith():
                return self.with_(node, scope, where)
            case ast.Match():
                cases = [self.perhaps(case.body, scope, where, case.pattern.lineno) for case in node.cases]
                return [*touches(node.subject, scope), *cases]
        return touches(node, scope)

    def imports(self, node: ast.Import | ast.ImportFrom, scope: Scope) -> list[Step]:
        steps: list[Step] = []
        if isinstance(node, ast.Import):
            for name in node.names:
                followed = name.name.partition(".")[0] in self.roots
                bound = name.asname or name.name.partition(".")[0]
                known = followed and name.name.partition(".")[0] not in ABSENT
                scope.names[bound] = (name.name if name.asname else bound) if known else None
                scope.checking.discard(bound)
                if followed:
                    steps.append(Import(name.name, None, node.lineno))
            return steps
        module = scope.absolute(node.module, node.level)
        root = module.partition(".")[0]
        followed = root in self.roots
        for name in node.names:
            known = followed and name.name != "*" and root not in ABSENT
            scope.names[name.asname or name.name] = f"{module}.{name.name}" if known else None
            scope.checking.discard(name.asname or name.name)
            if followed:
                steps.append(Import(module, name.name if name.name != "*" else None, node.lineno))
        return steps

    def condition(self, node: ast.If, scope: Scope, where: str) -> list[Step]:
        test = Known(True) if is_first_use(node) else read_test(node.test, scope)
        steps = list(touches(node.test, scope))
        with scope.branch() as first:
            body = self.block(node.body, scope, where)
        with scope.branch() as second:
            otherwise = self.block(node.orelse, scope, where)
        merge(scope, first, second)
        if test == Known(False):
            scope.checking |= {name for name, chain in first.items() if name not in second and chain is not None}
        if body or otherwise:
            steps.append(If(test, node.lineno, self.text(node.lineno), body, otherwise))
        return steps

    def attempt(self, node: ast.Try | ast.TryStar, scope: Scope, where: str) -> list[Step]:
        with scope.branch() as changed:
            body = self.block(node.body, scope, where)
            otherwise = self.block(node.orelse, scope, where)
        handlers = []
        for handler in node.handlers:
            with scope.branch() as instead:
                handlers.append(Handler(caught(handler), handler.lineno, self.block(handler.body, scope, where)))
            for name, chain in instead.items():
                if chain is not None or name not in lost(handler.body):
                    changed[name] = chain if changed.get(name, chain) == chain else None
        scope.names |= changed
        if not where:
            self.replace({name for handler in node.handlers for name in lost(handler.body)}, scope)
        finally_ = self.block(node.finalbody, scope, where)
        if not body and not otherwise:
            return list(finally_)
        return [Try(body, tuple(handlers), otherwise, finally_)]

    def replace(self, names: set[str], scope: Scope) -> None:
        """From here on, say of names that a handler sets to None that they are this module's: they may be lost."""
        for name in names:
            chain = scope.names.get(name)
            if chain is not None:
                self.replaced[name] = chain
                scope.names[name] = f"{self.module}.{name}"

    def definition(self, node: Definition, scope: Scope, where: str) -> list[Step]:
        steps = [step for decorator in node.decorator_list for step in touches(decorator, scope)]
        defaults = [*node.args.defaults, *(one for one in node.args.kw_defaults if one is not None)]
        steps += [step for default in defaults for step in touches(default, scope)]
        if self.annotated:
            annotations = [*(one.annotation for one in parameters(node)), node.returns]
            steps += [step for one in annotations for step in touches(one, scope)]
        if "." in where:  # a function in a function: whether it is called, its body does not say
            scope.names[node.name] = None
            return [*steps, self.perhaps(node.body, scope, where, node.lineno)]
        name = f"{where}.{node.name}" if where else node.name
        self.postponed.append((name, node, scope))
        return steps

    def class_(self, node: ast.ClassDef, scope: Scope, where: str) -> list[Step]:
        outer = [*node.decorator_list, *node.bases, *(one.value for one in node.keywords)]
        steps = [step for one in outer for step in touches(one, scope)]
        if where:
            scope.names[node.name] = None
            return [*steps, self.perhaps(node.body, scope, f"{where}.{node.name}", node.lineno)]
        inner = scope.inner()
        inner.owner = f"{self.module}.{node.name}()"
        inner.attributes = attributes_of(node, inner)
        return [*steps, *self.block(node.body, inner, node.name)]

    def function(self, node: Definition, outer: Scope, name: str) -> Function:
        scope = outer.inner()
        scope.names = dict(self.scope.names)
        for parameter in parameters(node):
            scope.names[parameter.arg] = scope.instance(parameter.annotation)
        body = self.block(node.body, scope, f"{name}.")
        returned = {
            scope.chain(one.value) for one in ast.walk(node) if isinstance(one, ast.Return) and one.value is not None
        }
        return Function(node.lineno, body, returned.pop() if len(returned) == 1 else None)

    def perhaps(self, body: list[ast.stmt], scope: Scope, where: str, line: int) -> Step:
        inner = scope.inner()
        return If(Unclear(), line, self.text(line), self.block(body, inner, where or "?"))

    def raised(self, node: ast.Raise, scope: Scope) -> list[Step]:
        if node.exc is None:
            return [Raise("", "", node.lineno)]
        called = node.exc if isinstance(node.exc, ast.Call) else None
        kind = called.func if called is not None else node.exc
        name = kind.attr if isinstance(kind, ast.Attribute) else getattr(kind, "id", "")
        message = written(called.args[0], scope) if called is not None and called.args else ""
        return [*touches(node.exc, scope), Raise(name, message, node.lineno)]

    def assignment(self, node: ast.Assign | ast.AnnAssign, scope: Scope, where: str) -> list[Step]:
        steps = list(touches(node.value, scope))
        if isinstance(node, ast.AnnAssign) and self.annotated and not where.endswith("."):
            steps += touches(node.annotation, scope)
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in targets:
            steps += touches(target, scope)
            if not isinstance(target, ast.Name):
                self.forget(target, scope)
                scope.with_key(target)
            elif isinstance(node.value, ast.Constant) and node.value.value is None:
                if scope.names.get(target.id) is None:
                    scope.names[target.id] = None
                if not where:
                    steps.append(Lose(target.id, node.lineno))
            elif node.value is not None:
                self.bind(target.id, node.value, scope)
        return steps

    def bind(self, name: str, value: ast.expr, scope: Scope) -> None:
        scope.names[name] = scope.chain(value)
        scope.with_keys(name, value)
        version, module = scope.version(value), scope.looked_for(value)
        scope.versions.pop(name, None)
        scope.found.pop(name, None)
        if version is not None:
            scope.versions[name] = version
        if module is not None:
            scope.found[name] = module

    def with_(self, node: ast.With | ast.AsyncWith, scope: Scope, where: str) -> list[Step]:
        steps: list[Step] = []
        swallowed: tuple[str, ...] = ()
        for item in node.items:
            steps += touches(item.context_expr, scope)
            if item.optional_vars is not None:
                self.forget(item.optional_vars, scope)
            swallowed += suppressed(item.context_expr)
        body = self.block(node.body, scope, where)
        return [*steps, Try(body, (Handler(swallowed, node.lineno, ()),))] if swallowed else [*steps, *body]

    def forget(self, target: ast.expr, scope: Scope) -> None:
        for one in ast.walk(target):
            if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store):
                scope.names[one.id] = None

    def text(self, line: int) -> str:
        return self.lines[line - 1].strip()[:_SHOWN_CHARACTERS]
