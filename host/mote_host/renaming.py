"""Gives the statements of a module the names that they have in a bundle."""

import ast
import builtins
from collections.abc import Iterator
from typing import Protocol

from mote_host.classes import made_in_one_piece
from mote_host.errors import MoteError
from mote_host.scopes import (
    Comprehension,
    Meaning,
    Module,
    Modules,
    Value,
    absolute,
    arguments_of,
    bound_in,
)


class Naming(Protocol):
    """What things are called, and which of them are constants."""

    constants: dict[Meaning, Value]

    def of(self, meaning: Meaning) -> str:
        """The name of a global of ours."""

    def attribute(self, name: str) -> str:
        """The name of an attribute."""

    def is_public(self, meaning: Meaning) -> bool:
        """Whether programs import it by its name."""


class _Scope:
    """What a function, a class or a comprehension binds, and what imports in it mean."""

    def __init__(self, bound: set[str], is_class: bool = False) -> None:
        self.bound = bound
        self.imported: dict[str, Meaning] = {}
        self.is_class = is_class


class Renamer(ast.NodeTransformer):
    """Rewrites one module's statements; `imports` gets what they need from elsewhere, by name.

    `frozen`: they are to take the least RAM, at the cost of some flash.
    """

    def __init__(
        self,
        modules: Modules,
        names: Naming,
        module: Module,
        imports: dict[str, Meaning],
        frozen: bool = False,
    ) -> None:
        self._modules = modules
        self._names = names
        self._module = module
        self._imports = imports
        self._frozen = frozen
        self._scopes: list[_Scope] = []  # innermost last

    def renamed(self) -> Iterator[ast.stmt]:
        """The module's statements."""
        for statement in self._module.body:
            made: ast.stmt | None = self.visit(statement)
            if isinstance(made, ast.ClassDef) and self._frozen:
                bases = {base.id for base in made.bases if isinstance(base, ast.Name)}
                yield from made_in_one_piece(made, bool(bases & set(dir(builtins))) or not bases)
            elif made is not None:
                yield made

    # -- names

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """A name, of a class's attribute, of something local, or of a global."""
        if self._scopes and self._scopes[-1].is_class and node.id in self._scopes[-1].bound:
            return ast.Name(self._names.attribute(node.id), node.ctx)
        meaning = self._meaning(node.id)
        if meaning is None:
            return node
        if self._is_ours(meaning) and not meaning.name:
            raise self._error(node, f"the module {node.id} is used as a value")
        return self._named(meaning, node.ctx)

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        """`module.name` of one of our modules, or an attribute."""
        if isinstance(node.value, ast.Name):
            meaning = self._meaning(node.value.id)
            if meaning and self._is_ours(meaning) and not meaning.name:
                inner = self._modules.follow(Meaning(meaning.module, node.attr))
                return self._named(inner, node.ctx)
        node.value = self.visit(node.value)
        node.attr = self._names.attribute(node.attr)
        return node

    def _meaning(self, name: str) -> Meaning | None:
        """What it means here; None if it is local, or a builtin."""
        for n, scope in enumerate(reversed(self._scopes)):
            if name in scope.imported:
                return self._modules.follow(scope.imported[name])
            if name in scope.bound and not (scope.is_class and n):
                return None
        return self._modules.find(self._module, name)

    def _named(self, meaning: Meaning, how: ast.expr_context) -> ast.expr:
        """A global: what it is, if it is a constant, or its name."""
        if meaning in self._names.constants and isinstance(how, ast.Load):
            return _literal(self._names.constants[meaning])
        own = meaning.module == self._module.name
        ours = self._is_ours(meaning)
        name = self._names.of(meaning) if own or ours else meaning.name or meaning.module
        together = ours and self._module.name in self._modules.loaded
        if not own and not together and self._imports.setdefault(name, meaning) != meaning:
            other = self._imports[name].module
            raise MoteError(f"two things are named {name}, of {other} and of {meaning.module}")
        return ast.Name(name, how)

    def _is_ours(self, meaning: Meaning) -> bool:
        return meaning.module in self._modules.loaded

    # -- statements

    def visit_Assign(self, node: ast.Assign) -> ast.stmt | None:
        """Nothing is left of a constant but its value, unless programs import it."""
        target = node.targets[0]
        if not self._scopes and isinstance(target, ast.Name):
            meaning = Meaning(self._module.name, target.id)
            if meaning in self._names.constants:
                if not self._names.is_public(meaning):
                    return None
                value = _literal(self._names.constants[meaning])
                return ast.Assign([ast.Name(self._names.of(meaning), target.ctx)], value)
        self.generic_visit(node)
        return node

    def visit_Import(self, node: ast.Import) -> ast.stmt:
        """One in a function, of what is not ours."""
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.stmt:
        """One in a function; nothing is left of it if the bundle has that module."""
        package = self._module.package
        for alias in node.names:
            meaning = self._modules.meaning_of(package, node, alias.name)
            if self._is_ours(meaning):
                self._scopes[-1].imported[alias.asname or alias.name] = meaning
        if self._is_ours(meaning):
            return ast.Pass()
        self._scopes[-1].bound |= {alias.asname or alias.name for alias in node.names}
        return ast.ImportFrom(absolute(package, node), node.names, 0)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.stmt:
        """Its body is a scope of its own, which functions in it do not see."""
        node.name = self._defined(node.name)
        node.bases = [self.visit(base) for base in node.bases]
        node.body = self._within(_Scope(bound_in(node.body), True), node.body)
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.stmt:
        """A function or a method."""
        self._function(node)
        return node

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.stmt:
        """The same, async."""
        self._function(node)
        return node

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        node.name = self._defined(node.name)
        node.decorator_list = [self.visit(decorator) for decorator in node.decorator_list]
        self.visit(node.args)  # defaults belong to the scope around
        scope = _Scope(arguments_of(node) | bound_in(node.body))
        node.body = self._within(scope, node.body)

    def _defined(self, name: str) -> str:
        """The new name of what `def` or `class` defines here."""
        if not self._scopes:
            return self._names.of(Meaning(self._module.name, name))
        return self._names.attribute(name) if self._scopes[-1].is_class else name

    def _within(self, scope: _Scope, body: list[ast.stmt]) -> list[ast.stmt]:
        self._scopes.append(scope)
        made: list[ast.stmt] = [self.visit(statement) for statement in body]
        self._scopes.pop()
        return made

    # -- scopes of expressions

    def visit_Lambda(self, node: ast.Lambda) -> ast.expr:
        """A function of one expression."""
        self.visit(node.args)
        self._scopes.append(_Scope(arguments_of(node)))
        node.body = self.visit(node.body)
        self._scopes.pop()
        return node

    def visit_ListComp(self, node: ast.ListComp) -> ast.expr:
        """A comprehension, as are the next three."""
        return self._comprehension(node)

    def visit_SetComp(self, node: ast.SetComp) -> ast.expr:
        """As above."""
        return self._comprehension(node)

    def visit_DictComp(self, node: ast.DictComp) -> ast.expr:
        """As above."""
        return self._comprehension(node)

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> ast.expr:
        """As above."""
        return self._comprehension(node)

    def _comprehension(self, node: Comprehension) -> ast.expr:
        bound = {
            part.id
            for generator in node.generators
            for part in ast.walk(generator.target)
            if isinstance(part, ast.Name)
        }
        self._scopes.append(_Scope(bound))
        self.generic_visit(node)
        self._scopes.pop()
        return node

    def _error(self, node: ast.expr, why: str) -> MoteError:
        return MoteError(f"{self._module.name}, line {node.lineno}: {why}")


def _literal(value: Value) -> ast.expr:
    """The expression that stands for a constant."""
    if isinstance(value, tuple):
        return ast.Tuple([_literal(item) for item in value], ast.Load())
    return ast.Constant(value)
