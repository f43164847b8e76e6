"""TLS on rv32: what the board trusts, what it refuses, and that the agent has room beside it."""

import asyncio
import base64
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trustme
from mote_emulator.console import BoardTraceback
from mote_emulator.device import Options, prepare, running
from mote_emulator.firmware import MODULES, build
from mote_emulator.machine import HOST_ADDRESS
from mote_emulator.panel import Panel
from mote_emulator.site import Site, site
from mote_host.broker import Broker
from mote_host.config import BrokerSettings
from mote_host.demo.brokers import find_mosquitto, free_port
from mote_host.enrolment import write_device
from mote_host.providers import Call, Reply

from tests.e2e.scripted import Scripted
from tests.emulator import heaps

pytestmark = [
    pytest.mark.emulator,
    pytest.mark.parametrize("board_name", ["rv32"], scope="session"),
]

KIB = 1024
ECDSA, RSA = trustme.KeyType.ECDSA, trustme.KeyType.RSA
NAMES = ("localhost", HOST_ADDRESS)
LONG = 10_000  # bytes: more than the board's buffers hold

# MQTT 3.1.1 is spoken by hand: CONNECT with an empty client identifier, and CONNACK.
HELLO = """
import asyncio, network
from mote_ports.micropython.trust import trusting
from mote_ports.streams import connect
network.LAN().active(True)
async def dial(host, port, ca, own=()):
    def context():
        made = trusting([ca])
        if own:
            made.load_cert_chain(*own)
        return made
    while not network.LAN().isconnected():
        await asyncio.sleep_ms(5)
    return await connect(host, port, ("ca.pem", context))
async def hello(*target):
    try:
        stream = await dial(*target)
        stream.write(b"\\x10\\x0c\\x00\\x04MQTT\\x04\\x02\\x00\\x3c\\x00\\x00")
        await stream.drain()
        answer = bytearray(4)
        n = await stream.read(answer)
        stream.close()
        return bytes(answer[:n])
    except OSError as e:
        return e.args[-1]
    except MemoryError:
        return "out of memory"
"""
WELCOME = r"b' \x02\x00\x00'"
ECHO = """
async def echo(size, *target):
    stream = await dial(*target)
    data = bytes(n * 7 % 251 for n in range(size))
    stream.write(data)
    await stream.drain()
    back, buf = bytearray(), bytearray(1000)
    while len(back) < size:
        n = await stream.read(buf)
        if not n:
            break
        back += memoryview(buf)[:n]
    print(back == data, stream._reader.s.cipher())
    stream.close()
"""
LEAK = """
import gc
async def many(*target):
    used = [0] * 8
    for n in range(8):
        assert await hello(*target) == %s
        gc.collect()
        used[n] = gc.mem_alloc()
    print(used[7] - used[2])
"""
# Takes the heap but for so many bytes.
STARVE = """
import gc
gc.collect()
hog = [None] * 1000
n = 0
while gc.mem_free() > %d:
    hog[n] = bytearray(240)
    n += 1
"""


@pytest.fixture(scope="session")
def firmware(firmware: Path, board_name: str) -> Path:
    """The firmware with TLS, for every board that is booted here; its programs import modules.

    It takes the usual one's place, which skips the test where it can't be built.
    """
    return build(board_name, agent=MODULES, tls=True).elf


class Authority:
    """A CA, and what a server of it needs; files are in `folder`."""

    def __init__(self, folder: Path, key: trustme.KeyType = ECDSA, *, between: int = 0) -> None:
        self.folder = folder
        self._key = key
        self.root = self._issuer = trustme.CA(key_type=key)
        for _ in range(between):
            self._issuer = self._issuer.create_child_ca(key_type=key)
        self.root.cert_pem.write_to_path(folder / "ca.pem")

    @property
    def der(self) -> bytes:
        """What the board trusts."""
        return ssl.PEM_cert_to_DER_cert(self.root.cert_pem.bytes().decode())

    def issue(self, name: str, *names: str, **dates: datetime) -> Path:
        """A certificate for these names with its key and the CAs in between, in `name`."""
        made = self._issuer.issue_cert(*(names or NAMES), key_type=self._key, **dates)
        path = self.folder / name
        made.private_key_and_cert_chain_pem.write_to_path(path)
        return path

    def client(self) -> tuple[bytes, bytes]:
        """A client's certificate and key, in DER."""
        made = self._issuer.issue_cert("board-1", key_type=self._key)
        cert = ssl.PEM_cert_to_DER_cert(made.cert_chain_pems[0].bytes().decode())
        key = made.private_key_pem.bytes().decode().strip().splitlines()
        return cert, base64.b64decode("".join(key[1:-1]))


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@asynccontextmanager
async def mosquitto(ca: Authority, cert: Path, port: int, more: str = "") -> AsyncIterator[None]:
    """The broker on that port of loopback."""
    program = find_mosquitto()
    assert program, "mosquitto is needed: apt-get install mosquitto"
    config = ca.folder / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\ncafile {ca.folder}/ca.pem\ncertfile {cert}\n"
        f"keyfile {cert}\nallow_anonymous true\nset_tcp_nodelay true\nuser root\n{more}"
    )
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
        await process.communicate()


