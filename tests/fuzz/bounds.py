"""How much memory an object holds on to, in bytes and items, so that growth can be told."""

from array import array
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

_LEAVES = (type, FunctionType, BuiltinFunctionType, MethodType, ModuleType)


def held(root: Any, without: tuple[Any, ...] = ()) -> int:
    """Bytes of all buffers and strings that can be reached, and 8 for each item and attribute.

    What is in `without` is not entered: what others own.
    """
    seen = {id(thing) for thing in without}
    todo = [root]
    total = 0
    while todo:
        thing = todo.pop()
        if id(thing) in seen or isinstance(thing, _LEAVES):
            continue
        if isinstance(thing, memoryview):
            todo.append(thing.obj)
        elif isinstance(thing, (bytes, bytearray, str)):
            seen.add(id(thing))
            total += len(thing)
        elif isinstance(thing, int):
            total += thing.bit_length() >> 6
        elif isinstance(thing, array):
            total += len(thing) * thing.itemsize
        elif isinstance(thing, (dict, list, tuple, set)):
            seen.add(id(thing))
            total += 8 * len(thing)
            todo.extend(thing)
            todo.extend(thing.values() if isinstance(thing, dict) else ())
        elif hasattr(thing, "__dict__"):
            seen.add(id(thing))
            todo.append(vars(thing))
    return total
