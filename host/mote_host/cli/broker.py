"""`mote broker`: set up mosquitto for a gateway and its devices."""

import shlex
import socket
from pathlib import Path

import click

from mote_host import broker_users as users
from mote_host.broker_files import write_broker
from mote_host.cli.common import emit, json_option
from mote_host.demo.brokers import find_mosquitto
from mote_host.errors import ConfigError

_LOCAL = ("localhost", "127.0.0.1")


@click.group()
def broker() -> None:
    """Set up a mosquitto that devices and the gateway can trust: TLS, passwords, ACL, limits."""


@broker.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--hostname",
    "hostnames",
    multiple=True,
    metavar="NAME",
    help="What clients call the broker: a name or an address. May be given several times; clients"
    " dial the first. localhost and 127.0.0.1 always work, by default this machine's name too.",
)
@click.option("--port", type=click.IntRange(1, 65535), default=8883, show_default=True)
@click.option("--force", is_flag=True, help="Overwrite: new certificates, new passwords.")
@json_option
def init(folder: Path, hostnames: tuple[str, ...], port: int, force: bool, as_json: bool) -> None:
    """Write a configuration of mosquitto 2 into DIR, with everything that it needs.

    It makes a certification authority and the broker's certificate (by the program openssl), a
    password file with the users gateway and client, an ACL, limits, and the gateway's own
    configuration, DIR/gateway.toml. Keys and passwords have mode 0600. Nothing that exists is
    overwritten without --force.
    """
    names = [*hostnames, *_LOCAL] if hostnames else [*_LOCAL, socket.gethostname()]
    written = write_broker(folder, list(dict.fromkeys(names)), port, force=force)
    config, gateway = _quoted(folder / "mosquitto.conf"), _quoted(folder / "gateway.toml")
    following = [
        f"{find_mosquitto() or 'mosquitto'} -c {config}",
        f"mote --config {gateway} gateway",
        f"mote --config {gateway} enroll greenhouse-1 --out greenhouse-1",
        f"mote broker add greenhouse-1 --dir {_quoted(folder)} --out greenhouse-1",
    ]
    if as_json:
        emit({"written": written, "hostnames": names, "port": port, "next": following})
        return
    click.echo(f"wrote {', '.join(str(path.relative_to(folder.absolute())) for path in written)}")
    click.echo(f"into {folder}; next, each in a terminal of its own or one after the other:")
    for command in following:
        click.echo(f"  {command}")
    if not find_mosquitto():
        click.echo("mosquitto is not installed: apt-get install mosquitto", err=True)
    if not hostnames:
        click.echo("devices on other machines need the name that they dial: --hostname", err=True)


@broker.command()
@click.argument("name")
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="The folder that `mote broker init` made.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="The device's folder, as `mote enroll` made it; by default DIR/devices/NAME.",
)
@click.option(
    "--client", is_flag=True, help="NAME is no device, but somebody who asks all devices."
)
@click.option("--force", is_flag=True, help="A new password for a NAME that has one.")
@json_option
def add(
    name: str, folder: Path, out: Path | None, client: bool, force: bool, as_json: bool
) -> None:
    """Give NAME, a device, a password at the broker of DIR, and write what logs it in.

    Into the device's folder go broker.password (mode 0600) and ca.pem; a moted.toml that is there
    as `mote enroll` wrote it uses them from then on. Otherwise, what belongs into it is printed.
    A device may use the topics under its own name only.
    """
    users.check_user(name)
    if client and out:
        raise click.UsageError("--out is for devices; a client's password goes into DIR")
    shown = folder / f"{name}.password" if client else (out or folder / "devices" / name)
    try:
        with users.adding_user(folder, name, force=force) as password:
            if client:
                users.write_private(shown, password + "\n")
                users.allow_client(folder, name)
                written = [shown]
            else:
                written = users.write_login(folder, shown, name, password)
    except OSError as exc:
        raise ConfigError(f"{exc.filename or shown}: {exc.strerror}") from exc
    _say_added(folder, name, written, client, as_json)


def _say_added(folder: Path, name: str, written: list[Path], client: bool, as_json: bool) -> None:
    section = None if client else users.section(folder, name)
    reload = f"kill -HUP $(cat {_quoted(folder / 'mosquitto.pid')})"
    if as_json:
        emit({"name": name, "written": written, "section": section, "next": [reload]})
        return
    click.echo(f"wrote {', '.join(map(str, written))}")
    if section and not any(path.name == "moted.toml" for path in written):
        click.echo("copy them beside the device's moted.toml, and put this there:\n")
        click.echo(section)
    click.echo(f"if the broker runs, tell it: {reload}")


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
