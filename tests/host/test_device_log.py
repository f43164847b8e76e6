"""Reading devices' own logs, whole and damaged, against a reader that shares no code."""

import json
import random
import shutil
from binascii import crc32
from pathlib import Path

import pytest
import reader
from helpers import KEY
from mote import records as r
from mote_host.audit import verify_log
from mote_host.device_log import read_log
from mote_host.errors import DeviceError

LOGS = Path(__file__).parent / "logs"
NAMES = ("damaged", "dropped", "interrupted", "limits", "wrapped")
DEVICE = "bench"
SEGMENT_BYTES = 4096


@pytest.fixture
def copy(tmp_path):
    """A function that copies a recorded log to where it may be damaged."""

    def copied(name):
        shutil.rmtree(tmp_path / name, ignore_errors=True)
        return shutil.copytree(LOGS / name, tmp_path / name)

    return copied


def independent(folder):
    """What the reader that was written from FORMAT.md alone finds."""
    last = max(int(file.stem) for file in folder.glob("*.log"))
    files = [folder / f"{n:04d}.log" for n in range(last + 1)]
    segments = [file.read_bytes() if file.exists() else b"" for file in files]
    return reader.read([data.ljust(SEGMENT_BYTES, b"\xff") for data in segments], DEVICE, KEY)


def holes(log):
    """The gaps among the records that are kept."""
    return sorted((gap.first, gap.last) for gap in log.gaps if gap.last >= log.oldest)


@pytest.mark.parametrize("name", NAMES)
def test_a_log_is_read_whole_and_left_as_it_is(name):
    folder = LOGS / name
    before = {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in folder.iterdir()}
    log, found = read_log(folder, DEVICE, KEY), independent(folder)
    assert [(x.seq, x.kind, x.hash) for x in log.records] == [
        (x.seq, x.kind, x.hash) for x in found.records
    ]
    assert (log.head, holes(log)) == (found.head, sorted(found.holes))
    assert (log.notes, log.damage) == ([], [])
    assert verify_log(folder, DEVICE, KEY).verified
    assert before == {f: (f.read_bytes(), f.stat().st_mtime_ns) for f in folder.iterdir()}


def damage(folder, rng):
    """Do something bad to a file."""
    path = rng.choice(sorted(folder.glob("*.log")))
    data = bytearray(path.read_bytes())
    if not data:
        return
    at = rng.randrange(len(data))
    what = rng.choice(("flip", "flip", "header", "cut", "empty", "remove"))
    if what == "flip":
        data[at] ^= 1 << rng.randrange(8)
    elif what == "header":
        data[at % 64] ^= 1
    elif what == "cut":
        del data[at:]
    elif what == "empty":
        data.clear()
    path.write_bytes(data)
    if what == "remove":
        path.unlink()


@pytest.mark.parametrize("name", ["dropped", "wrapped"])
def test_damaged_logs_are_read_as_the_format_says(copy, name):
    found_bad = 0
    for seed in range(40):
        rng = random.Random(seed)
        folder = copy(name)
        for _ in range(rng.randint(1, 2)):
            damage(folder, rng)
        log, found = read_log(folder, DEVICE, KEY), independent(folder)
        theirs = [(x.seq, x.hash) for x in found.records]
        assert [(x.seq, x.hash) for x in log.records] == theirs, f"seed {seed}"
        told = [gap for gap in log.gaps if gap.told_by]
        untold = sorted((gap.first, gap.last) for gap in log.gaps if not gap.told_by)
        assert set(untold) <= set(found.holes), f"seed {seed}"
        assert set(found.holes) - set(untold) <= {(x.first, x.last) for x in told}, f"seed {seed}"
        found_bad += bool(log.damage)
    assert found_bad > 25  # a torn tail and an erased segment that was dropped are none


def test_a_segment_that_is_gone(copy, mote):
    folder = copy("wrapped")
    log = read_log(folder)
    (folder / "0000.log").unlink()
    without = read_log(folder)
    lost = {x.seq for x in log.records} - {x.seq for x in without.records}
    (gap,) = without.gaps
    assert (gap.first, gap.last, gap.told_by) == (min(lost), max(lost), 0)
    code, out = mote("audit", "verify", folder)
    assert code == 1
    assert f"NOT verified: records {gap.first} to {gap.last} are missing" in out
    assert f"-- records {gap.first} to {gap.last} are missing" in mote("log", folder)[1]


