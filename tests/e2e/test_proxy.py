"""The proxy does to a connection what it says, and nothing else."""

import asyncio
import random
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path

import pytest
from mote import mqtt

sys.path[:0] = [str(Path(__file__).resolve().parents[2])]

from tests.bench.packets import Packets  # noqa: E402 (the line above makes it importable)
from tests.e2e import faults  # noqa: E402
from tests.e2e.faults import Mix  # noqa: E402
from tests.e2e.proxy import HOST, Proxy, proxied  # noqa: E402

SEED = 7
N = 40


def _packets(level: int = 5, qos: int = 0) -> list[bytes]:
    """A CONNECT and N PUBLISH packets."""
    session = mqtt.Session("device", level=level)
    session._reset(level - 4, 60, 0)
    made = [bytes(session.connect(0))]
    for n in range(1, N + 1):
        payload = bytes([n]) * (5 * n)
        made.append(bytes(session.publish("mote/device/up", payload, qos, pid=n * qos)))
    return made


class Broker:
    """Keeps what each connection sent, and how it ended: "" (FIN) or the name of an error."""

    def __init__(self) -> None:
        self.port = 0
        self.received: list[bytearray] = []
        self.ends: list[str] = []
        self._news = asyncio.Event()

    def size(self) -> int:
        """Bytes of the first connection."""
        return len(self.received[0]) if self.received else 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = bytearray()
        self.received.append(data)
        end = ""
        try:
            while chunk := await reader.read(4096):
                data += chunk
                self._news.set()
                writer.write(chunk)  # an echo: the other direction
                await writer.drain()
        except (OSError, asyncio.CancelledError) as exc:
            end = type(exc).__name__
        self.ends.append(end)
        self._news.set()
        writer.close()

    async def until(self, seen: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not seen():
                self._news.clear()
                await self._news.wait()


@asynccontextmanager
async def _between(mix: Mix) -> AsyncIterator[tuple[Broker, Proxy]]:
    broker = Broker()
    server = await asyncio.start_server(broker.serve, HOST, 0)
    broker.port = server.sockets[0].getsockname()[1]
    async with proxied("test", broker.port, mix, SEED) as proxy:
        yield broker, proxy
    server.close()


async def _sent(mix: Mix, packets: list[bytes]) -> tuple[Broker, Proxy, bytes]:
    """Send all packets through; returns what the far end got, and what came back until EOF."""
    async with _between(mix) as (broker, proxy):
        reader, writer = await asyncio.open_connection(HOST, proxy.port)
        back = b""
        try:
            for packet in packets:
                writer.write(packet)
            await writer.drain()
            if set(mix.stream) & faults.ENDS:
                async with asyncio.timeout(20):
                    back = await reader.read(-1)
            else:
                await broker.until(lambda: broker.size() == _length(mix, packets))
        except OSError:
            pass
        writer.close()
        await broker.until(lambda: bool(broker.ends))
        return broker, proxy, back


def _length(mix: Mix, packets: list[bytes]) -> int:
    publishes = sum(map(len, packets[1:]))
    copies = {faults.DROP: 0, faults.REPEAT: 2}
    return len(packets[0]) + publishes * copies.get(next(iter(mix.message), ""), 1)


def _ending(kind: str) -> Mix:
    return Mix({kind: 1}, every_bytes=1000)


@pytest.mark.parametrize("level", [4, 5])
@pytest.mark.parametrize("split", [1, 7, 10000])
async def test_without_faults_every_byte_passes_both_ways(level: int, split: int) -> None:
    data = b"".join(_packets(level))
    async with _between(faults.CALM) as (broker, proxy):
        reader, writer = await asyncio.open_connection(HOST, proxy.port)
        for at in range(0, len(data), split):
            writer.write(data[at : at + split])
            await writer.drain()
        async with asyncio.timeout(10):
            assert await reader.readexactly(len(data)) == data
        assert bytes(broker.received[0]) == data
        writer.close()
        await broker.until(lambda: broker.ends == [""])
        assert not proxy.counts


@pytest.mark.slow
@pytest.mark.parametrize("kind", [faults.STALL, faults.DELAY, faults.SLOW])
async def test_what_only_hinders_leaves_every_byte_as_it_is(kind: str) -> None:
    packets = _packets()[:6]
    broker, proxy, _ = await _sent(Mix({kind: 1}, every_bytes=100), packets)
    assert bytes(broker.received[0]) == b"".join(packets)
    assert set(proxy.counts) == {kind}


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(faults.ENDS))
async def test_what_ends_a_connection_leaves_nothing_out_before(kind: str) -> None:
    packets = _packets()
    broker, proxy, _ = await _sent(_ending(kind), packets)
    got = bytes(broker.received[0])
    assert 0 < len(got) < sum(map(len, packets))
    assert b"".join(packets).startswith(got)
    rest = Packets()
    assert list(rest.feed(got)) == packets[: len(list(Packets().feed(got)))]
    assert bool(rest.rest) == (kind == faults.TRUNCATE)
    assert proxy.counts[kind] >= 1


