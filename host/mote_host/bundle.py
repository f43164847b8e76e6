"""The agent's modules made into one, for devices on which each byte of flash and RAM counts.

Forty modules cost a device twice: every .mpy file repeats the names that it uses, and every module
keeps a dictionary of what it imports. In one module a name stands once, nothing is imported from
next door, and constants stand where they are used. Nothing changes but names: of globals that two
modules have alike, and those that begin with `_`.

What is needed at times only stays apart: such modules import from the bundle, and the bundle's
functions import them.

MicroPython numbers the names of a file as it meets them, and bytecode has one byte for each of the
first 128, two for the others. So those that are used most stand in front, in a statement of which
nothing is executed.
"""

import ast
import builtins
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import product
from string import ascii_letters

from mote_host.classes import end_of_classes
from mote_host.errors import MoteError
from mote_host.renaming import Renamer
from mote_host.scopes import Meaning, Module, Modules, Value, bound_in, names_bound_within

_FRONT = 124  # names; what is imported comes first and takes the rest of the 128


def bundle(
    sources: Mapping[str, str],
    main: str,
    *,
    more: tuple[str, ...] = (),
    apart: tuple[str, ...] = (),
    public: Mapping[str, tuple[str, ...]] | None = None,
    frozen: bool = False,
) -> dict[str, str]:
    """{module: text} of one module in place of `main` and all that its top level imports.

    `sources` is {path: text} of packages, "mote/agent.py" for mote.agent. `more` names modules
    that functions import and that are wanted in it, too; those in `apart` become modules of their
    own beside it. `public` has globals, by module, whose names stay because programs import them
    from the bundle. `frozen`: it becomes part of a firmware, where RAM counts, and not its length.
    Raises MoteError where a module is not as plain as it must be.
    """
    modules = Modules(sources, apart)
    for name in (*more, main):
        modules.load(name)
    bundled = list(modules.loaded.values())
    for name in apart:
        modules.load_apart(name)
    names = _Names(modules, public or {})
    made = {main: _text(modules, names, bundled, "", frozen)}
    for name in apart:
        made[name] = _text(modules, names, [modules.apart[name]], main, frozen)
    return made


def _text(modules: Modules, names: "_Names", parts: list[Module], main: str, frozen: bool) -> str:
    """The text of these modules as one; they import from the module `main` what it has."""
    body: list[ast.stmt] = []
    imports: dict[str, Meaning] = {}
    for module in parts:
        body.extend(Renamer(modules, names, module, imports, frozen).renamed())
    if frozen:
        body.append(end_of_classes())
    lines = []
    for name, meaning in sorted(imports.items()):
        if name in names.defined_in(parts):
            raise MoteError(f"two things are named {name}, one of them is of {meaning.module}")
        if not main and meaning.module in modules.apart:
            raise MoteError(f"{meaning.module} is to stay apart: import {name} in a function")
        source = main if meaning.module in modules.loaded else meaning.module
        lines.append(f"from {source} import {name}" if meaning.name else f"import {name}")
    text = ast.unparse(ast.fix_missing_locations(ast.Module(body, [])))
    if not main:
        lines.append(f"bool or _.{'.'.join(_used_most(ast.parse(text)))}")
    return "\n".join([*lines, text, ""])


