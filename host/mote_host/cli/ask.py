"""`mote ask`."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

import click
from mote import records as r

from mote_host.asking import DONE, Answer
from mote_host.asking import ask as ask_device
from mote_host.broker import Broker
from mote_host.cli.common import emit, json_option, open_registry, run, settings_of
from mote_host.config import Settings
from mote_host.frames import Record
from mote_host.registry import check_name
from mote_host.turns import Calls, step_of

NOT_DONE = 3
NO_ANSWER = 4
MAX_TEXT = 3072
MAX_SESSION = 32


@click.command()
@click.argument("device")
@click.argument("text")
@click.option(
    "--session", default="main", show_default=True, help="The conversation it is part of."
)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(0.1, 86400),
    default=120,
    show_default=True,
    help="Seconds to wait for the answer.",
)
@click.option("-q", "--quiet", is_flag=True, help="Do not show the steps on the way.")
@json_option
@click.pass_context
def ask(
    ctx: click.Context,
    device: str,
    text: str,
    session: str,
    timeout_s: float,
    quiet: bool,
    as_json: bool,
) -> int:
    """Ask DEVICE something and wait for its answer; the steps go to standard error.

    The ask is delivered once the device is there: if the time is over before, it is not lost,
    and the answer appears on the topic mote/DEVICE/out.

    Exit codes: 0 done, 3 answered without success, 4 no answer in time.
    """
    check_name(device)
    _check_ask(text, session)
    _warn_of_stranger(settings_of(ctx), device)
    calls = Calls()
    show = _no_step if quiet or as_json else _show_step(time.monotonic())

    def on_record(record: Record) -> None:
        calls.add(record)
        show(record)

    answer = run(_ask(settings_of(ctx), device, text, session, timeout_s, on_record))
    if answer is None:
        click.echo(
            f"mote: no answer from {device} in {timeout_s:g} s; it will be on mote/{device}/out"
            " when the device and its gateway are there",
            err=True,
        )
        return NO_ANSWER
    if as_json:
        fields = {"session": answer.session, "id": answer.id, "status": answer.status}
        emit({**fields, "text": answer.text, "tool_calls": calls.list()})
    else:
        click.echo(answer.text)
    return 0 if answer.status == DONE else NOT_DONE


def _warn_of_stranger(settings: Settings, device: str) -> None:
    enrolled = open_registry(settings).names()
    if enrolled and device not in enrolled:
        click.echo(
            f"mote: {device} is not enrolled at this gateway; asking all the same", err=True
        )


def _check_ask(text: str, session: str) -> None:
    """What no device takes is not worth waiting for."""
    try:
        sizes = len(text.encode()), len(session.encode())
    except UnicodeError:
        raise click.UsageError("the text is not Unicode") from None
    if sizes[0] > MAX_TEXT or not 0 < sizes[1] <= MAX_SESSION:
        raise click.UsageError(
            f"TEXT may have {MAX_TEXT} bytes (and no more than the device's ask_bytes),"
            f" --session 1 to {MAX_SESSION}"
        )


async def _ask(
    settings: Settings,
    device: str,
    text: str,
    session: str,
    timeout_s: float,
    on_record: Callable[[Record], None],
) -> Answer | None:
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s), Broker(settings.broker).connected() as client:
            return await ask_device(client, device, text, session=session, on_record=on_record)
    return None


def _no_step(_: Record) -> None:
    pass


def _show_step(began: float) -> Callable[[Record], None]:
    def show(record: Record) -> None:
        step = step_of(record)
        if step and record.kind not in (r.ASK, r.ANSWER):
            note = f"  ({step.note})" if step.note else ""
            click.echo(
                f"{time.monotonic() - began:6.2f} s  {step.label:9}  {step.text}{note}", err=True
            )

    return show
