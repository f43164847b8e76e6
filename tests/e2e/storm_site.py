"""The storm's processes: mosquitto, the gateway, the devices; how they are killed and started."""

import asyncio
import os
import shutil
import signal
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path

from mote_host.config import BrokerSettings
from mote_host.demo.brokers import find_mosquitto
from mote_host.demo.runtimes import Runtime
from mote_host.demo.stage import Device
from mote_host.enrolment import write_device
from mote_host.registry import Registry

HOST = "127.0.0.1"
_START_S = 30.0
_STOP_S = 10.0

# What a device can do. `world.txt` lies outside of everything that a device remembers: a line for
# each start of a ONCE call, on disk before the call does anything.
_TOOLS = """
import asyncio
import os

from mote.tools import ONCE, READ, text, tool

WORLD = "{world}"


@tool("Look.", READ)
def look():
    return "green"


@tool("Dispense.", ONCE, text("token", 64), timeout_s=20)
async def dispense(token):
    with open(WORLD, "a") as file:
        file.write(token + "\\n")
        file.flush()
    await asyncio.sleep(0.05)
    return "dispensed"
"""
_DEVICE = """
[log]
segment_kib = 128
segments = 8

[tools]
path = ["tools"]
modules = ["storm_tools"]

[limits]
asks_per_hour = 100000
asks_burst = 1000
restarts = 100
seen_asks = 100
facts = 0
"""
_GATEWAY = """
[broker]
port = {port}

[provider]
kind = "openai"
model = "storm"
base_url = "http://127.0.0.1:{model}/v1"

[gateway]
state_dir = "{folder}/gateway"
window_bytes = 2000
"""
_MOSQUITTO = """
listener {port} 127.0.0.1
allow_anonymous true
user root
set_tcp_nodelay true
persistence true
persistence_location {folder}/
autosave_interval 1
autosave_on_changes true
max_queued_messages 1000
"""


class Process:
    """A process that is killed and started; all it prints goes to one file."""

    def __init__(self, name: str, command: list[str], folder: Path, ready: bytes) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self.process: asyncio.subprocess.Process | None = None
        self.environment = dict(os.environ)
        self._command = command
        self._ready = ready

    @property
    def code(self) -> int | None:
        """The exit code, if it was started and has ended by itself."""
        return self.process.returncode if self.process else None

    async def start(self) -> None:
        """Start it, and wait until it says that it is ready. Raises RuntimeError."""
        seen = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as out:
            self.process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=self.environment,
            )
        with suppress(TimeoutError):
            async with asyncio.timeout(_START_S):
                while self._ready not in self.log.read_bytes()[seen:]:
                    if self.code is not None:
                        break
                    await asyncio.sleep(0.02)
                else:
                    return
        raise RuntimeError(f"{self.name} did not start:\n{self.log.read_text()[-2000:]}")

    async def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send it a signal, and wait."""
        process, self.process = self.process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            process.send_signal(number)
        try:
            async with asyncio.timeout(_STOP_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


def broker_process(folder: Path, port: int) -> Process:
    """mosquitto with its messages and sessions on disk."""
    program = find_mosquitto()
    assert program, "mosquitto is needed: apt-get install mosquitto"
    conf = folder / "mosquitto.conf"
    conf.write_text(_MOSQUITTO.format(port=port, folder=folder))
    return Process("mosquitto", [program, "-c", str(conf)], folder, b"running")


def gateway_process(folder: Path, port: int, model: int) -> Process:
    """`mote gateway`; its configuration is `folder`/gateway.toml."""
    config = folder / "gateway.toml"
    config.write_text(_GATEWAY.format(port=port, model=model, folder=folder))
    command = [sys.executable, "-m", "mote_host", "--config", str(config), "gateway", "-v"]
    process = Process("gateway", command, folder, b"provider openai")
    process.environment["COLUMNS"] = "200"
    return process


class StormDevice(Device):
    """A device of the storm, with its tools and its world."""

    def __init__(self, name: str, runtime: Runtime, folder: Path, port: int) -> None:
        super().__init__(runtime, folder / name)
        self.name = name
        self.runtime = runtime
        self.world_file = folder / f"{name}.world.txt"
        self._state = self.folder / "state"
        self._backup = self.folder / "backup"
        self.folder.mkdir()
        (self.folder / "tools").mkdir()
        source = _TOOLS.format(world=self.world_file)
        (self.folder / "tools" / "storm_tools.py").write_text(source)
        near = BrokerSettings(port=port)
        key = Registry(folder / "gateway").enroll(name)
        more = "keepalive_s = 5\n" + _DEVICE
        write_device(self.folder, name, key, near, "none", more=more)

    def has_backup(self) -> bool:
        """Whether `back_up` was called."""
        return self._backup.exists()

    def back_up(self) -> None:
        """Copy all that it remembers, while it is dead."""
        shutil.copytree(self._state, self._backup)

    def restore(self) -> None:
        """Put the copy in the place of what it remembers, while it is dead; there is none then."""
        shutil.rmtree(self._state)
        self._backup.rename(self._state)

    def tokens(self) -> Counter[str]:
        """How often each ONCE call was started."""
        if not self.world_file.exists():
            return Counter()
        return Counter(self.world_file.read_text().split())


def mote(folder: Path, *arguments: str) -> list[str]:
    """The command line of `mote` on the storm's configuration."""
    return [
        sys.executable,
        "-m",
        "mote_host",
        "--config",
        str(folder / "gateway.toml"),
        *arguments,
    ]
