"""What names mean in Python modules that are read together: imports followed, scopes kept.

A module here is plain: its top level imports, defines and assigns; no `global`, no `import *` but
of a neighbour. `Modules` reads modules in the order in which they would be executed.
"""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from mote_host.errors import MoteError

_CONST = "mote.const"  # stands for MicroPython's own `const` on other runtimes
_ON_MICROPYTHON = "sys.implementation.name == 'micropython'"
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)

Value = int | str | bytes | tuple["Value", ...]
"""What a constant may be: MicroPython's compiler puts it where it is used."""

Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


@dataclass(frozen=True, slots=True)
class Meaning:
    """Name `name` of module `module`; the module itself if `name` is empty."""

    module: str
    name: str


@dataclass(slots=True)
class Module:
    """A module: its statements but imports, what it defines, what its imports bind."""

    name: str
    package: str
    body: list[ast.stmt] = field(default_factory=list)
    defined: set[str] = field(default_factory=set)
    imported: dict[str, Meaning] = field(default_factory=dict)
    stars: list[str] = field(default_factory=list)


class Modules:
    """Modules of `sources` ({path: text}) in the order of their execution, as they are loaded.

    Those that are to stay `apart` are loaded by `load_apart`, and nothing else.
    """

    def __init__(self, sources: Mapping[str, str], apart: tuple[str, ...] = ()) -> None:
        self.loaded: dict[str, Module] = {}
        self.apart: dict[str, Module] = {}
        self._apart = apart
        self._texts = {_module_name(path): (path, text) for path, text in sources.items()}
        self._loading: list[str] = []

    def load(self, name: str) -> None:
        """Read a module and what its top level imports. Raises MoteError."""
        if name in self.loaded or name in self._apart or name not in self._texts:
            return
        if name in self._loading:
            raise MoteError(f"{name} imports itself, by way of {', '.join(self._loading)}")
        self._loading.append(name)
        module = self._parsed(name)
        self._loading.pop()
        self.loaded[name] = module

    def load_apart(self, name: str) -> None:
        """Read a module that stays apart, and needs none that is not loaded. Raises MoteError."""
        known = set(self.loaded)
        self.apart[name] = self._parsed(name)
        if set(self.loaded) != known:
            missing = ", ".join(sorted(set(self.loaded) - known))
            raise MoteError(f"{name} stays apart and needs {missing}, which nothing else does")

    def _parsed(self, name: str) -> Module:
        if name not in self._texts:
            raise MoteError(f"there is no module {name}")
        path, text = self._texts[name]
        package = name if path.endswith("__init__.py") else name.rpartition(".")[0]
        module = Module(name, package)
        for statement in _chosen(ast.parse(text, path).body):
            self._read(module, statement)
        return module

    def _read(self, module: Module, statement: ast.stmt) -> None:
        if isinstance(statement, ast.Import):
            module.imported |= bound_by_import(statement)
        elif isinstance(statement, ast.ImportFrom):
            for alias in statement.names:
                meaning = self.meaning_of(module.package, statement, alias.name)
                self.load(meaning.module)
                if alias.name == "*":
                    module.stars.append(meaning.module)
                else:
                    module.imported[alias.asname or alias.name] = meaning
        elif not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)):
            module.body.append(statement)
            module.defined |= bound_in([statement])

    def meaning_of(self, package: str, node: ast.ImportFrom, name: str) -> Meaning:
        """What `from ... import name` means in a module of that package."""
        base = absolute(package, node)
        if base == _CONST:
            return Meaning("micropython", name)
        if f"{base}.{name}" in self._texts:
            return Meaning(f"{base}.{name}", "")
        return Meaning(base, name)

    def find(self, found: Module, name: str) -> Meaning | None:
        """What a global name of a module means, imports followed; None: a builtin."""
        if name in found.defined:
            return Meaning(found.name, name)
        if name in found.imported:
            return self.follow(found.imported[name])
        for star in found.stars:
            if meaning := self.find(self.loaded[star], name):
                return meaning
        return None

    def follow(self, meaning: Meaning) -> Meaning:
        """The same, where a loaded module defines it. Raises MoteError if it does not."""
        if meaning.module not in self.loaded or not meaning.name:
            return meaning
        found = self.find(self.loaded[meaning.module], meaning.name)
        if found is None:
            raise MoteError(f"{meaning.module} has no {meaning.name}")
        return found

    def global_of(self, module: Module, value: ast.expr) -> Meaning | None:
        """The global that an expression at a module's top is: `name`, or `module.name`."""
        if isinstance(value, ast.Name):
            return self.find(module, value.id)
        if isinstance(value, ast.Attribute) and isinstance(value.value, ast.Name):
            found = self.find(module, value.value.id)
            if found and not found.name and found.module in self.loaded:
                return self.follow(Meaning(found.module, value.attr))
        return None


def absolute(package: str, node: ast.ImportFrom) -> str:
    """The module that `from ... import` names, in full."""
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    parts = parts[: len(parts) - node.level + 1]
    return ".".join([*parts, node.module] if node.module else parts)


def bound_by_import(node: ast.Import) -> dict[str, Meaning]:
    """What `import` binds. Raises MoteError for dotted names."""
    for alias in node.names:
        if "." in alias.name:
            raise MoteError(f"line {node.lineno}: import {alias.name}: use `from`")
    return {alias.asname or alias.name: Meaning(alias.name, "") for alias in node.names}


def bound_in(statements: list[ast.stmt]) -> set[str]:
    """The names that these statements bind in their own scope, not in those within."""
    found: set[str] = set()
    nodes: list[ast.AST] = list(statements)
    while nodes:
        node = nodes.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
            continue
        if isinstance(node, (ast.Lambda, *_COMPREHENSIONS)):
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, (ast.Store, ast.Del)):
            found.add(node.id)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            found.add(node.name)
        elif isinstance(node, (ast.Global, ast.Nonlocal)):
            raise MoteError(f"line {node.lineno}: no `global` or `nonlocal` in a bundle")
        nodes.extend(ast.iter_child_nodes(node))
    return found


def arguments_of(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> set[str]:
    """The names of a function's parameters."""
    given = node.args
    every = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    return {argument.arg for argument in every if argument}


def names_bound_within(nodes: list[ast.AST]) -> set[str]:
    """All names that are local to a function, a class or a comprehension among these nodes."""
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            found |= bound_in(node.body) | arguments_of(node)
        elif isinstance(node, ast.Lambda):
            found |= arguments_of(node)
        elif isinstance(node, _COMPREHENSIONS):
            for generator in node.generators:
                parts = ast.walk(generator.target)
                found |= {part.id for part in parts if isinstance(part, ast.Name)}
    return found


def _chosen(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements as MicroPython sees them: what asks for the runtime at the top is decided."""
    for statement in body:
        if isinstance(statement, ast.If) and ast.unparse(statement.test) == _ON_MICROPYTHON:
            yield from statement.body
        elif _is_all(statement):
            continue
        else:
            yield statement


def _is_all(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__all__"


def _module_name(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
