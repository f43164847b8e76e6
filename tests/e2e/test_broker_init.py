"""A broker as `mote broker` sets it up: who gets in, who may what, and a whole turn through it."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
from mote import mqtt
from mote_host.broker import Broker
from mote_host.config import BrokerSettings
from mote_host.demo.brokers import free_port
from mote_host.demo.runtimes import Runtime
from mote_host.demo.stage import Device
from mote_host.errors import BrokerError

MOTE = str(Path(sys.executable).with_name("mote"))
DEVICES = ("fern", "moss")
WAIT_S = 20


class Site:
    """A folder with a broker's files, the device `fern` enrolled, and `moss` only let in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.mote("broker", "init", "broker", "--port", str(self.port))
        self.mote("enroll", "fern", "--out", "fern")
        for name in DEVICES:
            self.mote("broker", "add", name, "--dir", "broker", "--out", name)

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "MOTE_CONFIG": str(self.folder / "broker" / "gateway.toml"),
            "XDG_STATE_HOME": str(self.folder / "state"),
        }

    def mote(self, *args: str) -> str:
        done = subprocess.run(
            [MOTE, *args],
            capture_output=True,
            text=True,
            cwd=self.folder,
            env=self.environment,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, (args, done.stdout, done.stderr)
        return done.stdout

    @asynccontextmanager
    async def running(
        self, *command: str, until: bytes
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        """A process that has printed `until` on standard error; terminated at the end."""
        process = await asyncio.create_subprocess_exec(
            *command, cwd=self.folder, env=self.environment, stderr=asyncio.subprocess.PIPE
        )
        assert process.stderr is not None
        try:
            async with asyncio.timeout(WAIT_S):
                while until not in (line := await process.stderr.readline()):
                    assert line, f"{command} ended"
            yield process
        finally:
            if process.returncode is None:
                process.terminate()
            await process.communicate()

    def broker(self, program: str) -> Any:
        return self.running(program, "-c", "broker/mosquitto.conf", until=b"running")

    def settings(self, of: str, **changes: Any) -> BrokerSettings:
        """The login of a user of the broker, with some settings changed."""
        near = self.folder / of if of in DEVICES else self.folder / "broker"
        password = near / ("broker.password" if of in DEVICES else f"{of}.password")
        found = {
            "host": "localhost",
            "port": self.port,
            "user": of,
            "password_file": password,
            "tls": True,
            "ca_file": self.folder / "broker" / "tls" / "ca.crt",
        }
        return BrokerSettings(**{**found, **changes})


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.mark.slow
async def test_a_whole_turn_runs_through_it(site: Site, mosquitto: str, runtime: Runtime) -> None:
    device = Device(runtime, site.folder / "fern")
    async with site.broker(mosquitto), site.running(MOTE, "gateway", until=b"connected"):
        await device.start()
        try:
            for user in ("gateway", "client"):
                settings = site.settings(user)
                (site.folder / "asking.toml").write_text(
                    f'[broker]\nport = {site.port}\nhost = "localhost"\ntls = true\n'
                    f'ca_file = "{settings.ca_file}"\nuser = "{user}"\n'
                    f'password_file = "{settings.password_file}"\n'
                )
                words = ("--config", "asking.toml", "ask", "fern", "read the temperature")
                said = await asyncio.to_thread(site.mote, *words, "--json", "--timeout", "20")
                assert "21.0 C" in json.loads(said)["text"]
            listed = await asyncio.to_thread(site.mote, "devices", "--json")
            assert json.loads(listed)["devices"][0]["state"] == "online"
        finally:
            await device.stop()
            print(device.said())


async def test_a_device_has_its_own_topics_only(site: Site, mosquitto: str) -> None:
    sent = {
        "fern": [f"mote/{d}/{t}" for d in DEVICES for t in ("up", "out", "state", "in", "dn")],
        "gateway": ["mote/fern/dn", "mote/fern/in", "mote/fern/up", "mote/moss/in"],
        "client": ["mote/fern/in", "mote/fern/dn", "mote/fern/out", "mote/moss/in"],
    }
    allowed = {
        "fern": ["mote/fern/up", "mote/fern/out", "mote/fern/state"],
        "gateway": ["mote/fern/dn", "mote/fern/in", "mote/moss/in"],
        "client": ["mote/fern/in", "mote/moss/in"],
    }
    reads = {
        "fern": ["mote/fern/dn", "mote/fern/in", "mote/fern/in"],
        "gateway": ["mote/fern/out", "mote/fern/state", "mote/fern/up"],
        "client": ["mote/fern/out", "mote/fern/state"],
    }
    async with (
        site.broker(mosquitto),
        Broker(site.settings("fern")).connected() as fern,
        Broker(site.settings("gateway")).connected() as gateway,
        Broker(site.settings("client")).connected() as client,
        Broker(site.settings("moss")).connected() as moss,
    ):
        clients = {"fern": fern, "gateway": gateway, "client": client}
        for each in (*clients.values(), moss):
            await each.subscribe("mote/#", qos=1)
        taken: dict[str, list[str]] = {}
        for user, topics in sent.items():
            for topic in topics:
                if await _publish(clients[user], topic):
                    taken.setdefault(user, []).append(topic)
        # what comes last to each: nothing comes late
        await gateway.publish("mote/moss/dn", "last", qos=1)
        await gateway.publish("mote/fern/dn", "last", qos=1)
        await moss.publish("mote/moss/out", "last", qos=1)
        assert taken == allowed
        heard = {
            "fern": await _heard(fern),
            "gateway": await _heard(gateway),
            "client": await _heard(client),
        }
        assert {user: sorted(topics) for user, topics in heard.items()} == reads
        assert await _heard(moss) == ["mote/moss/in", "mote/moss/in"]


async def _publish(client: aiomqtt.Client, topic: str) -> bool:
    """Publish with QoS 1; False if the broker says that it is not authorised."""
    acknowledged: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    paho = client._client
    loop = asyncio.get_running_loop()
    paho.on_publish, before = (
        lambda *args: loop.call_soon_threadsafe(acknowledged.set_result, args[3].value),
        paho.on_publish,
    )
    try:
        paho.publish(topic, "x", qos=1)
        async with asyncio.timeout(WAIT_S):
            return await acknowledged < 0x80
    finally:
        paho.on_publish = before


async def _heard(client: aiomqtt.Client) -> list[str]:
    """The topics of what arrives up to the payload "last"."""
    found = []
    async with asyncio.timeout(WAIT_S):
        async for message in client.messages:
            if message.payload == b"last":
                break
            found.append(message.topic.value)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"user": "", "password_file": ""}, "ot authori"),
        ({"user": "moss"}, "ot authori"),  # with the password of fern
        ({"ca_file": ""}, "certificate verify failed"),
    ],
)
async def test_others_are_kept_out(
    site: Site, mosquitto: str, changes: dict[str, str], said: str
) -> None:
    async with site.broker(mosquitto):
        with pytest.raises(BrokerError, match=said):
            async with Broker(site.settings("fern", **changes)).connected():
                pass


