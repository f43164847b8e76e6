"""What the commands share: the configuration, the store, the broker, and how things are shown."""

import asyncio
import json
from collections.abc import Coroutine, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console

from mote_host.config import Settings, load
from mote_host.registry import Registry
from mote_host.store import Store

STORE_FILE = "gateway.db"

T = TypeVar("T")

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")


def settings_of(ctx: click.Context) -> Settings:
    """The configuration that `mote --config` named."""
    path = ctx.find_root().obj
    return load(path if isinstance(path, Path) else None)


@contextmanager
def open_store(settings: Settings) -> Iterator[Store]:
    """The gateway's store, for as long as the context lasts."""
    with closing(Store(settings.gateway.state_dir / STORE_FILE)) as store:
        yield store


def open_registry(settings: Settings) -> Registry:
    """The enrolled devices."""
    return Registry(settings.gateway.state_dir)


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end; Ctrl-C cancels it, so that it can clean up."""
    return asyncio.run(coroutine)


def emit(value: object) -> None:
    """Print one JSON document on standard output."""
    click.echo(json.dumps(value, indent=2, default=_plain))


def _plain(value: object) -> str:
    if isinstance(value, bytes):
        return value.hex()
    return str(value)


def console() -> Console:
    """Where people read results."""
    return Console(highlight=False)


def when(unix_ms: int) -> str:
    """A time for people, in UTC; "never" for 0."""
    if not unix_ms:
        return "never"
    return datetime.fromtimestamp(unix_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
