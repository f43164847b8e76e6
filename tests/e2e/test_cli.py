"""The command line, as people and programs use it: real gateway and device processes."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mote_host.demo.brokers import find_mosquitto, free_port
from mote_host.demo.runtimes import Runtime

MOTE = str(Path(sys.executable).with_name("mote"))
MOTED = str(Path(sys.executable).with_name("moted"))
DEVICE = "fern"
WAIT_S = 30.0


class Site:
    """A configuration, a broker, and the processes that were started on it."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self.environment = {**os.environ, "MOTE_CONFIG": str(folder / "gateway.toml")}
        self.processes: list[subprocess.Popen[bytes]] = []
        (folder / "gateway.toml").write_text(
            f'[broker]\nport = {port}\n[gateway]\nstate_dir = "{folder / "state"}"\n'
        )

    def mote(self, *args: str, code: int = 0) -> str:
        """Run `mote`; returns what it printed, on both streams if it failed as it should."""
        done = subprocess.run(
            [MOTE, *args],
            capture_output=True,
            text=True,
            env=self.environment,
            timeout=60,
            cwd=self.folder,
            check=False,
        )
        assert done.returncode == code, (args, done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done.stdout if code == 0 else done.stdout + done.stderr

    def json(self, *args: str, code: int = 0) -> Any:
        return json.loads(self.mote(*args, "--json", code=code))

    def start(
        self, command: list[str], until: bytes, **environment: str
    ) -> subprocess.Popen[bytes]:
        """Start a process and wait until it prints `until` on standard error."""
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env={**self.environment, **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self.processes.append(process)
        _until(process, until)
        return process

    def stop(self) -> None:
        for process in reversed(self.processes):
            process.terminate()
            process.wait(10)


def _until(process: subprocess.Popen[bytes], said: bytes) -> None:
    """Read standard error up to the line that has `said`; who never says it is killed."""
    assert process.stderr is not None
    late = threading.Timer(WAIT_S, process.kill)
    late.start()
    seen = b""
    try:
        for line in process.stderr:
            seen += line
            if said in line:
                return
    finally:
        late.cancel()
    raise AssertionError(seen.decode())


@pytest.fixture
def site(tmp_path: Path, mosquitto: str) -> Iterator[Site]:
    port = free_port()
    (tmp_path / "mosquitto.conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    made = Site(tmp_path, port)
    try:
        made.start([mosquitto, "-c", "mosquitto.conf"], b"running")
        yield made
    finally:
        made.stop()


def _run_device(site: Site, runtime: Runtime) -> subprocess.Popen[bytes]:
    command = [*runtime.command(site.folder / DEVICE / "moted.toml"), "-v"]
    return site.start(command, b"connected", **runtime.environment())


def test_from_enrolment_to_audit(site: Site, runtime: Runtime) -> None:
    enrolled = site.json("enroll", DEVICE, "--out", DEVICE)
    key = Path(site.folder, enrolled["key"])
    assert key.stat().st_mode & 0o777 == 0o600
    assert (site.folder / "state" / "devices" / f"{DEVICE}.key").stat().st_mode & 0o777 == 0o600
    gateway = site.start([MOTE, "gateway"], b"connected")
    _run_device(site, runtime)

    answer = site.json("ask", DEVICE, "what is the temperature?", "--session", "s")
    assert (answer["status"], answer["session"]) == ("done", "s")
    assert answer["tool_calls"][0]["name"] == "read_temperature"
    assert "21.0 C" in site.mote("ask", DEVICE, "what is the temperature?", "-q")

    (row,) = site.json("devices")["devices"]
    assert (row["device"], row["state"], row["alarm"], row["epoch"]) == (DEVICE, "online", None, 1)

    deadline = time.monotonic() + 10
    while "acknowledged" not in site.mote("log", DEVICE, "--tail", "1"):
        assert time.monotonic() < deadline
    words = site.mote("log", DEVICE)
    for part in ("asked in session s", "read_temperature() starts (READ)", "21.0 C", "answered"):
        assert part in words
    assert [rec["seq"] for rec in site.json("log", DEVICE, "--tail", "2")][1] > 10
    assert {rec["session"] for rec in site.json("log", DEVICE, "--session", "s")} == {"s"}
    replica = site.json("audit", "verify", DEVICE)
    own = site.json("audit", "verify", f"./{DEVICE}", "--device", DEVICE, "--key", str(key))
    assert replica["verified"] is own["verified"] is True
    assert replica["head"] == own["head"]
    # when a record came is known here only
    assert site.mote("log", f"{DEVICE}/") == re.sub(r"(?m)^( *\d+  )[-\d]+ [:\d]+  ", r"\1", words)

    gateway.send_signal(signal.SIGINT)
    assert gateway.wait(10) == 0


@pytest.mark.slow
def test_an_edited_log_is_found(site: Site, runtime: Runtime) -> None:
    site.mote("enroll", DEVICE, "--out", DEVICE)
    site.start([MOTE, "gateway"], b"connected")
    device = _run_device(site, runtime)
    site.mote("ask", DEVICE, "read the temperature")
    device.kill()
    device.wait()
    path = site.folder / DEVICE / "state" / "log" / "0000.log"
    path.write_bytes(path.read_bytes().replace(b"read the", b"feed the"))
    assert "NOT verified" in site.mote("audit", "verify", f"./{DEVICE}", code=1)
    # the daemon says so too, and stays
    command = runtime.command(site.folder / DEVICE / "moted.toml")
    site.start(command, b"damaged before offset", **runtime.environment())
    # it goes on: what is damaged is on record, at the device and at the gateway
    assert " C" in site.mote("ask", DEVICE, "read the temperature")
    assert "damaged" in site.mote("log", DEVICE)
    assert "begins anew" in site.mote("audit", "verify", DEVICE)


@pytest.mark.slow
def test_cancel_ends_the_turn_and_stops_the_tool(site: Site, runtime: Runtime) -> None:
    site.mote("enroll", DEVICE, "--out", DEVICE)
    site.start([MOTE, "gateway"], b"connected")
    device = _run_device(site, runtime)
    ask = subprocess.Popen(
        [MOTE, "ask", DEVICE, "run the pump for 30 seconds", "--json"],
        env=site.environment,
        stdout=subprocess.PIPE,
    )
    _until(device, b"run_pump")
    assert "cancelled 1 turn" in site.mote("cancel", DEVICE)
    out, _ = ask.communicate(timeout=20)
    assert ask.returncode == 3
    assert json.loads(out)["status"] == "cancelled"
    assert "cancelled nothing" in site.mote("cancel", DEVICE, "--timeout", "1", code=4)


@pytest.mark.slow
def test_who_is_not_enrolled_is_refused_and_listed(site: Site) -> None:
    runtime_free = [MOTED, "--config", f"{DEVICE}/moted.toml"]
    site.mote("enroll", DEVICE, "--out", DEVICE)
    site.mote("revoke", DEVICE)
    site.start([MOTE, "gateway"], b"connected")
    site.start(runtime_free, b"connected")
    text = site.mote("ask", DEVICE, "read the temperature", "--timeout", "1.5", code=4)
    assert f"mote/{DEVICE}/out" in text
    found = site.json("devices")
    assert found["devices"] == []
    assert [row["device"] for row in found["refused"]] == [DEVICE]
    assert "is not enrolled" in site.mote("revoke", DEVICE, code=1)
    assert "is not enrolled" in site.mote("cancel", DEVICE, code=1)


@pytest.mark.slow
def test_enrolled_again_a_device_begins_a_new_log_and_the_old_one_is_kept(site: Site) -> None:
    site.mote("enroll", DEVICE, "--out", "one")
    site.start([MOTE, "gateway"], b"connected")
    device = site.start([MOTED, "--config", "one/moted.toml"], b"connected")
    site.mote("ask", DEVICE, "read the temperature")
    device.terminate()
    device.wait(10)
    site.mote("revoke", DEVICE)
    site.mote("enroll", DEVICE, "--out", "two")
    site.start([MOTED, "--config", "two/moted.toml"], b"connected")
    site.mote("ask", DEVICE, "switch the fan on")
    assert "temperature" not in site.mote("log", DEVICE)
    site.mote("audit", "verify", DEVICE)


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("enroll", "a b", "--out", "x"), 1, "can't be a device's name"),
        (("enroll", "a"), 2, "--out"),
        (("ask", DEVICE), 2, "TEXT"),
        (("log", "nobody"), 1, "no gateway has run here"),
        (("log", "./nowhere"), 1, "no log here"),
        (("audit", "verify", "nobody"), 1, "no gateway has run here"),
        (("frobnicate",), 2, "frobnicate"),
        (("--config", "absent.toml", "devices"), 2, "absent.toml"),
    ],
)
def test_mistakes_are_explained(site: Site, args: tuple[str, ...], code: int, said: str) -> None:
    assert said in site.mote(*args, code=code)