@pytest.mark.slow
async def test_a_device_that_is_added_while_it_runs_gets_in(site: Site, mosquitto: str) -> None:
    async with site.broker(mosquitto) as process:
        await asyncio.to_thread(
            site.mote, "broker", "add", "lily", "--dir", "broker", "--out", "lily"
        )
        assert int((site.folder / "broker" / "mosquitto.pid").read_text()) == process.pid
        process.send_signal(signal.SIGHUP)
        settings = site.settings(
            "fern", user="lily", password_file=site.folder / "lily" / "broker.password"
        )
        async with asyncio.timeout(WAIT_S):
            while True:
                try:
                    async with Broker(settings).connected():
                        return
                except BrokerError:
                    await asyncio.sleep(0.05)  # it reads the files when it gets round to it


@pytest.mark.slow
async def test_the_bridge_takes_a_device_there_over_tls(site: Site, mosquitto: str) -> None:
    session = mqtt.Session(
        "mote-moss",
        user="moss",
        password=(site.folder / "moss" / "broker.password").read_text().strip(),
    )
    master, slave = os.openpty()
    command = (MOTE, "bridge", "--port", os.ttyname(slave), "--broker", f"localhost:{site.port}")
    tls = ("--tls", "--ca", "broker/tls/ca.crt")
    async with (
        site.broker(mosquitto),
        site.running(*command, *tls, until=b"listening") as process,
    ):
        os.write(master, b"boot\r\n" + bytes(session.connect(0)))
        data = await asyncio.to_thread(os.read, master, 512)
        session.receive(data, 0)
        assert session.next_event() == (mqtt.CONNECTED, False)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        said = (await process.stderr.read()).decode()
        assert await process.wait() == 0
        assert "connected: the device to localhost" in said
        assert "stopped" in said
        assert "Traceback" not in said
    os.close(master)
    os.close(slave)