@pytest.fixture
def hello(board: Any) -> Callable[..., Any]:
    """`await hello(ca, cert)`: what a board that trusts `ca` makes of a mosquitto with `cert`.

    `own` is the board's certificate and key, which the broker wants to see unless it is None.
    Other options are the machine's.
    """

    async def ask(
        ca: Authority, cert: Path, trusted: bytes = b"", own: Any = None, **options: Any
    ) -> str:
        port = free_port()
        strict = "" if own is None else "require_certificate true\n"
        target = (HOST_ADDRESS, port, trusted or ca.der, own or ())
        async with mosquitto(ca, cert, port, strict):
            machine = await board(**options)
            said: str = await machine.execute(f"{HELLO}print(asyncio.run(hello(*{target!r})))")
        return said.strip()

    return ask


# ------------------------------------------------------------------------------ whom it trusts


@pytest.mark.parametrize("key", [ECDSA, RSA])
@pytest.mark.parametrize("between", [0, 1])
async def test_it_talks_to_a_server_of_its_ca(hello, tmp_path, key, between):
    ca = Authority(tmp_path, key, between=between)
    assert await hello(ca, ca.issue("srv.pem")) == WELCOME


async def test_it_refuses_a_server_of_another_ca(hello, authority, tmp_path):
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other")
    said = await hello(authority, authority.issue("srv.pem"), other.der)
    assert said == (
        "the certificate is signed by no CA of ca.pem: name the broker's CA with [broker] ca_file"
    )


async def test_it_refuses_a_server_of_another_name(hello, authority):
    said = await hello(authority, authority.issue("srv.pem", "a.example", "10.0.2.3"))
    assert said == (
        f'the certificate is not for "{HOST_ADDRESS}": [broker] host must be a name that is in it'
    )


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (datetime(2028, 6, 1, tzinfo=UTC), WELCOME),
        (
            datetime(2027, 12, 31, 23, 59, tzinfo=UTC),
            "the certificate is not valid yet, today is ",
        ),
        (datetime(2029, 1, 1, 0, 1, tzinfo=UTC), "the certificate expired, today is 2029-01-01: "),
        (datetime(1970, 1, 1, tzinfo=UTC), "the clock says 1970-01-01, before this program was "),
    ],
)
async def test_it_goes_by_its_own_clock(hello, authority, now, said):
    cert = authority.issue(
        "srv.pem", not_before=datetime(2028, 1, 1), not_after=datetime(2029, 1, 1)
    )
    assert (await hello(authority, cert, time_us=int(now.timestamp() * 1e6))).startswith(said)


@pytest.mark.parametrize("key", [ECDSA, RSA])
async def test_it_shows_a_certificate_of_its_own(hello, tmp_path, key):
    ca = Authority(tmp_path, key)
    assert await hello(ca, ca.issue("srv.pem"), own=ca.client()) == WELCOME


async def test_without_one_a_broker_that_wants_one_refuses(hello, authority):
    said = await hello(authority, authority.issue("srv.pem"), own=())
    assert "does it want a certificate ([broker] client_cert)" in said


async def test_without_entropy_there_is_no_tls(board, tmp_path):
    os.mkfifo(tmp_path / "dry")
    end = os.open(tmp_path / "dry", os.O_RDWR)  # so that it is open, and nothing comes out of it
    try:
        machine = await board(entropy=tmp_path / "dry")
        with pytest.raises(BoardTraceback, match="OSError: 52"):  # CTR_DRBG_ENTROPY_SOURCE_FAILED
            await machine.execute("import tls; tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)")
    finally:
        os.close(end)


def test_only_the_firmware_with_tls_has_any_of_it(board_name, firmware):
    assert "mbedtls_ssl" in firmware.with_suffix(".map").read_text()
    assert "mbedtls_ssl" not in build(board_name).map.read_text()


# --------------------------------------------------------------------------- records and memory


