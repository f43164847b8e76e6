"""`mote build firmware` and `mote emulate` as people use them: processes, signals, terminals."""

import asyncio
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mote_emulator.device import flash_of
from mote_emulator.site import DEVICE, site
from mote_host.providers.offline import Offline

pytestmark = pytest.mark.emulator

MOTE = str(Path(sys.executable).with_name("mote"))
START_S = 60.0
END_S = 10.0
ADDRESS = r"broker: mosquitto on 127\.0\.0\.1:(\d+)"
TOOL = """\
from beside import WORDS
from mote.tools import READ, tool

@tool("Greet.", READ)
def greet():
    return WORDS
"""


class Emulate:
    """A `mote emulate` that runs, and all that it has printed so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said = ""

    async def until(self, pattern: str) -> re.Match[str]:
        """Read on until that is there. Raises AssertionError with what there is."""
        assert self.process.stdout is not None
        try:
            async with asyncio.timeout(START_S):
                while not (found := re.search(pattern, self.said, re.MULTILINE)):
                    data = await self.process.stdout.read(65536)
                    assert data, self.said
                    self.said += data.decode(errors="replace")
        except TimeoutError:
            raise AssertionError(f"no {pattern!r} in:\n{self.said}") from None
        return found

    async def end(self, number: signal.Signals, processes: int = 3) -> int:
        """Send it a signal; returns its exit code, once neither it nor a child of it is left."""
        family = list(_descendants(self.process.pid))
        assert len(family) == processes  # by default with QEMU and mosquitto
        self.process.send_signal(number)
        async with asyncio.timeout(END_S):
            rest, _ = await self.process.communicate()
        self.said += rest.decode(errors="replace")
        assert not [pid for pid in family if Path(f"/proc/{pid}").exists()]
        assert 'File "/' not in self.said  # of this machine; a board has tracebacks of its own
        assert self.process.returncode is not None
        return self.process.returncode


def _descendants(pid: int) -> Iterator[int]:
    yield pid
    for thread in Path(f"/proc/{pid}/task").iterdir():
        for child in (thread / "children").read_text().split():
            yield from _descendants(int(child))


@asynccontextmanager
async def emulate(folder: Path, *arguments: str) -> AsyncIterator[Emulate]:
    """`mote emulate` with these arguments; whatever happens, it is ended."""
    scratch = folder / "tmp"
    scratch.mkdir(exist_ok=True)
    process = await asyncio.create_subprocess_exec(
        *(MOTE, "emulate", *arguments),
        cwd=folder,
        env=_environment(folder, TMPDIR=str(scratch)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield Emulate(process)
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    assert list(scratch.iterdir()) == []


def _environment(folder: Path, **more: str) -> dict[str, str]:
    own = {"XDG_STATE_HOME": str(folder / "state"), "XDG_CONFIG_HOME": str(folder / "config")}
    return {**os.environ, **own, "MOTE_CONFIG": "", **more}


async def ask(command: str, text: str) -> Any:
    """Ask with the command that `mote emulate` shows, from another terminal."""
    words = [*shlex.split(command)[1:-1], text, "--json"]
    process = await asyncio.create_subprocess_exec(
        MOTE, *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, error = await process.communicate()
    assert process.returncode == 0, error
    return json.loads(out)


def mote(folder: Path, *arguments: str, code: int, **environment: str) -> str:
    """Run `mote` to its end, which is that code; returns what it printed."""
    done = subprocess.run(
        [MOTE, *arguments],
        capture_output=True,
        text=True,
        env=_environment(folder, **environment),
        cwd=folder,
        timeout=START_S,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("board_name", ["rv32"], scope="session")
async def test_rv32_is_asked_from_another_terminal_and_keeps_its_log(firmware, tmp_path):
    ports = []
    for epoch in (1, 2):
        async with emulate(tmp_path, "rv32") as running:
            await running.until(rf"^moted: rv32, epoch {epoch}, .*\n(.*\n)*moted: connected")
            command = (await running.until(r"^to ask: (.*)$"))[1]
            answer = await ask(command, "run the pump for 0.2 seconds")
            assert [call["name"] for call in answer["tool_calls"]] == ["run_pump"]
            ports.append((await running.until(ADDRESS))[1])
            assert await running.end(signal.SIGINT) == 0
            assert running.said.endswith("MQTT 5\n")  # nothing of what falls down on the way out
    assert ports[0] != ports[1]
    kept = tmp_path / "state/mote/emulate/rv32"
    assert {path.name for path in kept.iterdir()} == {"device", "gateway", "gateway.toml"}
    assert flash_of(kept / "device").path.stat().st_mode & 0o77 == 0  # the device's key is on it


@pytest.mark.parametrize("board_name", ["cortex-m3"], scope="session")
async def test_cortex_m3_runs_files_with_a_main_that_is_the_users(firmware, tmp_path):
    place = tmp_path / "my greenhouse"
    arguments = ("cortex-m3", "--dir", str(place))
    async with emulate(tmp_path, *arguments, "--files", "--heap", "160") as running:
        command = (await running.until(r"^to ask: (.*)$"))[1]
        assert (await ask(command, "what is the temperature?"))["status"] == "done"
        assert "is running already" in mote(tmp_path, "emulate", *arguments, code=1)
        assert await running.end(signal.SIGTERM) == 0
    flash = flash_of(place / "device")
    files = flash.list_files()
    assert files["/lib/mote_device/firmware.mpy"] > 30_000
    assert b"from mote_device.firmware import main" in flash.read_file("/main.py")
    flash.write_files({"/main.py": b"print('mine')\n" + flash.read_file("/main.py")})
    for options in (("--files",), ()):  # without, the frozen agent takes its place
        async with emulate(tmp_path, *arguments, *options) as running:
            await running.until(r"^mine\n(.*\n)*moted: connected")
            assert await running.end(signal.SIGHUP) == 0


async def test_an_enrolled_device_runs_on_its_own_broker(board_name, firmware, tmp_path):
    config = '\n[tools]\npath = ["tools"]\nmodules = ["greeting"]\n'
    async with site(tmp_path / "site", Offline(), config=config) as made:
        (made.folder / "tools").mkdir()
        (made.folder / "tools/greeting.py").write_text(TOOL)
        (made.folder / "tools/beside.py").write_text("WORDS = 'good morning'\n")
        main = "print('beside')\nfrom mote_device.firmware import main\nmain()\n"
        (made.folder / "main.py").write_text(main)
        async with emulate(tmp_path, board_name, "--dir", str(made.folder)) as running:
            await running.until(rf"^beside\n(.*\n)*moted: {DEVICE}, epoch 1")
            assert "good morning" in (await made.ask("greet")).text
            assert await running.end(signal.SIGINT, processes=2) == 0
        assert flash_of(made.folder).read_file("/main.py").decode() == main
        assert all(verdict.verified for verdict in made.verify())


@pytest.mark.parametrize("board_name", ["rv32"], scope="session")
async def test_too_small_a_heap_is_said(firmware, tmp_path):
    async with emulate(tmp_path, "rv32", "--heap", "20") as running:
        await running.until("^mote: a heap of 20 KiB is too small for this: see --heap$")
        assert await running.end(signal.SIGINT) == 0


def test_what_can_not_be_is_said_before_anything_is_written(tmp_path):
    nothing = str(tmp_path)
    said = mote(tmp_path, "emulate", "rv32", code=1, PATH=nothing)
    assert re.search(r"rv32 needs .*: apt-get install .*gcc-riscv64.* qemu-system-misc", said)
    said = mote(tmp_path, "build", "firmware", "--board", "rv32", code=1, PATH=nothing)
    assert "apt-get install" in said
    for arguments, reason in (
        (("emulate", "esp32"), "'rv32', 'cortex-m3'"),
        (("emulate", "rv32", "--broker", "127.0.0.1:1"), "mote enroll NAME --out DIR"),
        (("build", "firmware", "--board", "cortex-m3", "--tls"), "no TLS"),
        (("build", "firmware", "--board", "rv32", "--out", "no/where"), "no folder no"),
    ):
        assert reason in mote(tmp_path, *arguments, code=2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("board_name", ["cortex-m3"], scope="session")
def test_a_firmware_is_built_and_measured(firmware, tmp_path):
    command = ("build", "firmware", "--board", "cortex-m3", "--out", "f.elf")
    found = json.loads(mote(tmp_path, *command, "--json", code=0))
    assert (tmp_path / "f.elf").read_bytes() == firmware.read_bytes()
    assert found["image"] == "f.elf"
    assert 0 < found["agent"] + found["python"] + found["names"] + found["rest"] == found["text"]
    said = mote(tmp_path, *command, code=0)
    for module, size in found["modules_mpy"].items():
        assert re.search(rf"^ *{size:,} +\d+\.\d % +{re.escape(module)} *$", said, re.MULTILINE)
    assert f"text {found['text']:,}, data {found['data']:,}, bss {found['bss']:,} bytes" in said


@pytest.mark.parametrize("board_name", ["rv32"], scope="session")
def test_the_example_for_other_projects_works_there(board_name, firmware, tmp_path):
    text = (Path(__file__).parents[2] / "emulator/README.md").read_text()
    (tmp_path / "test_doser.py").write_text(re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0])
    options = shlex.split(re.findall(r"^    pytest (-o \S+)", text, re.MULTILINE)[0])
    done = subprocess.run(
        [*(sys.executable, "-m", "pytest", "-q", *options), "--board", board_name],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=START_S,
        check=False,
    )
    assert "2 passed" in done.stdout, done.stdout
