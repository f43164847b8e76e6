"""What the commands share: the configuration, the store, the broker, and how things are shown."""

import asyncio
import json
import signal
import threading
from collections.abc import Coroutine, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console

from mote_host.config import Settings, load
from mote_host.errors import StoreError
from mote_host.registry import Registry
from mote_host.store import Store

STORE_FILE = "gateway.db"
TERMINATED = 128 + signal.SIGTERM  # the exit code, as a shell would say it

T = TypeVar("T")

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")


def settings_of(ctx: click.Context) -> Settings:
    """The configuration that `mote --config` named."""
    path = ctx.find_root().obj
    return load(path if isinstance(path, Path) else None)


@contextmanager
def open_store(settings: Settings) -> Iterator[Store]:
    """The gateway's store, for as long as the context lasts; made if it is not there."""
    with closing(Store(settings.gateway.state_dir / STORE_FILE)) as store:
        yield store


def has_store(settings: Settings) -> bool:
    """Whether a gateway ever ran on this state folder."""
    return (settings.gateway.state_dir / STORE_FILE).exists()


@contextmanager
def find_store(settings: Settings) -> Iterator[Store]:
    """The store of a gateway that ran here. Raises StoreError if none did: nothing is made."""
    if not has_store(settings):
        path = settings.gateway.state_dir / STORE_FILE
        raise StoreError(f"no gateway has run here: {path} does not exist")
    with open_store(settings) as store:
        yield store


class DefaultGroup(click.Group):
    """A group whose command `list` need not be named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `list` in front of what names no other command, and is no call for help."""
        own = {*self.commands, *ctx.help_option_names}
        return super().parse_args(ctx, args if args and args[0] in own else ["list", *args])


def open_registry(settings: Settings) -> Registry:
    """The enrolled devices."""
    return Registry(settings.gateway.state_dir)


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end; Ctrl-C and SIGTERM cancel it, so that it can clean up."""
    try:
        return asyncio.run(_terminable(coroutine))
    except asyncio.CancelledError:
        raise SystemExit(TERMINATED) from None


async def _terminable(coroutine: Coroutine[Any, Any, T]) -> T:
    # Signals belong to the main thread; elsewhere there is somebody else who has them.
    main = threading.current_thread() is threading.main_thread()
    if main and (task := asyncio.current_task()):
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await coroutine


async def serve(service: Coroutine[Any, Any, None]) -> None:
    """Run a service until it ends, or SIGTERM or Ctrl-C ends it: neither is an error."""
    task = asyncio.ensure_future(service)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    with suppress(asyncio.CancelledError):
        await task


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
