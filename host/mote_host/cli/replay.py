"""`mote replay`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from mote import records as r

from mote_host.cli.common import console, emit, find_store, has_store, json_option, settings_of
from mote_host.cli.log import is_path
from mote_host.config import Settings
from mote_host.frames import describe
from mote_host.replay import (
    Declarations,
    Moment,
    Recording,
    Replay,
    from_folder,
    from_replica,
    plain_state,
    situation,
)
from mote_host.toolsets import Toolsets

DIFFERS = 1


@click.command()
@click.argument("target", metavar="DEVICE|PATH")
@click.option(
    "--check", is_flag=True, help="Take each decision again and find the first that differs."
)
@json_option
@click.pass_context
def replay(ctx: click.Context, target: str, check: bool, as_json: bool) -> int:
    """Replay a log: a DEVICE's replica here, or the log in the folder PATH.

    Prints each record with what it changed, as this version of mote folds it, and the state at
    the end. With --check every decision in the log is taken again by this version: what it asks
    the model, which calls it starts or refuses, how turns end. Tools and models are not run.

    Exit code 0, or 1 if a decision comes out differently.
    """
    with _recording(settings_of(ctx), target) as (recording, declarations):
        replayed = Replay(recording, declarations, check=check)
        out = console()
        for moment in replayed.run():
            if not as_json:
                out.print(_words(moment), markup=False, soft_wrap=True)
    if as_json:
        emit(_plain(replayed))
    else:
        for gap in recording.gaps:
            click.echo(str(gap))
        click.echo("\n".join(_summary(replayed, check)))
    for note in recording.notes:
        click.echo(f"mote: {note}", err=True)
    return DIFFERS if replayed.differs else 0


@contextmanager
def _recording(settings: Settings, target: str) -> Iterator[tuple[Recording, Declarations]]:
    """The log, and what the gateway here knows of its tools. A path needs no gateway."""
    if is_path(target) and not has_store(settings):
        yield from_folder(Path(target)), lambda _: None
        return
    with find_store(settings) as store:
        recording = from_folder(Path(target)) if is_path(target) else from_replica(store, target)
        yield recording, Toolsets(store).get


def _words(moment: Moment) -> str:
    record = moment.record
    changed = _changed(moment)
    decided = f" [{moment.decided}]" if moment.decided else ""
    arrow = f"  -> {changed}" if changed else ""
    return f"{record.seq:6}  {describe(record)}{arrow}{decided}"


def _changed(moment: Moment) -> str:
    """What the record changed, from the state behind it."""
    state, record = moment.state, moment.record
    if record.kind == r.BOOT:
        return _count(len(state.turns), "open turn")
    if record.kind in (r.GAP, r.TRUST):
        return "no ONCE call before it is confirmed" if state.doubt else "nothing is in doubt"
    if record.kind == r.FACT:
        return _count(len(state.facts), "fact")
    if record.turn is None:
        return ""
    turn = state.turn(record.turn)
    return f"ask {record.turn}: {situation(turn) if turn else 'over'}"


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def _summary(replayed: Replay, check: bool) -> list[str]:
    state = replayed.state
    lines = [
        f"{_count(replayed.folded, 'record')}, epoch {state.epoch}, "
        f"{_count(len(state.turns), 'open turn')}, {_count(len(state.sessions), 'session')}, "
        f"{_count(len(state.facts), 'fact')}, {_count(len(state.seen), 'ask id')} remembered"
    ]
    lines += [f"ask {turn.seq} ({turn.session}): {situation(turn)}" for turn in state.turns]
    if state.doubt:
        lines.append(f"in doubt since record {state.doubt}: no ONCE call starts")
    if check:
        lines += _verdict(replayed)
    return lines


def _verdict(replayed: Replay) -> list[str]:
    lines = []
    if replayed.unchecked:
        lines.append(
            f"the arguments of {_count(replayed.unchecked, 'call')} were not checked: the gateway"
            " here does not know the tools"
        )
    if replayed.differs:
        return [*lines, f"DIFFERS at {replayed.differs}"]
    skipped = replayed.decisions - replayed.compared
    left = f", {skipped} can't be compared" if skipped else ""
    return [*lines, f"{_count(replayed.compared, 'decision')} the same{left}"]


def _plain(replayed: Replay) -> dict[str, Any]:
    found = replayed.differs
    return {
        "records": replayed.folded,
        "decisions": replayed.decisions,
        "compared": replayed.compared,
        "not_compared": replayed.decisions - replayed.compared,
        "unchecked_arguments": replayed.unchecked,
        "differs": found
        and {"record": found.record, "recorded": found.recorded, "today": found.today},
        "state": plain_state(replayed.state),
    }
