"""`wire`: bytes on the device's socket for a turn of two tool calls, beside HTTPS and JSON.

The same turn (eight tools, one call a reply, fixed words) is done by a device through its broker,
and by a client that asks an OpenAI-compatible server itself, as an agent without a gateway does:
it sends its whole conversation with each of the turn's three requests. What is counted is payload
of TCP at a relay in front of the device, both ways. For mote that includes the ask that comes in,
the answer that goes out, and the upload of the whole turn to the replica with its acknowledgement;
the client of HTTPS is asked nothing and tells nobody, so that those bytes count against mote.
"""

import asyncio
import json
import ssl
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import trustme
from mote_host.config import SYSTEM_PROMPT
from mote_host.demo.brokers import HOST, find_mosquitto, free_port
from mote_host.demo.meter import Meter, metered
from mote_host.demo.runtimes import CPython
from mote_host.demo.stage import DEVICE, Stage, staged
from mote_host.errors import DeviceError, MoteError
from mote_host.providers.base import Message, Request
from mote_host.providers.openai import OpenAI
from rich.table import Table

from tests.bench import chat, plot
from tests.bench.harness import BUILD, Figures, Outcome, spread, table
from tests.bench.split import Share, Split

HISTORIES = (0, 20, 64, 200)
"""Turns in the session before those that are counted. The gateway shows a model 64 of them."""

_ROUNDS = 5  # turns that are counted at each history
_NEW = 3  # turns on a connection of their own
_WARM = 15  # turns before the first: sequence numbers are no longer small
_TIMEOUT_S = 20.0
_TARGET = 1 / 30
_QUIET_S = 0.35  # longer than a device waits for company before it uploads a record

_DEVICE_CONFIG = """
[tools]
path = ["tools"]
modules = ["eight"]

[limits]
asks_per_hour = 100000
asks_burst = 1000
facts = 0
"""
_METHOD = (
    f"TCP payload both ways at the device's socket; medians of {_ROUNDS} turns with at least that "
    f"many turns of history in the session, of {_NEW} on new connections (TLS 1.3 with one ECDSA "
    "certificate and no chain; mote: a device that has just been started); two calls, one a "
    "reply, so three model requests; mote: ask, answer, upload of the turn and acknowledgements "
    "included; HTTPS: the same system prompt, tools and messages, whole history in each request, "
    "HTTP/1.1, three response headers; device and client on CPython"
)


async def _quiet(relay: Meter) -> None:
    """Wait until nothing was counted for a while."""
    before = -1
    while before != relay.total:
        before = relay.total
        await asyncio.sleep(_QUIET_S)


@dataclass(slots=True)
class Counted:
    """Bytes of a turn by history, both ways, one number for each turn that was counted."""

    reused: dict[int, list[int]] = field(default_factory=dict)
    new: dict[int, list[int]] = field(default_factory=dict)

    def median(self, history: int, new: bool = False) -> int:
        """The median at this history."""
        return round(spread((self.new if new else self.reused)[history]).median)


