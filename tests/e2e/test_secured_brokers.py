"""A broker with TLS and passwords: the device and the gateway log in, or say what is wrong."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

import pytest
import trustme
from mote_host.asking import ask
from mote_host.broker import Broker
from mote_host.config import BrokerSettings, GatewaySettings, Settings
from mote_host.demo.brokers import free_port
from mote_host.demo.runtimes import Runtime
from mote_host.demo.stage import DEVICE, Device
from mote_host.enrolment import write_device
from mote_host.gateway import Gateway
from mote_host.providers import Offline
from mote_host.registry import Registry
from mote_host.store import Store

_LOGIN = """\
user = "{user}"
password_file = "broker.password"
ca_file = "ca.pem"
"""
_CLIENT = """\
client_cert = "client.pem"
client_key = "client.key"
"""


@pytest.fixture
def secured(tmp_path: Path, mosquitto: str) -> BrokerSettings:
    """What is needed to reach a mosquitto with TLS and a user `gw`; it is not started."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    past = {"not_before": datetime(2024, 1, 1), "not_after": datetime(2025, 1, 1)}
    for name, cert in (
        ("srv", ca.issue_cert("localhost")),
        ("named", ca.issue_cert("a.example")),
        ("expired", ca.issue_cert("localhost", **past)),
    ):
        cert.private_key_and_cert_chain_pem.write_to_path(tmp_path / f"{name}.pem")
    cert = ca.issue_cert(DEVICE)
    cert.cert_chain_pems[0].write_to_path(tmp_path / "client.pem")
    cert.private_key_pem.write_to_path(tmp_path / "client.key")
    (tmp_path / "client.key").chmod(0o600)
    passwords = tmp_path / "passwords"
    passwords.touch(0o600)
    for user in ("gw", DEVICE):
        subprocess.run(["mosquitto_passwd", "-b", passwords, user, "s3cret"], check=True)
    (tmp_path / "gw.password").touch(0o600)
    (tmp_path / "gw.password").write_text("s3cret\n")
    port = free_port()
    (tmp_path / "mosquitto.conf").write_text(
        f"listener {port} 127.0.0.1\ncafile {tmp_path}/ca.pem\ncertfile {tmp_path}/srv.pem\n"
        f"keyfile {tmp_path}/srv.pem\npassword_file {passwords}\nallow_anonymous false\n"
        "user root\n"
    )
    return BrokerSettings(
        host="localhost",
        port=port,
        user="gw",
        password_file=tmp_path / "gw.password",
        tls=True,
        ca_file=tmp_path / "ca.pem",
    )


@asynccontextmanager
async def _broker(
    folder: Path, program: str, cert: str = "srv.pem", more: str = ""
) -> AsyncIterator[None]:
    config = folder / "mosquitto.conf"
    config.write_text(config.read_text().replace("srv.pem", cert) + more)
    process = await asyncio.create_subprocess_exec(
        program, "-c", str(config), stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    try:
        async for line in process.stderr:
            if b"running" in line:
                break
        yield
    finally:
        process.terminate()
        await process.wait()


def _device(
    folder: Path, runtime: Runtime, near: BrokerSettings, key: bytes, **login: str
) -> Device:
    device = Device(runtime, folder / "device")
    device.folder.mkdir()
    more = _LOGIN.format(user=login.get("user", DEVICE)) + login.get("more", "")
    write_device(device.folder, DEVICE, key, near, "greenhouse", more=more)
    (device.folder / "ca.pem").write_bytes((folder / login.get("ca", "ca.pem")).read_bytes())
    for name in ("client.pem", "client.key"):
        shutil.copy(folder / name, device.folder / name)
    (device.folder / "broker.password").touch(0o600)
    (device.folder / "broker.password").write_text(login.get("password", "s3cret"))
    return device


@pytest.mark.slow
async def test_a_turn_over_tls_with_passwords(
    secured: BrokerSettings, runtime: Runtime, mosquitto: str, tmp_path: Path
) -> None:
    state = tmp_path / "gateway"
    settings = Settings(broker=secured, gateway=GatewaySettings(state_dir=state))
    registry, store = Registry(state), Store(state / "gateway.db")
    device = _device(tmp_path, runtime, secured, registry.enroll(DEVICE))
    async with _broker(tmp_path, mosquitto):
        gateway = asyncio.create_task(Gateway(settings, registry, store, Offline()).run())
        await device.start()
        try:
            async with Broker(secured).connected() as client, asyncio.timeout(20):
                answer = await ask(client, DEVICE, "read the temperature")
            assert "21.0 C" in answer.text
        finally:
            await device.stop()
            gateway.cancel()
            await asyncio.gather(gateway, return_exceptions=True)
            store.close()
            print(device.said())


@pytest.mark.parametrize(
    ("login", "cert", "said"),
    [
        ({"password": "wrong"}, "srv.pem", ["not authorized"]),
        ({"ca": "other.pem"}, "srv.pem", ["certificate is signed by no CA of ", "ca.pem"]),
        ({}, "named.pem", ["the certificate is ", 'not for "localhost"']),
        ({}, "expired.pem", ["the certificate expired", ": the broker needs a new one"]),
    ],
)
async def test_what_keeps_the_device_out_is_said(
    secured: BrokerSettings,
    runtime: Runtime,
    mosquitto: str,
    tmp_path: Path,
    login: dict[str, str],
    cert: str,
    said: list[str],
) -> None:
    device = _device(tmp_path, runtime, secured, bytes(32), **login)
    async with _broker(tmp_path, mosquitto, cert):
        await device.start()
        try:
            await _until_said(device, "broker: ")
        finally:
            await device.stop()
    (line,) = [line for line in device.said().splitlines() if "broker: " in line]
    assert all(words in line for words in said), line


async def test_a_broker_that_asks_for_a_certificate_gets_ours(
    secured: BrokerSettings, runtime: Runtime, mosquitto: str, tmp_path: Path
) -> None:
    device = _device(tmp_path, runtime, secured, bytes(32), more=_CLIENT)
    async with _broker(tmp_path, mosquitto, more="require_certificate true\n"):
        await device.start()
        try:
            await _until_said(device, "connected, MQTT")
        finally:
            await device.stop()


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("client.key", Path.unlink, "{path}: no such file"),
        ("client.key", lambda path: path.chmod(0o644), "{path}: others than its owner have"),
        ("client.pem", Path.unlink, "[broker] client_cert: {path}: no such file"),
        (
            *("client.pem", lambda path: path.write_bytes((path.parent / "ca.pem").read_bytes())),
            "[broker] client_key: {key}: not the key that belongs to {path}",
        ),
        ("ca.pem", lambda path: path.write_text("junk"), "[broker] ca_file: {path}: no certif"),
    ],
)
async def test_files_that_do_not_fit_are_found_at_the_start(
    secured: BrokerSettings,
    runtime: Runtime,
    tmp_path: Path,
    name: str,
    change: Callable[[Path], object],
    said: str,
) -> None:
    device = _device(tmp_path, runtime, secured, bytes(32), more=_CLIENT)
    change(device.folder / name)
    await device.start()
    assert device.process is not None
    async with asyncio.timeout(20):
        assert await device.process.wait() == 2
    paths = {"path": device.folder / name, "key": device.folder / "client.key"}
    assert said.format(**paths) in device.said()


async def _until_said(device: Device, text: str) -> None:
    try:
        async with asyncio.timeout(20):
            while text not in device.said():
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(device.said()) from None