class _Names:
    """What everything is called; `constants` are globals that never change, and their values."""

    def __init__(self, modules: Modules, public: Mapping[str, tuple[str, ...]]) -> None:
        every = [*modules.loaded.values(), *modules.apart.values()]
        nodes = [
            node for module in every for statement in module.body for node in ast.walk(statement)
        ]
        self.constants: dict[Meaning, Value] = {}
        self._modules = modules
        self._public = public
        self._local = names_bound_within(nodes)
        self._unused = _unused(set(dir(builtins)) | _all_names(nodes))
        self._attributes = _shortened(nodes, self._unused)
        self._globals: dict[Meaning, str] = {}
        for module in every:
            self._find_constants(module)
            self._name(module)

    def of(self, meaning: Meaning) -> str:
        """The name of a global of ours."""
        return self._globals[meaning]

    def defined_in(self, parts: list[Module]) -> set[str]:
        """The names of what these modules define."""
        own = {module.name for module in parts}
        return {name for meaning, name in self._globals.items() if meaning.module in own}

    def attribute(self, name: str) -> str:
        """The name of an attribute."""
        return self._attributes.get(name, name)

    def is_public(self, meaning: Meaning) -> bool:
        """Whether programs import it by its name."""
        apart = meaning.module in self._modules.apart and meaning.name[0] != "_"
        return apart or meaning.name in self._public.get(meaning.module, ())

    def _name(self, module: Module) -> None:
        taken = set(self._globals.values())
        for name in sorted(module.defined):
            meaning = Meaning(module.name, name)
            if meaning in self.constants and not self.is_public(meaning):
                continue
            plain = name[0] != "_" and name not in self._local and name not in taken
            keep = plain or self.is_public(meaning)
            self._globals[meaning] = name if keep else next(self._unused)

    def _find_constants(self, module: Module) -> None:
        for statement in module.body:
            if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
                value = self._value(module, statement.value)
                if value is not None:
                    self.constants[Meaning(module.name, statement.targets[0].id)] = value

    def _value(self, module: Module, given: ast.expr) -> Value | None:
        """What an expression of literals and constants is; None if it is not one."""
        if isinstance(given, ast.Constant):
            return given.value if isinstance(given.value, (int, str, bytes)) else None
        if isinstance(given, ast.Tuple):
            items = tuple(self._value(module, item) for item in given.elts)
            found = tuple(item for item in items if item is not None)
            return found if len(found) == len(items) else None
        if isinstance(given, ast.Call):
            is_const = isinstance(given.func, ast.Name) and given.func.id == "const"
            return self._value(module, given.args[0]) if is_const else None
        if isinstance(given, ast.BinOp):
            left, right = self._value(module, given.left), self._value(module, given.right)
            if not isinstance(left, int) or not isinstance(right, int):
                return None
            sides = ast.BinOp(ast.Constant(left), given.op, ast.Constant(right))
            number: int = eval(ast.unparse(ast.fix_missing_locations(sides)))  # noqa: S307 (two ints)
            return number
        meaning = self._modules.global_of(module, given)
        return self.constants.get(meaning) if meaning else None


def _shortened(nodes: list[ast.AST], unused: Iterator[str]) -> dict[str, str]:
    """Short names for the private attributes that our own classes have."""
    seen = [node for node in nodes if isinstance(node, ast.Attribute)]
    uses = Counter(node.attr for node in seen)
    ours = {node.attr for node in seen if isinstance(node.ctx, ast.Store)}
    for node in nodes:
        if isinstance(node, ast.ClassDef):
            ours |= bound_in(node.body)
    private = [name for name in ours if name[0] == "_" and not name.endswith("__")]
    private.sort(key=lambda name: (-uses[name], name))
    return {name: next(unused) for name in private}


def _used_most(tree: ast.Module) -> list[str]:
    """The names that stand most often in bytecode: what is local to a function does not."""
    uses: Counter[str] = Counter()
    nodes: list[tuple[ast.AST, set[str]]] = [(tree, set())]
    while nodes:
        node, local = nodes.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            local = names_bound_within([node])
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            uses[node.name] += 2  # in the function, and where it is defined
        elif isinstance(node, ast.Attribute):
            uses[node.attr] += 1
        elif isinstance(node, ast.arg):
            uses[node.arg] += 1
        elif isinstance(node, ast.Name) and node.id not in local:
            uses[node.id] += 1
        nodes.extend((child, local) for child in ast.iter_child_nodes(node))
    return [name for name, _ in uses.most_common(_FRONT)]


def _unused(taken: set[str]) -> Iterator[str]:
    """Private names, the shortest first."""
    for size in (1, 2, 3):
        for letters in product(ascii_letters, repeat=size):
            name = "_" + "".join(letters)
            if name not in taken:
                yield name


def _all_names(nodes: list[ast.AST]) -> set[str]:
    """Every identifier that stands in the sources."""
    found: set[str] = set()
    for node in nodes:
        for _, value in ast.iter_fields(node):
            if isinstance(value, str):
                found.add(value)
    return found
