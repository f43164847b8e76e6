"""`mote cancel`."""

import asyncio
import time

import click

from mote_host.broker import Broker
from mote_host.cancelling import cancel_turns
from mote_host.cli.ask import NO_ANSWER
from mote_host.cli.common import emit, find_store, json_option, open_registry, run, settings_of
from mote_host.config import Settings


@click.command()
@click.argument("device")
@click.option("--session", help="Cancel only this session's turns; by default, all open turns.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(0.1, 3600),
    default=10,
    show_default=True,
    help="Seconds to repeat it until the device has recorded it.",
)
@json_option
@click.pass_context
def cancel(
    ctx: click.Context, device: str, session: str | None, timeout_s: float, as_json: bool
) -> int:
    """Cancel what DEVICE is doing: its open turns end with the answer "cancelled".

    A tool that runs is stopped. The order is authenticated with the device's key, expires after
    30 seconds, and is repeated each second until the device shows that it has cancelled
    something. Exit code 4: it showed nothing in time, as when it had no open turn or is offline.
    """
    n = run(_cancel(settings_of(ctx), device, session, timeout_s))
    if as_json:
        emit({"device": device, "session": session, "cancelled": n})
    if n == 0:
        click.echo(
            f"mote: {device} cancelled nothing within {timeout_s:g} s: it had no open turn, or it"
            " did not get the order",
            err=True,
        )
        return NO_ANSWER
    if not as_json:
        click.echo(f"{device} cancelled {n} turn{'s' if n > 1 else ''}")
    return 0


async def _cancel(settings: Settings, device: str, session: str | None, timeout_s: float) -> int:
    """How many turns the device cancelled, as far as it showed."""
    registry = open_registry(settings)
    with find_store(settings) as store:
        try:
            async with (
                asyncio.timeout(timeout_s),
                Broker(settings.broker).connected() as client,
            ):
                signs = await cancel_turns(
                    *(client, store, registry, device, session),
                    now_ms=lambda: int(time.time() * 1000),
                )
        except TimeoutError:
            return 0
    return signs.turns
