"""Building firmware: the same bytes from the same input, nothing done twice, and clear errors."""

import re
import shutil
from pathlib import Path

import pytest
from mote_emulator import firmware as building
from mote_emulator import sizes
from mote_emulator.firmware import BUNDLE, MODULES, NOTHING, Firmware, build, mpy_cross
from mote_emulator.toolchain import BOARDS, find_board
from mote_host import board_files
from mote_host.errors import ConfigError, MoteError

BOARD = "cortex-m3"  # has less to compile
ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.emulator
on_one_board = pytest.mark.parametrize("board_name", [BOARD], scope="session")


@pytest.fixture(scope="module")
def cache(firmware, tmp_path_factory):
    """An empty cache, but for MicroPython's sources and mpy-cross, which are the usual ones."""
    usual, folder = building.cache_folder(), tmp_path_factory.mktemp("cache")
    mpy_cross()
    (folder / "objects").mkdir()
    (folder / "debian").symlink_to(usual / "debian")
    for program in (usual / "objects").glob("mpy-cross-*"):
        (folder / "objects" / program.name).symlink_to(program)
    return folder


@pytest.fixture
def makes(monkeypatch):
    """What make is asked for; it makes something at once, and leaves the compiler alone."""
    asked = []

    def run_make(where, objects, arguments):
        asked.append(arguments)
        (objects / "build").mkdir(exist_ok=True)
        for name in ("firmware.elf", "firmware.map"):
            (objects / "build" / name).write_text("made")

    monkeypatch.setattr(building, "_run_make", run_make)
    return asked


@on_one_board
def test_two_folders_give_the_same_bytes(firmware, cache):
    made = build(BOARD, cache=cache)
    assert cache in made.elf.parents
    assert made.elf.read_bytes() == firmware.read_bytes()


@on_one_board
def test_nothing_is_left_of_the_build_before(cache):
    whole = build(BOARD, cache=cache)
    bare = build(BOARD, cache=cache, agent=NOTHING)
    assert sizes.measure(bare).agent == 0
    before = whole.elf.read_bytes()
    shutil.rmtree(whole.elf.parent)
    assert build(BOARD, cache=cache).elf.read_bytes() == before


@on_one_board
def test_what_was_built_before_is_not_compiled_again(cache, makes):
    made = build(BOARD, cache=cache)
    assert build(BOARD, cache=cache) == made
    assert makes == []


@on_one_board
def test_each_change_is_another_firmware(cache, makes, monkeypatch, tmp_path):
    found = [build(BOARD, cache=cache, agent=MODULES)]
    monkeypatch.setattr(board_files, "sources", lambda *a, **k: {"mote_device/firmware.py": "x"})
    found.append(build(BOARD, cache=cache, agent=BUNDLE))
    monkeypatch.setattr(board_files, "sources", lambda *a, **k: {"mote_device/firmware.py": "y"})
    found.append(build(BOARD, cache=cache, agent=BUNDLE))
    copy = tmp_path / "firmware"
    shutil.copytree(building.FILES, copy)
    monkeypatch.setattr(building, "FILES", copy)
    assert build(BOARD, cache=cache) == found[-1]
    for name in ("common/pin.c", "common/board.h", "boards/cortex-m3/board.ld", "manifest.py"):
        (copy / name).write_text((copy / name).read_text() + "\n")
        found.append(build(BOARD, cache=cache, agent=BUNDLE))
    folders = set((cache / "objects").iterdir())
    (copy / "common/pin.c").unlink()
    found.append(build(BOARD, cache=cache, agent=BUNDLE))
    assert folders < set((cache / "objects").iterdir())  # what it defined is not compiled in
    assert len({made.elf for made in found}) == len(found) == len(makes)


@on_one_board
def test_a_build_that_fails_says_why_and_leaves_nothing(cache, monkeypatch, tmp_path):
    make = tmp_path / "make"
    make.write_text("#!/bin/sh\necho boom\nexit 2\n")
    make.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(board_files, "sources", lambda *a, **k: {"mote_device/firmware.py": "z"})
    with pytest.raises(MoteError, match=r"^make failed; .*, and ends with\nboom$") as said:
        build(BOARD, cache=cache)
    log = Path(re.findall(r"its output is (\S+),", str(said.value))[0])
    assert log.read_text() == "boom\n"
    assert not (log.parent / "build").exists()


@on_one_board
def test_a_firmware_is_the_sum_of_its_parts(firmware, cache):
    whole = sizes.measure(Firmware(BOARD, firmware, firmware.with_suffix(".map")))
    bare = sizes.measure(build(BOARD, agent=NOTHING))
    assert whole.agent + whole.python + whole.names + whole.rest == whole.text
    assert (bare.agent, bare.python) == (0, whole.python)
    agent = whole.agent + whole.names - bare.names
    assert whole.text - bare.text == pytest.approx(agent, rel=0.02)
    assert firmware.stat().st_size > whole.text


@pytest.mark.parametrize("board_name", list(BOARDS), scope="session")
def test_each_module_of_the_agent_has_its_weight(board_name, firmware):
    found = sizes.weights(find_board(board_name), False, mpy_cross())
    text = (ROOT / "core/mote/log.py").read_text()
    alone = board_files.compiled({"log.py": text}, mpy_cross())
    assert found["mote/log.py"] == len(alone["log.mpy"])
    links = {"rv32": "mote_ports/micropython/lan.py", "cortex-m3": "mote_ports/serial.py"}
    assert [path in found for path in links.values()] == [name == board_name for name in links]
    assert {"mote_device/firmware.py", "mote_device/loader.py", "mote/recovery.py"} <= set(found)
    assert not any("cpython" in path for path in found)


def test_tls_has_modules_of_its_own():
    names = [set(board_files.written("lan", tls=tls)) for tls in (False, True)]
    assert "mote_ports/micropython/trust.py" in names[1] - names[0]
    assert names[0] < names[1]


def test_what_there_is_not_is_refused(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="no board esp32: known are rv32, cortex-m3"):
        build("esp32", cache=tmp_path)
    with pytest.raises(ConfigError, match="cortex-m3 has no network, and so no TLS"):
        build("cortex-m3", tls=True, cache=tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MoteError, match=r"apt-get install .*gcc-riscv64-unknown-elf"):
        build("rv32", cache=tmp_path)
    assert list(tmp_path.iterdir()) == []


@on_one_board
def test_a_checkout_that_lacks_a_part_is_refused(firmware, tmp_path):
    with pytest.raises(MoteError, match="is no MicroPython tree: it has no ports/qemu"):
        build(BOARD, micropython=tmp_path, cache=tmp_path / "cache")
    (tmp_path / "ports/qemu").mkdir(parents=True)
    (tmp_path / "ports/qemu/Makefile").touch()
    with pytest.raises(MoteError, match="submodule update --init lib/lwip"):
        build(BOARD, micropython=tmp_path, cache=tmp_path / "cache")
