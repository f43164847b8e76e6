"""`mote forks`: devices whose log is not the replica's, and which of both counts."""

import time

import click
from rich.table import Table

from mote_host.cli.common import (
    DefaultGroup,
    console,
    emit,
    find_store,
    json_option,
    settings_of,
    when,
)
from mote_host.forks import REPLICA, Fork, Forks
from mote_host.store import Store


@click.group(cls=DefaultGroup)
def forks() -> None:
    """Devices whose log and whose replica parted ways: two histories under one name.

    It shows after a log was edited, or a device was copied. Such a device is heard, and nothing
    of it is kept, until you say which history counts. `mote forks` is `mote forks list`.

    \b
    What is there:              mote forks
    The gateway's copy counts:  mote forks accept greenhouse-1 replica
    The device's log counts:    mote forks accept greenhouse-1 9d23e8be
    """


@forks.command("list")
@click.argument("device", required=False)
@json_option
@click.pass_context
def list_forks(ctx: click.Context, device: str | None, as_json: bool) -> None:
    """List the forks, of DEVICE or of all: for each the replica and the device's own branch."""
    with find_store(settings_of(ctx)) as store:
        found = Forks(store).all(device)
        rows = [row for fork in found for row in _rows(store, fork)]
    rows = [row for n, row in enumerate(rows) if row not in rows[:n]]
    if as_json:
        emit(rows)
        return
    table = Table("device", "branch", "epoch", "last record", "parts behind", "since", box=None)
    for row in rows:
        common = "unknown" if row["common"] is None else str(row["common"])
        table.add_row(
            *(str(row["device"]), str(row["branch"]), str(row["epoch"]), str(row["last"])),
            *("" if row["branch"] == REPLICA else common, str(row["since"] or "")),
        )
    console().print(table if rows else "no forks: each device's log is the one of its replica")


def _rows(store: Store, fork: Fork) -> list[dict[str, object]]:
    """The two histories of a fork."""
    known = store.device(fork.device)
    return [
        {
            "device": fork.device,
            "branch": REPLICA,
            "epoch": known.epoch if known else 0,
            "last": known.tip if known else 0,
            "common": None,
            "since": None,
        },
        {
            "device": fork.device,
            "branch": fork.branch,
            "epoch": fork.epoch,
            "last": fork.last,
            "common": fork.common,
            "since": when(fork.since),
        },
    ]


@forks.command()
@click.argument("device")
@click.argument("branch")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@click.pass_context
def accept(ctx: click.Context, device: str, branch: str, yes: bool, as_json: bool) -> int:
    """Say which history of DEVICE counts: BRANCH is one that `mote forks` lists.

    The device's log can't be undone, so the replica follows it from where both part. With a
    device's branch, the replica's own records behind that are kept aside (mote log --branch).
    With "replica" they are kept aside too, and the device takes them back into its log, so that
    what they say counts there. No ONCE tool starts before it has all of them.
    """
    with find_store(settings_of(ctx)) as store:
        forks = Forks(store)
        forks.check(device, branch)
        if not yes and not click.confirm(f"{device}: go on with {branch}?", err=True):
            click.echo("nothing was changed", err=True)
            return 1
        done = forks.accept(device, branch, int(time.time() * 1000))
    if as_json:
        places = {"common": done.common, "branch": done.branch, "recovers": done.recovers}
        emit({"device": device, **places})
        return 0
    back = "; the device takes them back" if done.recovers else ""
    click.echo(
        f"{device}: the replica goes on behind record {done.common}; what it had behind that is"
        f" branch {done.branch}{back}"
    )
    return 0