def test_a_broker_that_is_not_there_is_named(tmp_path: Path) -> None:
    site = Site(tmp_path, 1)
    assert "127.0.0.1:1" in site.mote("ask", DEVICE, "hello", code=1)


def test_nothing_that_exists_is_overwritten(site: Site) -> None:
    site.mote("enroll", DEVICE, "--out", DEVICE)
    assert "exists already" in site.mote("enroll", "other", "--out", DEVICE, code=2)
    assert "is enrolled already" in site.mote("enroll", DEVICE, "--out", "elsewhere", code=1)


def test_moted_explains_itself_and_its_configuration(site: Site, runtime: Runtime) -> None:
    def moted(*args: str) -> subprocess.CompletedProcess[str]:
        command = runtime.command(Path("X"))
        command = [*command[: command.index("--config")], *args]
        environment = {**os.environ, **runtime.environment()}
        return subprocess.run(
            command, capture_output=True, text=True, env=environment, timeout=30, check=False
        )

    assert "usage: moted" in moted("--help").stdout
    assert "asks_per_hour" in moted("--keys").stdout
    for args in ((), ("--config",), ("--frob",)):
        done = moted(*args)
        assert (done.returncode, "--help" in done.stderr) == (2, True)
    site.mote("enroll", DEVICE, "--out", DEVICE)
    config = site.folder / DEVICE / "moted.toml"
    done = moted("--config", str(config), "--check")
    assert (done.returncode, "7 tools" in done.stdout) == (0, True), done.stderr
    assert not (site.folder / DEVICE / "world.json").exists(), "--check wrote something"
    text = config.read_text()
    for bad, said in (
        ("[broker]\nport = 99999\n", "line 10: [broker] port: 99999"),
        ("[broker]\nprot = 1\n", "prot"),
        ('[broker]\nport = "1"\n', "port"),
        ("[broker\n", "line 9"),
    ):
        config.write_text(text[: text.index("[broker]")] + bad)
        done = moted("--config", str(config))
        assert done.returncode == 2
        assert said in done.stderr, (bad, done.stderr)
        assert "moted.toml" in done.stderr
    config.write_text(text)
    (site.folder / DEVICE / "device.key").unlink()
    done = moted("--config", str(config))
    assert (done.returncode, "device.key" in done.stderr) == (2, True)


def test_one_state_folder_has_one_daemon(site: Site, runtime: Runtime) -> None:
    site.mote("enroll", DEVICE, "--out", DEVICE)
    _run_device(site, runtime)
    again = subprocess.run(
        [MOTED, "--config", f"{DEVICE}/moted.toml"],
        cwd=site.folder,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (again.returncode, "owns" in again.stderr) == (1, True)


def test_mosquitto_is_found_outside_of_path() -> None:
    assert find_mosquitto()