@dataclass(slots=True)
class _Side:
    """A device on its stage, behind a relay."""

    stage: Stage
    relay: Meter
    split: Split = field(default_factory=Split)
    asked: int = 0
    shares: dict[str, Share] = field(default_factory=dict)
    records: dict[str, Share] = field(default_factory=dict)

    async def measure(self) -> Counted:
        """Turns at every history."""
        counted = Counted()
        await self._turns("warm", _WARM)
        for history in HISTORIES:
            session = f"h{history}"
            await self._turns(session, history)
            counted.reused[history] = [await self._counted(session) for _ in range(_ROUNDS)]
            counted.new[history] = [await self._counted(session, True) for _ in range(_NEW)]
        return counted

    async def _turns(self, session: str, n: int) -> None:
        for _ in range(n):
            await self._ask(session)
        await self._settle()

    async def _counted(self, session: str, new: bool = False) -> int:
        """One turn's bytes, until its log is acknowledged."""
        before = self.relay.total
        self.split.take()
        if new:  # not just the connection: after a short one the device would wait
            await self.stage.device.kill()
            await self.stage.device.start()
        await self._ask(session)
        await self._settle()
        if not new:
            self.shares, self.records = self.split.take()
        return self.relay.total - before

    async def _settle(self) -> None:
        await self.stage.settled()
        await _quiet(self.relay)

    async def _ask(self, session: str) -> None:
        self.asked += 1
        ask_id = f"{self.asked:016x}"
        payload = json.dumps({"text": chat.ASK, "session": session, "id": ask_id})
        await self.stage.client.publish(f"mote/{DEVICE}/in", payload, qos=1)
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                answer = await self._answer(ask_id)
        except TimeoutError:
            said = self.stage.device.said()[-2000:]
            raise DeviceError(f"no answer within {_TIMEOUT_S:g} s:\n{said}") from None
        if answer["text"] != chat.ANSWER:
            raise DeviceError(f"the turn went wrong: {answer['status']}: {answer['text']}")

    async def _answer(self, ask_id: str) -> dict[str, str]:
        async for message in self.stage.client.messages:
            if message.topic.value.endswith("/out"):
                answer: dict[str, str] = json.loads(message.payload)
                if answer["id"] == ask_id:
                    return answer
        raise DeviceError("the connection to the broker ended")


@asynccontextmanager
async def _side(folder: Path, tls: bool) -> AsyncIterator[tuple[_Side, chat.Model]]:
    _begin(folder)
    model = chat.Model()
    async with AsyncExitStack() as stack:
        near, far = await stack.enter_async_context(_mosquitto(folder))
        relay = await stack.enter_async_context(metered(HOST, far if tls else near))
        stage = await stack.enter_async_context(
            staged(
                *(folder / "stage", CPython(), model),
                broker=f"{HOST}:{near}",
                device_config=_DEVICE_CONFIG,
            )
        )
        _rewire(stage, folder, relay.port, tls)
        side = _Side(stage, relay)
        if not tls:
            relay.listener = side.split
        await stage.device.start()
        await stage.online()
        await stage.client.subscribe(f"mote/{DEVICE}/out", qos=1)
        yield side, model


def _begin(folder: Path) -> None:
    folder.mkdir()
    (folder / "eight.py").write_text(chat.TOOLS)


def _rewire(stage: Stage, folder: Path, port: int, tls: bool) -> None:
    """Send the device through the relay, and give it its tools."""
    tools = stage.device.folder / "tools"
    tools.mkdir()
    (folder / "eight.py").rename(tools / "eight.py")
    config = stage.device.folder / "moted.toml"
    lines = config.read_text().splitlines()
    lines = [line for line in lines if not line.startswith(("host = ", "port = ", "board = "))]
    secure = f'tls = true\nca_file = "{folder}/ca.pem"' if tls else ""
    at = lines.index("[broker]") + 1
    lines[at:at] = ['host = "localhost"', f"port = {port}", secure]
    config.write_text("\n".join(lines) + "\n")


