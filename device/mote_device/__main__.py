"""moted: the daemon of one device. `moted --help` says how to use it."""

import asyncio
import sys

from mote import __version__
from mote_ports.lock import Locked

from .config import ConfigError, describe, load_config
from .report import Report

_USAGE = """\
moted runs one mote device: it takes asks from the MQTT topic mote/NAME/in, has its gateway think,
runs tools, answers on mote/NAME/out, and keeps all that it must remember in its log. The broker is
reached over TCP, TLS, or a serial port that `mote bridge` serves ([broker] serial).

usage: moted --config FILE [--check] [-v]

  --config FILE  the device's configuration; `mote enroll NAME --out DIR` writes one
  --check        check the configuration, keys and tools, say what would run, and stop
  -v, --verbose  tell of every ask, tool call and answer
  --keys         list all keys of the configuration with their defaults
  --version      print the version
  -h, --help     print this

exit codes: 0 stopped by a signal or checked, 1 it can't run, 2 wrong usage or configuration
"""


class _Usage(Exception):
    pass


def _parse(args):
    """{"config", "check", "verbose"} from the command line. Raises _Usage."""
    # MP: no argparse
    found = {"config": "", "check": False, "verbose": False}
    rest = list(args)
    while rest:
        arg = rest.pop(0)
        if arg == "--config" and rest:
            found["config"] = rest.pop(0)
        elif arg.startswith("--config="):
            found["config"] = arg[len("--config=") :]
        elif arg == "--check":
            found["check"] = True
        elif arg in ("-v", "--verbose"):
            found["verbose"] = True
        else:
            raise _Usage("unknown or incomplete option %s" % arg)
    if not found["config"]:
        raise _Usage("--config FILE is needed")
    return found


def run(args):
    """Run with these arguments; returns the exit code."""
    if "-h" in args or "--help" in args:
        print(_USAGE, end="")
        return 0
    if "--version" in args:
        print("moted " + __version__)
        return 0
    if "--keys" in args:
        print(describe())
        return 0
    try:
        options = _parse(args)
        return _start(options)
    except _Usage as e:
        print("moted: %s; see moted --help" % e, file=sys.stderr)
        return 2
    except ConfigError as e:
        print("moted: %s" % e, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0


def _start(options):
    from .daemon import UnknownRecord
    from .process import Process

    config = load_config(options["config"])
    process = Process(config)
    if options["check"]:
        print("moted: ok: " + process.check())
        return 0
    try:
        asyncio.run(process.run(Report(options["verbose"] or config.device.verbose)))
    except (Locked, UnknownRecord, OSError) as e:
        print("moted: %s" % e, file=sys.stderr)
        return 1
    return 0


def main():
    """The command `moted`."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
