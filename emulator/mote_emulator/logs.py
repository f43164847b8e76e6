"""The log of an emulated board, from its flash to the files in which tools of the host read it."""

from pathlib import Path

from mote_device.config import load_config
from mote_host.board_config import DEFAULTS

from mote_emulator.device import flash_of


def export_log(folder: Path) -> Path:
    """Write the segments of the log of the device in `folder` as files; returns their folder.

    The board may run meanwhile: then the last sync may be there in part, as after a power cut.
    """
    log = load_config(str(folder / "moted.toml"), DEFAULTS).log
    size = log.segment_kib * 1024
    flash = flash_of(folder)
    region = flash.read_log(log.segments * size) if flash.path.exists() else b""
    into = folder / "state" / "log"
    into.mkdir(parents=True, exist_ok=True)
    for number in range(len(region) // size):
        (into / f"{number:04}.log").write_bytes(region[number * size :][:size])
    return into
