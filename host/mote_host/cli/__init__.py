"""The command line. Commands are entry points of the group `mote.commands`, loaded when used."""

from mote_host.cli.main import run

__all__ = ["run"]