async def test_a_clone_says_again_what_the_client_said() -> None:
    packets = _packets()
    mix = Mix({faults.CLONE: 1}, every_bytes=2000)
    async with _between(mix) as (broker, proxy):
        _, writer = await asyncio.open_connection(HOST, proxy.port)
        writer.write(b"".join(packets))
        await broker.until(lambda: len(broker.received) > 1 and len(broker.received[1]) > 100)
        writer.close()
    assert b"".join(packets).startswith(bytes(broker.received[1]))
    assert proxy.counts[faults.CLONE] >= 1


async def _passed(
    kind: str, packets: list[bytes], share: float = 1.0
) -> tuple[list[bytes], Proxy]:
    broker, proxy, _ = await _sent(Mix(message={kind: share}), packets)
    return list(Packets().feed(bytes(broker.received[0]))), proxy


async def test_a_dropped_message_is_gone() -> None:
    packets = _packets()
    assert (await _passed(faults.DROP, packets))[0] == packets[:1]


async def test_a_repeated_message_comes_twice() -> None:
    head, *publishes = _packets()
    got, proxy = await _passed(faults.REPEAT, [head, *publishes])
    assert got == [head, *(packet for packet in publishes for _ in range(2))]
    assert proxy.counts[faults.REPEAT] >= N


async def test_a_message_of_qos_1_is_repeated_as_a_duplicate_and_never_lost() -> None:
    head, *publishes = _packets(qos=1)
    got, _ = await _passed(faults.REPEAT, [head, *publishes])
    assert got[1:3] == [publishes[0], bytes([publishes[0][0] | 8]) + publishes[0][1:]]
    for kind in (faults.SWAP, faults.LATE):
        assert (await _passed(kind, [head, *publishes]))[0] == [head, *publishes]


@pytest.mark.parametrize("kind", [faults.SWAP, faults.LATE])
async def test_messages_in_another_order_are_all_there(kind: str) -> None:
    packets = _packets()
    got, _ = await _passed(kind, packets, 0.5)
    assert sorted(got) == sorted(packets)
    assert got != packets


async def test_the_seed_decides() -> None:
    proxies = [Proxy("a", 1, faults.DEVICE, seed) for seed in (1, 1, 2)]
    plans = [list(islice(p.mix.plan(p.chance(1, "up", "plan")), 20)) for p in proxies]
    assert plans[0] == plans[1] != plans[2]
    assert list(proxies[0].mix.plan(proxies[0].chance(2, "up", "plan"))) != plans[0]
    kinds = [fault.kind for fault in islice(_all(faults.DEVICE), 2000)]
    assert set(kinds) == set(faults.STREAM)


def _all(mix: Mix):
    n = 0
    while True:
        n += 1
        yield from mix.plan(random.Random(n))
