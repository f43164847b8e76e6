"""What goes onto a device: the daemon, as a process (`moted`) and as firmware; tools, boards."""


class ConfigError(Exception):
    """The configuration, or a file that it names, is missing or wrong. The text says where."""
