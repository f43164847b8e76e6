"""The broker of a demo or a test: mosquitto as a process, amqtt in this one, or somebody's."""

import asyncio
import logging
import os
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from mote_host.errors import BrokerError, ConfigError

HOST = "127.0.0.1"
_START_S = 10.0


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker that is up: its kind and where it listens."""

    kind: str
    host: str
    port: int


def find_mosquitto() -> str | None:
    """The path of mosquitto; Debian puts it where users' PATH does not look."""
    return shutil.which(
        "mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
    )


def free_port() -> int:
    """A TCP port of loopback that nothing listens on at this moment."""
    with socket.socket() as s:
        s.bind((HOST, 0))
        port: int = s.getsockname()[1]
        return port


@asynccontextmanager
async def running_broker(choice: str, port: int | None = None) -> AsyncIterator[Broker]:
    """A broker for `choice`: "auto", "mosquitto", "amqtt" or "HOST:PORT".

    `port` is a free one by default. Raises ConfigError for a choice that can't be had, BrokerError
    if it does not come up within 10 s. What was started is ended with the context.
    """
    if choice == "auto":
        choice = "mosquitto" if find_mosquitto() else "amqtt"
    if choice == "mosquitto":
        async with _mosquitto(port or free_port()) as broker:
            yield broker
    elif choice == "amqtt":
        async with _amqtt(port or free_port()) as broker:
            yield broker
    else:
        yield _existing(choice)


def _existing(choice: str) -> Broker:
    host, _, port = choice.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ConfigError(f"--broker {choice}: not auto, mosquitto, amqtt or HOST:PORT")
    return Broker("external", host, int(port))


@asynccontextmanager
async def _mosquitto(port: int) -> AsyncIterator[Broker]:
    path = find_mosquitto()
    if path is None:
        raise ConfigError("mosquitto is not installed: apt-get install mosquitto, or amqtt")
    with tempfile.TemporaryDirectory(prefix="mote-broker-") as folder:
        conf = Path(folder, "mosquitto.conf")
        conf.write_text(
            f"listener {port} {HOST}\nallow_anonymous true\npersistence false\nuser root\n"
            "set_tcp_nodelay true\n"
        )
        with Path(folder, "log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *(path, "-c", str(conf)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C on a terminal is for us, who need the broker yet
            )
        try:
            await _wait_listening(port, process)
            yield Broker("mosquitto", HOST, port)
        finally:
            if process.returncode is None:
                process.terminate()
                await process.wait()


async def _wait_listening(port: int, process: asyncio.subprocess.Process) -> None:
    try:
        async with asyncio.timeout(_START_S):
            while process.returncode is None:
                try:
                    _, writer = await asyncio.open_connection(HOST, port)
                except OSError:
                    await asyncio.sleep(0.02)
                    continue
                writer.close()
                return
    except TimeoutError:
        pass
    raise BrokerError(f"mosquitto did not come up on {HOST}:{port}")


@asynccontextmanager
async def _amqtt(port: int) -> AsyncIterator[Broker]:
    try:
        from amqtt.broker import Broker as Amqtt  # noqa: PLC0415 (the emulator extra's)
    except ImportError:
        raise ConfigError(
            "no broker: apt-get install mosquitto, or pip install 'mote-agent[emulator]'"
        ) from None
    for name in ("amqtt", "transitions"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    broker = Amqtt(
        {
            "listeners": {"default": {"type": "tcp", "bind": f"{HOST}:{port}"}},
            "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": None},
        }
    )
    await broker.start()
    try:
        yield Broker("amqtt", HOST, port)
    finally:
        await broker.shutdown()