@asynccontextmanager
async def _mosquitto(folder: Path) -> AsyncIterator[tuple[int, int]]:
    """A broker; yields its port without TLS and that with it. `folder`/ca.pem signed it."""
    program = find_mosquitto()
    if program is None:
        raise MoteError("mosquitto is not installed: apt-get install mosquitto")
    near, far = free_port(), free_port()
    ca = trustme.CA()
    ca.cert_pem.write_to_path(folder / "ca.pem")
    ca.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(folder / "own.pem")
    (folder / "mosquitto.conf").write_text(
        "per_listener_settings false\nallow_anonymous true\nuser root\nset_tcp_nodelay true\n"
        f"listener {near} {HOST}\nlistener {far} {HOST}\ncertfile {folder}/own.pem\n"
        f"keyfile {folder}/own.pem\n"
    )
    process = await asyncio.create_subprocess_exec(
        program, "-c", str(folder / "mosquitto.conf"), stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            while b"running" not in (line := await process.stderr.readline()):
                if not line:
                    raise MoteError("mosquitto did not start")
        yield near, far
    finally:
        process.terminate()
        await process.wait()


async def _direct(turn: list[Request]) -> Counted:
    """The same turn over HTTPS: `turn` are its requests, as the gateway made them."""
    own = [chat.own(request.messages) for request in turn]
    whole = (*own[-1], Message("assistant", chat.ANSWER))
    counted = Counted()
    ca = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    ca.issue_cert("localhost").configure_cert(server)
    ca.configure_trust(client)
    async with chat.served(server) as port, metered(HOST, port) as relay:
        url = f"https://localhost:{relay.port}/v1"
        for history in HISTORIES:
            asked = [
                Request(SYSTEM_PROMPT, history * whole + messages, turn[0].tools)
                for messages in own
            ]
            for new in (False, True):
                rounds = _NEW if new else _ROUNDS
                found = [await _requests(relay, url, client, asked, new) for _ in range(rounds)]
                (counted.new if new else counted.reused)[history] = found
    return counted


async def _requests(
    relay: Meter, url: str, context: ssl.SSLContext, asked: list[Request], new: bool
) -> int:
    """The bytes of these requests on one connection; `new`: with its opening."""
    async with httpx.AsyncClient(verify=context) as client:
        provider = OpenAI(url, chat.MODEL, chat.KEY, client=client)
        if not new:
            await provider.complete(asked[0])
        before = relay.total
        for request in asked:
            await provider.complete(request)
        return relay.total - before


async def _measured() -> tuple[dict[str, Counted], _Side]:
    with tempfile.TemporaryDirectory(prefix="mote-bench-") as scratch:
        async with _side(Path(scratch, "plain"), tls=False) as (side, model):
            plain = await side.measure()
            turn = list(model.requests)
        async with _side(Path(scratch, "tls"), tls=True) as (secured, _):
            tls = await secured.measure()
        return {"mote_plain": plain, "mote": tls, "https": await _direct(turn)}, side


def run() -> Outcome:
    """mote without and with TLS, and HTTPS."""
    counted, side = asyncio.run(_measured())
    figures: Figures = {}
    for name, found in counted.items():
        for history in HISTORIES:
            figures[f"{name}_h{history}"] = found.median(history)
            figures[f"{name}_h{history}_new"] = found.median(history, new=True)
    figures["https_to_mote_h20"] = _ratio(counted, 20)
    figures["https_to_mote_h200"] = _ratio(counted, 200)
    for name, share in {**side.shares, **side.records}.items():
        figures[f"plain_{name.lower().replace(' ', '_')}"] = share.size
    plot.write(BUILD / "bench", HISTORIES, {n: c.reused for n, c in counted.items()})
    return Outcome(figures, _METHOD, _table(counted, side))


def _ratio(counted: dict[str, Counted], history: int) -> float:
    return round(counted["https"].median(history) / counted["mote"].median(history), 1)


def _table(counted: dict[str, Counted], side: _Side) -> Table:
    shown = table("bytes a turn", *(f"{n} turns" for n in HISTORIES))
    for new in (False, True):
        for name, found in counted.items():
            title = f"{_TITLES[name]}{', new connection' if new else ''}"
            shown.add_row(title, *(f"{found.median(n, new):,}" for n in HISTORIES))
    shown.add_row("HTTPS / mote, both TLS", *(f"{_ratio(counted, n)}" for n in HISTORIES))
    shown.add_section()
    for title, shares in (("", side.shares), ("  in uploads: ", side.records)):
        for name, share in sorted(shares.items(), key=lambda item: -item[1].size):
            shown.add_row(f"{title}{name}", f"{share.size}", f"{share.messages} x", "", "")
    return shown


_TITLES = {"mote_plain": "mote, no TLS", "mote": "mote", "https": "HTTPS and JSON"}
