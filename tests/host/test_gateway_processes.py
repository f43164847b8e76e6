"""Two processes of `mote gateway` on one store and one broker, both serving the same device."""

import os
import threading

import pytest
from fake_device import FakeDevice, fields_of
from fake_provider import FakeProvider, openai
from mote import records as r
from mote import wire
from mote_host.audit import verify_replica
from mote_host.registry import Registry
from mote_host.store import Store
from remote_device import Remote, processes

pytestmark = pytest.mark.slow


class Gate:
    """A provider whose first call takes until `open` is set."""

    def __init__(self):
        self.open = threading.Event()
        self.fake = FakeProvider(self._slow, default=openai("the reply"))

    def _slow(self, received):
        self.open.wait(30)
        return openai("the reply")

    def __enter__(self):
        self.fake.__enter__()
        return self

    def __exit__(self, *_):
        self.open.set()
        self.fake.close()


@pytest.fixture
def provider():
    with Gate() as gate:
        yield gate


@pytest.fixture
def config(tmp_path, mosquitto, provider):
    path = tmp_path / "gateway.toml"
    path.write_text(
        f'[broker]\nport = {mosquitto.port}\n[gateway]\nstate_dir = "{tmp_path}"\n'
        f'[provider]\nkind = "openai"\nmodel = "m"\nbase_url = "{provider.fake.openai_url}"\n'
    )
    return path


def released(heard):
    """(request id, digest) of the replies in `dn` messages."""
    found = [fields for fields in fields_of(heard) if fields[1] == wire.REPLY_END]
    return {(bytes(fields[2]), bytes(fields[4])) for fields in found}


@pytest.mark.parametrize(("killed", "calls"), [("nobody", 1), ("other", 1), ("at work", 2)])
async def test_one_reply_is_released(tmp_path, mosquitto, provider, config, killed, calls):
    fern = FakeDevice("fern", Registry(tmp_path).enroll("fern"))
    remote = Remote(fern, mosquitto.port)
    environment = {**os.environ, "MOTE_PROVIDER_KEY": "none"}
    async with processes(config, 2, environment) as gateways:
        store = Store(tmp_path / "gateway.db")
        fern.ask("hello")
        await remote.until(lambda: provider.fake.requests)
        (owner,) = store.owners()
        for process in gateways:
            works = str(process.pid) == owner.split("/")[1]
            if killed == ("at work" if works else "other"):
                process.kill()
                await process.wait()
        if killed != "at work":
            provider.open.set()
        await remote.until(lambda: fern.answers)
        await remote.until(lambda: store.device("fern").tip == fern.agent.log.seq)
        provider.open.set()
    assert [x[2:] for x in fern.answers] == [(r.DONE, "the reply")]
    assert len(provider.fake.requests) == calls
    assert len(released(remote.heard)) == 1
    assert store.owners() == []
    assert verify_replica(store, "fern").verified
    store.close()


async def test_a_turn_with_both_of_them(tmp_path, mosquitto, provider, config):
    calls = [("a", "read_moisture", {"bed": "left"}), ("b", "run_pump", {"seconds": 3})]
    provider.open.set()
    fern = FakeDevice("fern", Registry(tmp_path).enroll("fern"))
    remote = Remote(fern, mosquitto.port)
    async with processes(config, 2, {**os.environ, "MOTE_PROVIDER_KEY": "none"}):
        fern.ask("hello")
        await remote.until(lambda: fern.answers)
        provider.fake.script(openai("", calls), openai("It is wet now."))
        fern.ask("water it")
        await remote.until(lambda: len(fern.answers) == 2)
    assert fern.answers[1][3] == "It is wet now."
    assert fern.ran == [("read_moisture", "left"), ("run_pump", 3.0)]
    assert len(provider.fake.requests) == len(released(remote.heard)) == 3
