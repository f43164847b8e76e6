"""Declarations: a set is shared under its hash only if it is whole and what the hash says."""

import hashlib

import pytest
from fake_device import FakeDevice, kinds
from mote import wire
from mote_host.providers.base import Reply
from mote_host.store import Store, meet
from mote_host.toolsets import MAX_DECLARATION_BYTES, MAX_DECLARATIONS, Toolsets


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "gateway.db")
    with store.transaction() as db:
        for name in ("fern", "moss"):
            meet(db, name)
    yield store
    store.close()


@pytest.fixture
def toolsets(store):
    return Toolsets(store)


def declared():
    tools = FakeDevice("fern", bytes(32)).agent.tools
    return tools.hash, [bytes(tools.declaration(n)) for n in range(len(tools.tools))]


def kept(store, table="declaring"):
    """How many declarations there are, and their bytes."""
    with store.reading() as db:
        data = [row[0] for row in db.execute(f"SELECT bytes FROM {table}")]  # noqa: S608
    return len(data), sum(map(len, data))


def test_a_set_is_shared_once_it_is_whole(store, toolsets):
    tools, (first, second) = declared()
    assert toolsets.declare("fern", tools, 1, 2, second) is False
    assert toolsets.get(tools) is None
    assert toolsets.declare("moss", tools, 0, 2, first) is False, "each device has its own"
    assert toolsets.declare("fern", tools, 0, 2, first) is True
    assert toolsets.get(tools) == [first, second]
    assert toolsets.declare("moss", tools, 0, 2, b"whatever") is True
    assert toolsets.get(tools) == [first, second]


@pytest.mark.parametrize("position", [0, 1])
def test_nobody_makes_a_set_another_one(store, toolsets, position):
    tools, real = declared()
    lie = real[position].replace(b"soil", b"soap").replace(b"pump", b"bomb")
    assert lie != real[position]
    for index in (position, 1 - position):
        data = lie if index == position else real[index]
        assert toolsets.declare("moss", tools, index, 2, data) is False
    assert toolsets.get(tools) is None
    assert kept(store) == (0, 0), "the lie is dropped"
    assert kept(store, "declarations") == (0, 0)
    # what moss began does not stand in fern's way, nor fern's in that of moss
    toolsets.declare("moss", tools, position, 2, lie)
    assert toolsets.declare("fern", tools, 0, 2, real[0]) is False
    assert toolsets.declare("fern", tools, 1, 2, real[1]) is True
    assert toolsets.get(tools) == real


def test_a_set_that_was_left_unfinished_is_not_mixed_with_the_next_one(toolsets):
    tools, real = declared()
    toolsets.declare("fern", bytes(16), 2, 3, real[0])
    toolsets.declare("fern", tools, 2, 3, real[0])  # of another count
    assert toolsets.declare("fern", tools, 0, 2, real[0]) is False
    assert toolsets.declare("fern", tools, 1, 2, real[1]) is True
    assert toolsets.get(tools) == real


@pytest.mark.parametrize("cut", [1, 5, -1])
def test_the_same_bytes_cut_elsewhere_are_no_tools(toolsets, cut):
    tools, (first, second) = declared()
    both = first + second
    at = len(first) + cut
    for index, data in enumerate((both[:at], both[at:])):
        assert toolsets.declare("moss", tools, index, 2, data) is False
    assert toolsets.declare("moss", tools, 0, 1, both) is False
    assert toolsets.get(tools) is None


def test_what_is_not_whole_is_bounded_and_goes(store, toolsets):
    one = b"\x91\xc5\x1f\x00" + bytes(0x1F00)
    for n in range(20):
        tools = hashlib.sha256(bytes([n])).digest()[:16]
        for index in range(MAX_DECLARATIONS + 5):
            toolsets.declare("moss", tools, index, MAX_DECLARATIONS + 1, one)
            if index < 3:
                toolsets.declare("moss", tools, index, MAX_DECLARATIONS, one)
    assert kept(store) == (3, 3 * len(one)), "one set a device"
    long = b"\x91\xc5\x20\x00" + bytes(0x2000)
    assert len(long) > MAX_DECLARATION_BYTES
    toolsets.declare("moss", tools, 3, MAX_DECLARATIONS, long)
    toolsets.declare("moss", tools, 0, 0, one)
    assert kept(store)[0] == 3
    store.forget("moss")
    assert kept(store) == (0, 0)
    assert toolsets.declare("nobody", tools, 0, 2, one) is False
    assert kept(store) == (0, 0)


def test_a_device_without_tools_has_nothing_to_declare(toolsets):
    assert toolsets.get(hashlib.sha256(b"").digest()[:16]) == []


async def test_a_request_waits_for_the_real_set(bench, fern):
    """Another enrolled device lies about fern's tools before fern is ever asked."""
    tools, real = declared()
    moss = FakeDevice("moss", bench.registry.enroll("moss"))
    await bench.sync(moss)
    for index in range(2):
        data = real[index].replace(b"soil", b"soap")
        message = bytes(moss.link._up.message(wire.TOOL, tools, index, 2, data))
        await bench.service.receive("moss", message)
    bench.provider.script = [Reply("hello")]
    fern.ask("hello")
    fern.settle()
    asked = []
    while not fern.answers:
        for message in fern.outgoing():
            await bench.service.receive("fern", message)
        await bench.service.idle()
        asked += kinds(bench.inbox)
        for _, payload in bench.inbox:
            fern.incoming(payload)
        bench.inbox.clear()
    assert wire.TOOLS in asked
    assert bench.provider.requests[0].tools[0].description == "Read the soil's moisture."
