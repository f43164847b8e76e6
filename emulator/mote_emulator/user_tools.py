"""The user's own tools as a board gets them: their modules, and what these import beside them."""

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path

from mote_host.errors import ConfigError
from mote_host.scopes import absolute

_OURS = ("mote", "mote_ports", "mote_device")


def tool_files(folders: Sequence[str], modules: Sequence[str]) -> dict[str, bytes]:
    """{path below /lib: bytes} for `[tools] path` and `modules`. Raises ConfigError.

    What the folders do not hold is left to the board: it may be one of its own modules.
    """
    files: dict[str, bytes] = {}
    for module in modules:
        if _find(module, folders) is None:
            where = ", ".join(folders) or "[tools] path, which is empty"
            raise ConfigError(f"[tools] modules: there is no {module}.py in {where}")
        _add(module, folders, files)
    return files


def _add(module: str, folders: Sequence[str], files: dict[str, bytes]) -> None:
    waiting = [module]
    while waiting:
        name = waiting.pop()
        package = name.rpartition(".")[0]
        if package:
            waiting.append(package)  # its __init__.py runs first
        found = None if name.split(".")[0] in _OURS else _find(name, folders)
        if found and found[0] not in files:
            place, path = found
            files[place] = path.read_bytes()
            waiting.extend(_imports(path, name if path.stem == "__init__" else package))


def _find(module: str, folders: Sequence[str]) -> tuple[str, Path] | None:
    """Where a module lies below its folder, and its file."""
    stem = module.replace(".", "/")
    for folder in folders:
        for place in (f"{stem}.py", f"{stem}/__init__.py"):
            if (path := Path(folder, place)).is_file():
                return place, path
    return None


def _imports(path: Path, package: str) -> Iterator[str]:
    """The modules that a file imports anywhere, and names that may be modules."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError) as exc:
        raise ConfigError(f"[tools] modules: {path}: {exc}") from exc
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = absolute(package, node)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
