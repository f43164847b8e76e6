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

from mote_host.branches import Branches
from mote_host.broker import Broker
from mote_host.cli.common import (
    DefaultGroup,
    console,
    emit,
    find_store,
    has_store,
    json_option,
    open_registry,
    open_store,
    run,
    settings_of,
    when,
)
from mote_host.config import Settings
from mote_host.enrolment import write_device
from mote_host.errors import BrokerError, ConfigError, DeviceError
from mote_host.registry import check_name
from mote_host.rejections import Rejected, rejections
from mote_host.rejections import clear as clear_rejections
from mote_host.store import Device

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
    kept = False
    if has_store(settings):
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
@json_option
@click.pass_context
def revoke(ctx: click.Context, device: str, as_json: bool) -> None:
    """Revoke DEVICE: the gateway refuses it from now on. Its log and replies are kept."""
    aside = open_registry(settings_of(ctx)).revoke(device)
    if as_json:
        emit({"device": device, "key": str(aside)})
    else:
        click.echo(f"revoked {device}; its key is now {aside}")


@click.group(cls=DefaultGroup)
def devices() -> None:
    """The devices: enrolled ones with what is known of them, and those that are refused.

    `mote devices` is `mote devices list`.
    """


@devices.command("list")
@json_option
@click.pass_context
def list_devices(ctx: click.Context, as_json: bool) -> None:
    """List the devices, with what is wrong with them.

    An alarm says that a device's log and its replica did not agree: records were lost, which the
    device takes back, or it is a fork (mote forks). It stays until `mote devices clear`.
    Superseded branches are histories that gave way to others (mote log --branch). Rejected are
    messages that were not signed with the device's key, or make no sense.
    """
    settings = settings_of(ctx)
    rows = _known(settings)
    refused = _refused(settings, {str(row["device"]) for row in rows})
    if as_json:
        emit({"devices": rows, "refused": refused})
        return
    table = Table("device", "state", "last heard", "records", "epoch", "remarks", box=None)
    for row in rows:
        shown = ("device", "state", "last_heard", "records", "epoch")
        table.add_row(*(str(row[key] or "") for key in shown), "; ".join(_remarks(row)))
    for row in refused:
        note = f"{row['messages']} messages refused: not enrolled"
        table.add_row(str(row["device"]), "refused", str(row["last_seen"]), "", "", note)
    console().print(table if rows or refused else "no devices yet: mote enroll NAME --out DIR")
    if not has_store(settings):
        click.echo(f"no gateway has run on {settings.gateway.state_dir} yet", err=True)


@devices.command()
@click.argument("device")
@json_option
@click.pass_context
def clear(ctx: click.Context, device: str, as_json: bool) -> None:
    """Clear DEVICE's alarm and its rejected messages: somebody has looked at them.

    What is still wrong raises it again; a fork ends with `mote forks accept`. Branches and gaps
    stay listed: they are part of the device's history.
    """
    settings = settings_of(ctx)
    with find_store(settings) as store:
        known = store.device(device)
        if known is None and device not in open_registry(settings).names():
            raise DeviceError(f"{device} is not known here; mote devices lists what is")
        alarm = known.alarm if known else None
        store.clear_alarm(device)
        rejected = clear_rejections(store, device)
    if as_json:
        emit({"device": device, "alarm": alarm, "rejected": rejected})
        return
    cleared = [alarm] if alarm else []
    cleared += [f"{rejected} rejected messages"] if rejected else []
    what = f": cleared: {'; '.join(cleared)}" if cleared else " has no alarm"
    click.echo(f"{device}{what}")


def _remarks(row: dict[str, Any]) -> list[str]:
    """What is to be said of a device, in words."""
    said = [f"ALARM since {row['alarm_since']}: {row['alarm']}"] if row["alarm"] else []
    if row["branches"]:
        said.append(f"superseded branches: {', '.join(map(str, row['branches']))}")
    said += row["gaps"]
    rejected = row["rejected"]
    if rejected["count"]:
        said.append(f"rejected {rejected['count']}, last: {rejected['why']}, {rejected['at']}")
    return said


def _refused(settings: Settings, known: set[str]) -> list[dict[str, Any]]:
    if not has_store(settings):
        return []
    with open_store(settings) as store:
        return [
            {"device": name, "first_seen": when(first), "last_seen": when(last), "messages": n}
            for name, first, last, n in store.unenrolled()
            if name not in known
        ]


def _known(settings: Settings) -> list[dict[str, Any]]:
    names = open_registry(settings).names()
    online = run(_presence(settings)) if names else {}
    absent = "unknown" if online is None else "offline"
    states = [(name, (online or {}).get(name, absent)) for name in names]
    if not has_store(settings):
        return [{**_row(name, None), "state": state} for name, state in states]
    with open_store(settings) as store:
        rejected = rejections(store)
        return [
            {
                **_row(name, store.device(name), rejected.get(name)),
                "state": state,
                "gaps": [str(gap) for gap in store.gaps(name)],
                "branches": [branch.number for branch in Branches(store).all(name)],
            }
            for name, state in states
        ]


def _row(name: str, known: Device | None, rejected: Rejected | None = None) -> dict[str, Any]:
    """What is known of a device itself."""
    alarm = known.alarm if known else None
    return {
        "device": name,
        "state": "unknown",
        "last_heard": when(known.seen_at if known else 0),
        "records": known.tip if known else 0,
        "epoch": known.epoch if known else 0,
        "alarm": alarm,
        "alarm_since": when(known.alarm_at) if known and alarm else None,
        "gaps": [],
        "branches": [],
        "rejected": {
            "count": rejected.count if rejected else 0,
            "why": rejected.why if rejected else None,
            "at": when(rejected.at_ms) if rejected else None,
        },
    }


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
