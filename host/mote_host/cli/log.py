"""`mote log`: what a device did, in plain words."""

from pathlib import Path

import click

from mote_host.cli.common import console, emit, json_option, open_store, settings_of
from mote_host.device_log import read_log
from mote_host.errors import DeviceError
from mote_host.frames import Record, describe
from mote_host.turns import with_texts


def is_path(target: str) -> bool:
    """Whether an argument is the path of a log, not a device's name."""
    return "/" in target


@click.command()
@click.argument("target", metavar="DEVICE|PATH")
@click.option("--session", help="Only what belongs to this session.")
@click.option("--tail", type=click.IntRange(min=1), help="Only the last N records.")
@json_option
@click.pass_context
def log(
    ctx: click.Context, target: str, session: str | None, tail: int | None, as_json: bool
) -> None:
    """Print a log in plain words: a DEVICE's replica here, or the log in the folder PATH.

    A name reads the gateway's replica. What has a slash in it is a path and reads a device's own
    log, without changing it: the state folder or the one that holds moted.toml.
    """
    if is_path(target):
        records = read_log(Path(target)).records
    else:
        with open_store(settings_of(ctx)) as store:
            if store.device(target) is None:
                raise DeviceError(f"{target}: no log here; mote devices lists what there is")
            records = store.records(target)
    records = with_texts(records)
    if session is not None:
        records = [record for record in records if record.session == session]
    records = records[-tail:] if tail else records
    if as_json:
        emit([_plain(record) for record in records])
        return
    out = console()
    for record in records:
        out.print(f"{record.seq:6}  {describe(record)}", markup=False, soft_wrap=True)


def _plain(record: Record) -> dict[str, object]:
    return {
        "seq": record.seq,
        "kind": record.name,
        "hash": record.hash.hex(),
        "turn": record.turn,
        "session": record.session,
        **{key: value for key, value in record.fields.items() if key not in ("turn", "session")},
    }
