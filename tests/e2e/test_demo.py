"""`mote demo`, as a person runs it, on every runtime over every broker."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

MOTE = str(Path(sys.executable).with_name("mote"))


def _demo(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [MOTE, "demo", *args], capture_output=True, text=True, timeout=90, check=False
    )


@pytest.mark.slow
@pytest.mark.parametrize("broker", ["mosquitto", "amqtt"])
@pytest.mark.parametrize("runtime", ["micropython", "cpython"])
def test_the_main_job_runs_and_its_record_verifies(runtime: str, broker: str) -> None:
    done = _demo("--json", "--runtime", runtime, "--broker", broker)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["audit_verified"] is True
    assert (result["runtime"], result["broker"]) == (runtime, broker)
    assert "offline" in result["answer"]
    assert [call["name"] for call in result["tool_calls"]] == ["read_soil_moisture", "run_pump"]
    pump = result["tool_calls"][1]
    assert pump["args"] == {"seconds": 3}
    assert pump["effect"] == "ONCE"
    assert "3 s" in pump["result"]
    assert result["seconds"] >= 3
    assert result["wire_bytes"]["up"] > 500 < result["wire_bytes"]["down"]
    assert 300 < result["log_bytes"] < 2000
    assert result["records"] >= 12


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_ended_early_it_leaves_nothing_behind(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(
        [MOTE, "demo"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment
    )
    assert process.stdout is not None
    for line in process.stdout:
        if b"run_pump" in line:
            break
    process.send_signal(number)
    rest = process.stdout.read()  # ends when no process of the demo has it any more
    assert process.wait(30) == code, rest
    assert b"Traceback" not in rest
    assert list(tmp_path.iterdir()) == []


def test_another_ask_and_a_readable_view() -> None:
    done = _demo("--ask", "what is the temperature?")
    assert done.returncode == 0, done.stderr
    for part in ("read_temperature()", "READ", "verified", "bytes up"):
        assert part in done.stdout


def test_what_was_kept_can_be_looked_at(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    done = _demo("--ask", "read the temperature", "--keep", str(folder))
    assert done.returncode == 0, done.stderr
    device = folder / "greenhouse-1"
    log = subprocess.run([MOTE, "log", str(device)], capture_output=True, text=True, check=True)
    assert "read_temperature() starts (READ)" in log.stdout
    verify = [MOTE, "audit", "verify", str(device), "--device", "greenhouse-1"]
    verify += ["--key", str(device / "device.key")]
    audit = subprocess.run(verify, capture_output=True, text=True, check=True)
    assert "chain verified" in audit.stdout
    assert "not checked" not in audit.stdout


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--broker", "nonsense"), "HOST:PORT"),
        (("--runtime", "cobol"), "known are"),
        (("--broker", "127.0.0.1:1"), "127.0.0.1:1"),
    ],
)
def test_what_can_not_be_done_is_said(args: tuple[str, str], said: str) -> None:
    done = _demo(*args)
    assert done.returncode in (1, 2)
    assert said in done.stderr
    assert "Traceback" not in done.stderr
