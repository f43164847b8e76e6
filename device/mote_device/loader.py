"""Loading the user's own tools: every `Tool` that the configured modules define."""

import sys

from mote.msgpack import FormatError
from mote.tools import Tool, Toolset

from . import ConfigError


def load_tools(board_tools, path, modules):
    """A Toolset of the board's tools and the modules', in that order.

    `path` lists folders to search first. Raises ConfigError if a module can't be loaded, has no
    tools, if two tools share a name, or one's declaration is too long.
    """
    tools = list(board_tools)
    for folder in reversed(path):
        sys.path.insert(0, folder)
    for name in modules:
        tools.extend(_tools_of(name))
    names = [item.name for item in tools]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError("[tools]: two tools are named %s" % name)
    try:
        return Toolset(tools)
    except FormatError as e:
        raise ConfigError("[tools]: a declaration is too long: %s" % e)


def _tools_of(name):
    try:
        __import__(name)
        module = sys.modules[name]  # of "pkg.dice", __import__ gives pkg
    except ImportError as e:
        raise ConfigError("[tools] modules: %s can't be imported: %s" % (name, e))
    except (Exception, SystemExit) as e:
        raise ConfigError("[tools] modules: %s failed: %s: %s" % (name, type(e).__name__, e))
    # MP: a module's dict has no order, so tools are taken by name
    found = [getattr(module, key) for key in sorted(dir(module))]
    found = [item for item in found if isinstance(item, Tool)]
    if not found:
        raise ConfigError("[tools] modules: %s declares no tool" % name)
    return found
