"""Classes as MicroPython keeps them with the least RAM: for code that is frozen into firmware.

A `class` statement fills a dictionary that grows as it goes, and puts `__module__` and
`__qualname__` into it. `type(name, bases, dictionary)` takes one that is made in one piece. So

    class Log(Base):                   def _():
        SIZE = 3                           def open(self): ...
        def open(self): ...       ->       return {'SIZE': 3, 'open': open}
                                       Log = type('Log', (Base,), _())

A method may use a global of its own name, a builtin's perhaps: it is defined under another name
then, or it would find itself. Classes that call super() stay as they are, but those whose base is
in the bundle: what they call is that base's.
"""

import ast

_MAKE = "_"  # the function that is called once, and not kept


def made_in_one_piece(node: ast.ClassDef, native: bool) -> list[ast.stmt]:
    """The statements that make this class; its names are final. `native`: its base is not ours."""
    if not native and isinstance(node.bases[0], ast.Name):
        _Super(node.bases[0].id).visit(node)
    used = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
    if "super" in used:
        return [node]
    methods: list[ast.stmt] = []
    keys: list[ast.expr | None] = []
    values: list[ast.expr] = []
    for part in node.body:
        if isinstance(part, (ast.FunctionDef, ast.AsyncFunctionDef)):
            keys.append(ast.Constant(part.name))
            while part.name in used:
                part.name += "_"
            methods.append(part)
            values.append(ast.Name(part.name, ast.Load()))
        elif isinstance(part, ast.Assign) and isinstance(part.targets[0], ast.Name):
            keys.append(ast.Constant(part.targets[0].id))
            values.append(part.value)
    methods.append(ast.Return(ast.Dict(keys, values)))
    making = ast.FunctionDef(_MAKE, _no_arguments(), methods, [])
    bases = ast.Tuple(node.bases, ast.Load())
    made = _call("type", ast.Constant(node.name), bases, _call(_MAKE))
    return [making, ast.Assign([ast.Name(node.name, ast.Store())], made)]


def end_of_classes() -> ast.stmt:
    """What follows the last class."""
    return ast.Assign([ast.Name(_MAKE, ast.Store())], ast.Constant(None))


class _Super(ast.NodeTransformer):
    """super().name(...) as a call of the base's function."""

    def __init__(self, base: str) -> None:
        self._base = base

    def visit_Call(self, node: ast.Call) -> ast.expr:
        """A call."""
        self.generic_visit(node)
        called = node.func
        if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Call):
            inner = called.value.func
            if isinstance(inner, ast.Name) and inner.id == "super":
                function = ast.Attribute(ast.Name(self._base, ast.Load()), called.attr)
                node.func = function
                node.args.insert(0, ast.Name("self", ast.Load()))
        return node


def _call(name: str, *arguments: ast.expr) -> ast.Call:
    return ast.Call(ast.Name(name, ast.Load()), list(arguments), [])


def _no_arguments() -> ast.arguments:
    return ast.arguments([], [], None, [], [], None, [])