@asynccontextmanager
async def echoing(cert: Path) -> AsyncIterator[int]:
    """A server that sends back all that it gets, in one piece; yields its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(LONG))
        await writer.drain()
        await reader.read()
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_messages_may_be_longer_than_its_buffers(board, authority):
    async with echoing(authority.issue("srv.pem")) as port:
        machine = await board()
        target = (LONG, HOST_ADDRESS, port, authority.der)
        said = await machine.execute(f"{HELLO}{ECHO}asyncio.run(echo(*{target!r}))")
    assert said.startswith("True ('TLS-ECDHE-ECDSA-WITH-AES-256-GCM-")


async def test_a_chain_that_does_not_fit_is_refused(hello, tmp_path):
    ca = Authority(tmp_path, RSA, between=6)
    assert (await hello(ca, ca.issue("srv.pem"))).startswith("TLS: MBEDTLS_ERR_")


async def test_a_connection_leaves_nothing_behind(board, authority):
    port = free_port()
    async with mosquitto(authority, authority.issue("srv.pem"), port):
        machine = await board()
        target = (HOST_ADDRESS, port, authority.der)
        code = f"{HELLO}{LEAK % WELCOME}asyncio.run(many(*{target!r}))"
        assert await machine.execute(code) == "0\n"


async def test_too_little_memory_is_said(board, tmp_path):
    """Whatever it is that finds no more: a CA is loaded, a signature verified, a record sealed."""
    ca, port = Authority(tmp_path, RSA), free_port()
    async with mosquitto(ca, ca.issue("srv.pem"), port):
        machine = await board()
        target = (HOST_ADDRESS, port, ca.der)
        for free in (4 * KIB, *range(16 * KIB, 24 * KIB, 512)):
            code = f"print(asyncio.run(hello(*{target!r})))\nhog = None"
            said = (await machine.execute(HELLO + STARVE % free + code)).splitlines()
            if said[-1] == WELCOME:
                break
            assert said[-1] == "out of memory"  # after what asyncio may have to say
    assert 18 * KIB < free < 23 * KIB


# ------------------------------------------------------------------------------------ the agent

CALLS = Reply("", (Call("a", "set_lamp", {"on": True}), Call("b", "read_temperature", {})))
REPLY = Reply("x" * heaps.REPLY_BYTES)
LAMP = 2
Restart = Callable[[], Awaitable[None]]


@asynccontextmanager
async def secured(tmp_path: Path, key: trustme.KeyType) -> AsyncIterator[tuple[Site, Restart]]:
    """A site whose broker has TLS and a certificate with such a key; what restarts the broker."""
    ca = Authority(tmp_path, key)
    port, cert = free_port(), ca.issue("srv.pem")
    near = BrokerSettings(host="localhost", port=port, tls=True, ca_file=tmp_path / "ca.pem")
    model = Scripted(*[CALLS, REPLY] * (2 * heaps.SESSIONS))
    async with AsyncExitStack() as running:
        await running.enter_async_context(mosquitto(ca, cert, port))

        async def restart() -> None:
            await running.aclose()
            await running.enter_async_context(mosquitto(ca, cert, port))

        trust = f'ca_file = "{tmp_path}/ca.pem"\n'
        async with site(tmp_path, model, config=trust, broker=near) as made:
            yield made, restart


@pytest.mark.parametrize(("key", "heap_kib"), [(ECDSA, 62), (RSA, 66)])
async def test_the_agent_does_its_turns_over_tls(tmp_path, panel: Panel, firmware, key, heap_kib):
    """Two tool calls and a reply of 2 KB, in four sessions, in a heap that is known to do.

    There must be room for a second handshake beside what the agent has come to remember.
    """
    async with secured(tmp_path, key) as (made, restart):
        options = Options("rv32", tls=True, heap_bytes=heap_kib * KIB)
        machine = await made.power_on(options, panel=panel)
        await machine.wait_for("connected, MQTT")
        await heaps.turns(made, 1)
        assert panel.pins[LAMP].value == 1
        await restart()
        await machine.wait_for("connected, MQTT")
        async with Broker(made.settings.broker).connected() as made.client:
            await heaps.turns(made, 1)
        assert "memory" not in machine.console.transcript


async def test_a_broker_that_is_down_is_waited_for(tmp_path, panel: Panel, firmware):
    Authority(tmp_path)
    ca = tmp_path / "ca.pem"
    near = BrokerSettings(host="127.0.0.1", port=free_port(), tls=True, ca_file=ca)
    options = Options("rv32", tls=True)
    trust = f'ca_file = "{tmp_path}/ca.pem"\n'
    write_device(tmp_path, "board-1", b"k" * 32, near, "none", more=trust)
    prepared = prepare(tmp_path / "moted.toml", options)
    async with running(prepared, options, panel=panel) as machine:
        await machine.wait_for("moted: broker: ")
        await asyncio.sleep(5)  # time for other tries
        assert panel.boots == 1
        assert "ImportError" not in machine.console.transcript
