"""The group `mote`: finds commands of all installed packages, turns errors into exit codes."""

import sys
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import click
from mote import __version__

from mote_host.errors import ConfigError, MoteError

_HELP = """\
mote: AI agents on edge devices, and the gateway that they think through.

\b
Try it:            mote demo
Set a device up:   mote enroll greenhouse-1 --out greenhouse-1/
Run the gateway:   mote gateway
Talk to a device:  mote ask greenhouse-1 "what is the temperature?"

The gateway and all commands read one configuration: --config FILE, else $MOTE_CONFIG, else
gateway.toml in the user's configuration folder, else defaults.

Exit codes: 0 done, 1 it failed, 2 wrong usage or configuration, 3 the device answered, but not
with success (a limit, a failure, refused, cancelled), 4 no answer in time, 130 interrupted.
"""


class Commands(click.Group):
    """Subcommands from entry points; one that can't be loaded says which extra it needs."""

    def _points(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group="mote.commands")}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, without loading anything."""
        return sorted(self._points())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one command. Raises ConfigError if its extra is not installed."""
        point = self._points().get(cmd_name)
        if point is None:
            return None
        try:
            command = point.load()
        except ModuleNotFoundError as exc:
            extra = point.extras[0] if point.extras else "gateway"
            raise ConfigError(
                f"mote {cmd_name} needs {exc.name}: pip install 'mote-agent[{extra}]'"
            ) from exc
        return command if isinstance(command, click.Command) else None


@click.group(cls=Commands, help=_HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mote")
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The gateway's configuration (gateway.toml).",
)
@click.pass_context
def cli(ctx: click.Context, config: Path | None) -> None:
    """See _HELP."""
    ctx.obj = config


def run() -> None:
    """Run `mote` and exit with its code."""
    try:
        code = cli.main(standalone_mode=False)
    except click.Abort:
        click.echo("interrupted", err=True)
        sys.exit(130)
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        sys.exit(130)
    except click.ClickException as exc:
        exc.show()
        sys.exit(2)
    except MoteError as exc:
        click.echo(f"mote: {exc}", err=True)
        sys.exit(exc.exit_code)
    sys.exit(code if isinstance(code, int) else 0)
