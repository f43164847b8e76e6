"""`mote enroll`, `mote revoke`, `mote devices`: which devices the gateway answers."""

import asyncio
import json
import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from mote_host.broker import Broker
from mote_host.cli.common import (
    console,
    emit,
    json_option,
    open_registry,
    open_store,
    run,
    settings_of,
    when,
)
from mote_host.config import Settings
from mote_host.enrolment import write_device
from mote_host.errors import BrokerError, ConfigError
from mote_host.registry import check_name

_PRESENCE_S = 0.5


@click.command()
@click.argument("device")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="The folder for moted.toml and device.key; made if it is not there.",
)
@click.option(
    "--board",
    type=click.Choice(["none", "greenhouse"]),
    default="greenhouse",
    show_default=True,
    help="The device's board: greenhouse is simulated, none has only your own tools.",
)
@json_option
@click.pass_context
def enroll(ctx: click.Context, device: str, out: Path, board: str, as_json: bool) -> None:
    """Enroll DEVICE: make its key, and write its configuration and key into a folder.

    Copy the folder to the device and run `moted --config moted.toml` there. The gateway keeps
    its own copy of the key; both files have mode 0600. Nothing that exists is overwritten.
    """
    settings = settings_of(ctx)
    check_name(device)
    for name in ("moted.toml", "device.key"):
        if (out / name).exists():
            raise ConfigError(f"{out / name} exists already; choose another --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise ConfigError(f"--out {out}: {exc.strerror}") from exc
    if not os.access(out, os.W_OK):
        raise ConfigError(f"--out {out}: can't be written")
    key = open_registry(settings).enroll(device)
    aside = f"{device}.{datetime.now(UTC).strftime('%Y%m%dT%H%M%SZ')}"
    with open_store(settings) as store:
        kept = store.set_aside(device, aside)
    if kept:
        click.echo(f"the log of the {device} before is kept as {aside}", err=True)
    config = write_device(out, device, key, settings.broker, board)
    if as_json:
        emit({"device": device, "config": str(config), "key": str(out / "device.key")})
    else:
        click.echo(f"enrolled {device}; on the device run: moted --config {config}")


@click.command()
@click.argument("device")
@click.pass_context
def revoke(ctx: click.Context, device: str) -> None:
    """Revoke DEVICE: the gateway refuses it from now on. Its log and replies are kept."""
    aside = open_registry(settings_of(ctx)).revoke(device)
    click.echo(f"revoked {device}; its key is now {aside}")


@click.command()
@json_option
@click.pass_context
def devices(ctx: click.Context, as_json: bool) -> None:
    """List the devices: enrolled ones with what is known of them, and those that are refused."""
    settings = settings_of(ctx)
    rows = _known(settings)
    with open_store(settings) as store:
        refused = [
            {"device": name, "first_seen": when(first), "last_seen": when(last), "messages": n}
            for name, first, last, n in store.unenrolled()
            if name not in [row["device"] for row in rows]
        ]
    if as_json:
        emit({"devices": rows, "refused": refused})
        return
    table = Table("device", "state", "last heard", "records", "epoch", "remarks", box=None)
    for row in rows:
        shown = ("device", "state", "last_heard", "records", "epoch")
        remarks = [row["alarm"], *row["gaps"]]
        told = "; ".join(str(remark) for remark in remarks if remark)
        table.add_row(*(str(row[key] or "") for key in shown), told)
    for row in refused:
        note = f"{row['messages']} messages refused: not enrolled"
        table.add_row(str(row["device"]), "refused", str(row["last_seen"]), "", "", note)
    console().print(table if rows or refused else "no devices yet: mote enroll NAME --out DIR")


def _known(settings: Settings) -> list[dict[str, Any]]:
    names = open_registry(settings).names()
    online = run(_presence(settings)) if names else {}
    absent = "unknown" if online is None else "offline"
    rows: list[dict[str, Any]] = []
    with open_store(settings) as store:
        for name in names:
            known = store.device(name)
            rows.append(
                {
                    "device": name,
                    "state": (online or {}).get(name, absent),
                    "last_heard": when(known.seen_at if known else 0),
                    "records": known.tip if known else 0,
                    "epoch": known.epoch if known else 0,
                    "alarm": known.alarm if known else None,
                    "gaps": [str(gap) for gap in store.gaps(name)],
                }
            )
    return rows


async def _presence(settings: Settings) -> dict[str, str] | None:
    """What the retained `state` topics say; None if the broker can't be reached."""
    found: dict[str, str] = {}
    try:
        async with Broker(settings.broker).connected() as client:
            await client.subscribe("mote/+/state")
            with suppress(TimeoutError):
                async with asyncio.timeout(_PRESENCE_S):
                    async for message in client.messages:
                        name = str(message.topic).split("/")[1]
                        found[name] = _state(message.payload)
    except BrokerError:
        return None
    return found


def _state(payload: object) -> str:
    try:
        told = json.loads(payload if isinstance(payload, (str, bytes)) else b"")
    except ValueError:
        return "unknown"
    return "online" if isinstance(told, dict) and told.get("online") is True else "offline"
