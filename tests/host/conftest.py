"""A gateway on a bench with one device, and a real broker: mosquitto on a port of loopback."""

import socket
import subprocess
import time

import pytest
from click.testing import CliRunner
from fake_device import Bench, FakeDevice, Scripted
from mote_host.cli.main import cli
from mote_host.demo.brokers import find_mosquitto

START_TIMEOUT_S = 10


class Mosquitto:
    """One broker process; `stop` and `start` keep the port."""

    def __init__(self, program, folder):
        self._program = program
        self._folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._config = folder / "mosquitto.conf"
        self._config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence false\n"
        )
        self._process = None

    def start(self):
        with (self._folder / "mosquitto.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, "-c", str(self._config)], stdout=log, stderr=log
            )
        until = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < until:
            assert self._process.poll() is None, "mosquitto ended at once"
            try:
                # The connect itself waits: there is nothing to sleep for.
                socket.create_connection(("127.0.0.1", self.port), 0.2).close()
            except OSError:
                continue
            return
        raise AssertionError("mosquitto does not listen")

    def stop(self):
        if self._process is not None:
            self._process.terminate()
            self._process.wait(START_TIMEOUT_S)
            self._process = None


@pytest.fixture
def mosquitto(tmp_path_factory):
    """A running broker."""
    program = find_mosquitto()
    assert program, "mosquitto is needed: apt-get install mosquitto"
    broker = Mosquitto(program, tmp_path_factory.mktemp("mosquitto"))
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


@pytest.fixture
async def bench(tmp_path):
    bench = Bench(tmp_path, Scripted())
    async with bench.service.running():
        yield bench
    bench.store.close()


@pytest.fixture
def fern(bench):
    return FakeDevice("fern", bench.registry.enroll("fern"))


@pytest.fixture
def mote(tmp_path):
    """A function that runs a command of `mote`: (exit code, standard output)."""
    config = tmp_path / "gateway.toml"
    config.write_text(f'[gateway]\nstate_dir = "{tmp_path}"\n')

    def run(*args, stdin=None):
        words = ["--config", str(config), *map(str, args)]
        done = CliRunner().invoke(cli, words, input=stdin, standalone_mode=False)
        if done.exception:
            raise done.exception
        return done.return_value or 0, done.stdout

    return run
