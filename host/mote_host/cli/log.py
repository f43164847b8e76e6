"""`mote log`: what a device did, in plain words."""

from pathlib import Path

import click

from mote_host.branches import Branches
from mote_host.cli.common import console, emit, find_store, json_option, settings_of, when
from mote_host.device_log import read_log
from mote_host.errors import DeviceError
from mote_host.frames import Gap, Record, describe, limits_by_name
from mote_host.store import Store
from mote_host.turns import with_texts


def is_path(target: str) -> bool:
    """Whether an argument is the path of a log, not a device's name."""
    return "/" in target


@click.command()
@click.argument("target", metavar="DEVICE|PATH")
@click.option("--session", help="Only what belongs to this session.")
@click.option("--tail", type=click.IntRange(min=1), help="Only the last N records.")
@click.option(
    "--branch", type=click.IntRange(min=1), help="A superseded branch of the DEVICE's replica."
)
@json_option
@click.pass_context
def log(
    ctx: click.Context,
    target: str,
    session: str | None,
    tail: int | None,
    branch: int | None,
    as_json: bool,
) -> None:
    """Print a log in plain words: a DEVICE's replica here, or the log in the folder PATH.

    A name reads the gateway's replica. What has a slash in it is a path and reads a device's own
    log, without changing it: the state folder or the one that holds moted.toml. Records that are
    missing have a line of their own. A replica's records have the time when they came to the
    gateway, in UTC. Branches are what a device's log once held and has lost (mote devices).
    """
    if is_path(target) and branch:
        raise click.UsageError("--branch is of a replica, and a path has none")
    if is_path(target):
        own = read_log(Path(target))
        records, gaps, notes = own.records, own.gaps, own.notes
        if own.oldest > 1 and not (tail or as_json):
            click.echo(f"the oldest record that is kept is {own.oldest}")
    else:
        with find_store(settings_of(ctx)) as store:
            records, gaps = _replica(store, target, branch)
        notes = []
    records = with_texts(records)
    if session is not None:
        records = [record for record in records if record.session == session]
    records = records[-tail:] if tail else records
    if tail and records:
        gaps = [gap for gap in gaps if gap.last > records[0].seq]
    lines: list[Record | Gap] = sorted([*gaps, *records], key=_number)
    if as_json:
        emit([_plain(line) for line in lines])
    else:
        _print(lines, arrivals=not is_path(target))
    for note in notes:
        click.echo(f"mote: {note}", err=True)


def _replica(store: Store, device: str, branch: int | None) -> tuple[list[Record], list[Gap]]:
    """The records and the gaps of a replica, or of one of its superseded branches."""
    if store.device(device) is None:
        raise DeviceError(f"{device}: no log here; mote devices lists what there is")
    if branch is None:
        return store.records(device), store.gaps(device)
    kept = Branches(store)
    if branch not in [found.number for found in kept.all(device)]:
        raise DeviceError(f"{device} has no branch {branch}; mote devices lists them")
    return kept.records(device, branch), kept.gaps(device, branch)


def _print(lines: list[Record | Gap], *, arrivals: bool) -> None:
    out = console()
    for line in lines:
        text = describe(line) if isinstance(line, Record) else f"-- {line} --"
        at = _arrival(line) if arrivals else ""
        out.print(f"{_number(line):6}  {at}{text}", markup=False, soft_wrap=True)


def _arrival(line: Record | Gap) -> str:
    """When a record came, in a column; blank where that is not known."""
    at_ms = line.at_ms if isinstance(line, Record) else 0
    return f"{when(at_ms)[:19] if at_ms else '':19}  "


def _number(line: Record | Gap) -> int:
    return line.seq if isinstance(line, Record) else line.first


def _plain(line: Record | Gap) -> dict[str, object]:
    if isinstance(line, Gap):
        return {"seq": line.first, "kind": "missing", "last": line.last, "why": line.why}
    fields = dict(line.fields)
    if fields.get("limits"):
        fields["limits"] = limits_by_name(fields["limits"])
    return {
        "seq": line.seq,
        "kind": line.name,
        "hash": line.hash.hex(),
        "turn": line.turn,
        "session": line.session,
        "arrived_ms": line.at_ms,
        **{key: value for key, value in fields.items() if key not in ("turn", "session")},
    }
