"""`mote bridge`."""

import json
from datetime import UTC, datetime
from pathlib import Path

import click

from mote_host.bridge import Bridge, Tell
from mote_host.cli.common import run, serve, settings_of
from mote_host.config import BrokerSettings
from mote_host.serial_port import SerialPort

_PORT, _TLS_PORT = 1883, 8883


@click.command()
@click.option("--port", "path", required=True, metavar="PATH", help="As /dev/ttyUSB0.")
@click.option(
    "--broker",
    "address",
    metavar="HOST[:PORT]",
    help="Where the broker is; by default, and with TLS as there, that of the configuration.",
)
@click.option("--baud", default=115200, show_default=True, help="The speed, as the device has it.")
@click.option("--rtscts", is_flag=True, help="Flow control by the RTS and CTS lines.")
@click.option("--tls", is_flag=True, help="Talk TLS to the broker; the port is 8883 by default.")
@click.option(
    "--ca",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="With --tls: the broker's CA in PEM form; by default those that the system trusts.",
)
@click.option("--json", "as_json", is_flag=True, help="A line of JSON for each change.")
@click.pass_context
def bridge(
    ctx: click.Context,
    path: str,
    address: str | None,
    baud: int,
    rtscts: bool,
    tls: bool,
    ca: Path | None,
    as_json: bool,
) -> None:
    """Join a device on a serial line to a broker, until a signal. Linux and macOS.

    The device speaks MQTT on its UART; user, password and topics are its own, so one bridge
    serves one device. The connection to the broker opens when the device sends CONNECT, and anew
    when it does so again after a reset. What comes before that (boot messages, noise) is dropped.
    An adapter that is unplugged is waited for. Each change is a line on standard error, or with
    --json on standard output: listening, connected, reset, lost, unreachable, unplugged, stopped.

    \b
    mote bridge --port /dev/ttyUSB0 --broker 192.168.1.5
    mote bridge --port /dev/ttyUSB0 --broker broker.example --tls --ca ca.pem
    """
    broker = broker_settings(address, tls, ca) if address else settings_of(ctx).broker
    if not address and (tls or ca):
        raise click.UsageError("--tls and --ca go with --broker")
    if ca and not tls:
        raise click.UsageError("--ca goes with --tls")
    tell = _tell_json if as_json else _tell
    run(_serve(Bridge(SerialPort(path, baud, rtscts=rtscts), broker, tell), tell))


async def _serve(service: Bridge, tell: Tell) -> None:
    await serve(service.run())
    tell("stopped", "the port is as it was before")


def broker_settings(address: str, tls: bool, ca: Path | None) -> BrokerSettings:
    """The broker that the options name. Raises click.UsageError."""
    host, colon, digits = address.rpartition(":")
    if not colon or address.endswith("]"):
        host, digits = address, str(_TLS_PORT if tls else _PORT)
    host = host.removeprefix("[").removesuffix("]")  # an address of IPv6
    if not host or not digits.isdigit() or not 0 < int(digits) < 65536:
        raise click.UsageError(f"--broker {address}: HOST or HOST:PORT is due")
    return BrokerSettings(host=host, port=int(digits), tls=tls, ca_file=ca or "")


def _tell(event: str, text: str) -> None:
    click.echo(f"{datetime.now():%H:%M:%S} {event}: {text}", err=True)


def _tell_json(event: str, text: str) -> None:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    click.echo(json.dumps({"time": now, "event": event, "text": text}))