def test_what_was_dropped_is_shown_and_no_error(mote):
    code, out = mote("audit", "verify", LOGS / "dropped", "--device", DEVICE)
    assert code == 0
    assert "chain verified, 612 records from record 161 on" in out
    words = "records 1 to 160 are missing: dropped before the gateway had them"
    assert words in out
    code, out = mote("log", LOGS / "dropped")
    assert out.startswith(f"the oldest record that is kept is 161\n     1  -- {words} --\n")
    first, second = json.loads(mote("log", LOGS / "dropped", "--json")[1])[:2]
    assert (first["kind"], first["seq"], first["last"], second["seq"]) == ("missing", 1, 160, 161)
    assert words.partition(": ")[2] == first["why"]
    assert "missing" not in mote("log", LOGS / "dropped", "--tail", "3")[1]
    told = json.loads(mote("audit", "verify", LOGS / "dropped", "--json")[1])
    assert (told["verified"], told["oldest"], told["gaps"][0]["last"]) == (True, 161, 160)


def test_damage_that_the_device_tells_of_is_shown_and_no_error(mote):
    code, out = mote("audit", "verify", LOGS / "damaged")
    assert code == 0
    assert "  record 13 is missing: damaged\n" in out
    assert "    13  -- record 13 is missing: damaged --\n" in mote("log", LOGS / "damaged")[1]


def test_limits_are_told_by_name(mote):
    boot = json.loads(mote("log", LOGS / "limits", "--json")[1])[0]
    assert boot["limits"]["reply_bytes"] == 256
    assert "reply_bytes 256" in mote("log", LOGS / "limits")[1]


def frame_of(data, seq):
    """(offset, length without CRC) of a record in a segment's bytes, by its number."""
    at = 64
    seed = int.from_bytes(data[60:64], "big")
    while at < len(data):
        n = 5 + int.from_bytes(data[at : at + 2], "big")
        end = at + n
        good = crc32(data[at:end], seed) == int.from_bytes(data[end : end + 4], "big")
        if good and data[at + 2] < 0x7E and int.from_bytes(data[at + 3 : at + 5], "big") == seq:
            return at, n
        at += n + 4 if good else 1
    raise AssertionError(f"no record {seq}")


def test_a_record_changed_with_its_crc_does_not_fit_the_next_segment(copy):
    folder = copy("wrapped")
    path = folder / "0000.log"
    data = bytearray(path.read_bytes())
    first = int.from_bytes(data[8:12], "big")
    at, n = frame_of(data, first + 3)
    data[at + n - 1] ^= 1
    seed = int.from_bytes(data[60:64], "big")
    data[at + n : at + n + 4] = crc32(data[at : at + n], seed).to_bytes(4, "big")
    path.write_bytes(data)
    verdict = verify_log(folder, DEVICE, KEY)
    assert "does not go on where the segment before it ends" in verdict.why


def test_a_gap_record_with_another_hash(copy, monkeypatch):
    log = read_log(LOGS / "damaged")
    gap = next(x for x in log.records if x.kind == r.GAP)
    gap.fields["after"] = bytes(32)
    monkeypatch.setattr("mote_host.audit.read_log", lambda *_: log)
    why = verify_log(LOGS / "damaged", None, None).why
    assert why == f"record {gap.seq} tells of a gap with other hashes"


def test_keys_and_names(mote, tmp_path):
    key = tmp_path / "device.key"
    key.write_text(KEY.hex())
    whole = mote("audit", "verify", LOGS / "limits", "--device", DEVICE, "--key", key)
    assert whole[0] == 0
    assert "not checked" not in whole[1]
    key.write_text(bytes(32).hex())
    code, out = mote("audit", "verify", LOGS / "limits", "--key", key)
    assert code == 1
    assert "of another device" in out
    code, out = mote("audit", "verify", LOGS / "limits", "--device", "another")
    assert code == 1
    assert "another name" in out
    _, out = mote("audit", "verify", LOGS / "wrapped", "--device", DEVICE)
    assert "whose chain it is stands in records that are gone" in out


def test_folders_that_hold_no_log(tmp_path, copy):
    with pytest.raises(DeviceError, match="no log here"):
        read_log(tmp_path)
    (tmp_path / "0003.log").write_bytes(b"something else")
    with pytest.raises(DeviceError, match=r"0003\.log: not a mote log"):
        read_log(tmp_path)
    folder = copy("wrapped")
    (folder / "0000.log").unlink()
    (folder / "0001.log").unlink()
    (tmp_path / "device" / "state").mkdir(parents=True)
    shutil.move(folder, tmp_path / "device" / "state" / "log")
    assert read_log(tmp_path / "device").records


def test_a_log_whose_every_header_is_damaged(copy):
    folder = copy("limits")
    path = folder / "0000.log"
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    path.write_bytes(data)
    log = read_log(folder)
    assert len(log.records) == len(read_log(LOGS / "limits").records)
    assert log.damage == ["segment 0: damaged header"]
