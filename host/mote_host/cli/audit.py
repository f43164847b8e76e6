"""`mote audit verify`."""

from dataclasses import asdict
from pathlib import Path

import click

from mote_host.audit import Verdict, verify_log, verify_replica
from mote_host.cli.common import emit, find_store, json_option, settings_of
from mote_host.cli.log import is_path
from mote_host.device_log import read_key


@click.group()
def audit() -> None:
    """Check that nothing in a log was changed, removed or moved."""


@audit.command()
@click.argument("target", metavar="DEVICE|PATH")
@click.option("--device", help="With PATH: the device whose log it should be.")
@click.option(
    "--key",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="With PATH: the device's key file, to check the segments' MACs too.",
)
@json_option
@click.pass_context
def verify(
    ctx: click.Context, target: str, device: str | None, key: Path | None, as_json: bool
) -> int:
    """Verify the hash chain of a DEVICE's replica here, or of the log in the folder PATH.

    Exit code 0 only if every record is where the chain says. Records that the device itself
    dropped or lost, and tells of, are listed and are no error.
    """
    if is_path(target):
        verdict = verify_log(Path(target), device, read_key(key) if key else None)
    else:
        with find_store(settings_of(ctx)) as store:
            verdict = verify_replica(store, target)
    if as_json:
        emit({"verified": verdict.verified, **asdict(verdict)})
    else:
        click.echo(_say(verdict))
        for gap in verdict.gaps:
            click.echo(f"  {gap}")
    return 0 if verdict.verified else 1


def _say(verdict: Verdict) -> str:
    if not verdict.verified:
        return f"{verdict.source}: NOT verified: {verdict.why}"
    remark = f" ({verdict.remark})" if verdict.remark else ""
    kept = f" from record {verdict.oldest} on" if verdict.oldest > 1 else ""
    head = verdict.head.hex()[:16]
    return (
        f"{verdict.source}: chain verified, {verdict.records} records{kept}, head {head}{remark}"
    )
