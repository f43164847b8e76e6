# cpython only
"""The bytes of core/FORMAT.md, built by hand, and what an independent reader makes of them."""

import struct
import zlib

import reader
from handmade import KEY, SIZE, START, STATE, TURN, Writer, link, pack


def fresh(**header):
    return Writer(**header).checkpoint()


def read(*writers, **options):
    """Read whole writers or bytes."""
    data = [w if isinstance(w, bytes) else w.padded() for w in writers]
    return reader.read(data, **{"device": "lamp", "key": KEY, **options})


def numbers(log):
    return [record.seq for record in log.records]


def states(log):
    return [segment.state for segment in log.segments]


BLANK = b"\xff" * SIZE


def broken(writer, at=20):
    """A segment with one byte of its header changed."""
    data = bytearray(writer.padded())
    data[at] ^= 0x40
    return bytes(data)


def test_bytes_in_full():
    """A log whose bytes and hashes were made with other tools, not with the writer above."""
    data = bytes.fromhex(
        "6d6f7465" "02" "00" "0000" "00000001"
        "797d268aebbe535e29593e142a8aa0958f0a40bbf96c632a02bdaa10028c5657"
        "431020fd29e47d3bddd48de0f00a6fb5" "5a90e04b"
        "0014" "7e" "0000" "dc00090002ce0000080004ce000002000100c001" "9086c7e6"
        "0010" "7e" "0001" "dc00090103ce6553f1000000c0000000" "d64d23fb"
        "0015" "7f" "0002" "dc0001c410d6a5ba7f3bd33b3fd7e6346cdec9e91b" "8db7f49f"
        "0004" "0a" "0001" "91cd012c" "d1d157cc"
    )  # fmt: skip
    log = reader.read([data.ljust(SIZE, b"\xff")], "lamp", KEY)
    assert states(log) == ["valid"] and log.seq == 1 and log.segments[0].linked
    assert log.records[0].fields == {"name": "SENT", "turn": 300}
    assert log.head.hex() == "7894335d7f4489d18a4e1334825f9971ab8b7f18b8ef413d6dbc88b84a7e17ff"
    assert data == golden().data


def golden():
    """What the writer makes of the log in the test above."""
    writer = Writer().checkpoint()
    writer.head = link(writer.head, writer.raw(10, 1, b"\x91\xcd\x01\x2c"))
    return writer


def test_empty_ring():
    log = read(BLANK, BLANK)
    assert (log.seq, log.head, log.records, log.items) == (0, START, [], None)
    assert states(log) == ["erased", "erased"]
    assert reader.read([BLANK]).head is None


def test_units():
    for unit in (1, 4, 16, 256):
        writer = fresh(unit=unit).add(3, 30).add(5, 50, sync=False)
        writer.sync()
        writer.add(1)
        assert len(writer.data) % unit == 0
        log = read(writer)
        assert numbers(log) == [1, 2, 3, 4, 5] and log.holes == []
        assert (log.seq, log.head) == (5, writer.head)
        segment = log.segments[0]
        assert (segment.unit, segment.first, segment.hash) == (unit, 1, START)
        assert (segment.write_at, segment.torn_tail) == (len(writer.data), False)
        assert log.records[1].payload == pack([1, b"p" * 30])
        assert log.records[1].fields == {"name": "PART", "req": 1, "data": b"p" * 30}


def test_checkpoint_of_many_frames():
    taken = [*STATE[:6], 40, 12, 100]
    items = [taken, TURN, [3, b"a" * 8, 7, 0], [4, "main", 7], [5, "lamp", 6], [99, "new"]]
    log = read(Writer(first=9).checkpoint(9, items, frames=3).add(4))
    assert sorted(item[0] for item in log.items) == [0, 1, 2, 3, 4, 5, 99]
    turn = reader.item_fields(log.items[[item[0] for item in log.items].index(2)])
    assert (turn["ask"], turn["request_id"], turn["reply_calls"]) == (7, b"r" * 16, 2)
    assert (turn["tokens"], turn["answer"], turn["origin"]) == (500, 0, 9)
    state = reader.item_fields(log.items[[item[0] for item in log.items].index(1)])
    assert (state["lost_last"], state["lost_next"], state["lost_offset"]) == (40, 12, 100)
    assert log.oldest == 9 and numbers(log) == [9] and log.segments[0].log["segment_bytes"] == SIZE


def test_header_that_is_foreign():
    mine = fresh().add(1)
    assert states(read(mine, Writer(first=2, version=3).checkpoint().add(1))) == [
        "valid",
        "foreign",
    ]
    data = bytearray(Writer(first=2).padded())
    data[50] ^= 1
    data[60:64] = struct.pack(">I", zlib.crc32(data[:60]))
    log = read(mine, bytes(data))
    assert states(log) == ["valid", "foreign"] and numbers(log) == [1]
    assert states(read(mine, bytes(data), key=None)) == ["valid", "torn"]


def test_checkpoint_with_another_mac():
    writer = fresh()
    mark = writer.data.index(b"\xc4\x10")
    plain = bytearray(writer.data[mark - 8 : mark + 18])  # [MAC] is an array 16 with three bytes
    plain[-1] ^= 1
    writer.data = writer.data[: mark - 8] + bytes(plain)
    writer.data += struct.pack(">I", zlib.crc32(bytes(plain), writer.seed))
    assert states(read(writer)) == ["torn"] and states(read(writer, key=None)) == ["valid"]
    writer.add(1)
    log = read(writer)
    assert states(log) == ["valid"] and numbers(log) == [1] and log.items is None


def test_checkpoint_without_one_of_its_frames():
    for frames, at in ((1, 80), (3, 110), (3, 130)):
        items = [STATE, [5, "a", 1], [5, "b", 2], [5, "c", 3]]
        writer = Writer().checkpoint(1, items, frames=frames).add(4)
        data = bytearray(writer.padded())
        assert read(bytes(data), key=None).items
        data[at] ^= 1
        log = read(bytes(data), key=None)
        assert log.items is None and numbers(log) == [1] and log.head == writer.head


def test_checkpoint_without_log_item():
    writer = Writer()
    writer.raw(0x7E, 0, pack(STATE))
    writer.raw(0x7F, 1, pack([b"m" * 16]))
    assert states(read(writer, key=None)) == ["torn"]


def test_every_cut_of_a_checkpoint():
    older = fresh().add(9, 9)
    newer = Writer(older.seq + 1, older.head, unit=4).checkpoint(items=(STATE, TURN), frames=2)
    whole = len(newer.data.rstrip(b"\xff"))
    for cut in range(whole):
        log = read(older, newer.data[:cut].ljust(SIZE, b"\xff"))
        assert states(log) == ["valid", "erased" if cut < 64 else "torn"], cut
        assert numbers(log) == [1, 2] and log.head == older.head
    assert states(read(older, newer)) == ["valid", "valid"]


def test_every_cut_of_a_tail():
    for unit in (1, 16):
        writer = fresh(unit=unit).add(9)
        start, seq, head = len(writer.data), writer.seq, writer.head
        writer.add(40)
        last = len(writer.data.rstrip(b"\xff"))
        for cut in range(start, last):
            log = read(writer.data[:cut].ljust(SIZE, b"\xff"))
            assert (log.seq, log.head, log.holes) == (seq, head, [])
            assert log.segments[0].torn_tail == (cut > start)
            assert log.segments[0].write_at == start + -(-(cut - start) // unit) * unit


def test_writing_goes_on_behind_a_torn_tail():
    for unit in (1, 4, 256):
        writer = fresh(unit=unit).add(9)
        writer.data += b"\x00\x30\x04\x00\x02torn \xff\xff and torn"
        writer.sync()
        writer.add(7)
        log = read(writer)
        assert numbers(log) == [1, 2] and log.holes == [] and log.head == writer.head


def test_hole_in_the_middle():
    writer = fresh().add(5)
    at = len(writer.data) + 6
    chain = Writer(2, writer.head).lose(2).add(8)
    writer.add(6, 7, 8, 9)
    data = bytearray(writer.padded())
    data[at] ^= 1
    data[at + 20] ^= 1
    log = read(bytes(data))
    assert numbers(log) == [1, 4, 5] and log.holes == [(2, 3)]
    assert log.records[1].hash == chain.head


def test_hole_up_to_the_next_segment():
    older = fresh().add(5, 6, 7)
    newer = Writer(4, older.head).checkpoint().add(1)
    log = read(older.data[:-3].ljust(SIZE, b"\xff"), newer)
    assert numbers(log) == [1, 2, 4] and log.holes == [(3, 3)]
    assert log.head == newer.head and log.segments[1].linked


def test_header_that_contradicts_the_record_before():
    older = fresh().add(5)
    newer = Writer(2, b"?" * 32).checkpoint().add(1)
    log = read(newer, older)
    assert numbers(log) == [1, 2] and log.head == newer.head and log.holes == []
    assert [segment.linked for segment in log.segments] == [False, True]
    assert not read(fresh(), device="other").segments[0].linked


def test_ring_that_wrapped():
    first = fresh().add(5, 5)
    second = Writer(3, first.head).checkpoint().add(6, 6)
    third = Writer(5, second.head).checkpoint(3).add(7)
    fourth = Writer(6, third.head).checkpoint(5, [STATE, [5, "f", 5]]).add(8)
    log = read(fourth, second, third, BLANK)
    assert states(log) == ["valid", "dropped", "valid", "erased"] and log.oldest == 5
    assert numbers(log) == [5, 6] and log.head == fourth.head
    assert log.records[0].segment == 2 and [5, "f", 5] in log.items
    log = read(first, second, third)
    assert states(log) == ["dropped", "valid", "valid"] and numbers(log) == [3, 4, 5]


def test_oldest_inside_a_segment_or_gone():
    first = fresh().add(5, 5, 5)
    second = Writer(4, first.head).checkpoint(3).add(6)
    assert numbers(read(first, second)) == [3, 4]
    data = bytearray(first.padded())
    for frame in read(first).segments[0].frames[-3:]:
        data[frame.end - 1] ^= 1
    assert read(bytes(data), second).holes == [(3, 3)]
    data = bytearray(first.padded())
    data[read(first).segments[0].frames[-3].end - 1] ^= 1  # record 1, which is not kept anyway
    assert read(bytes(data), second).holes == []
    log = read(broken(first), second)
    assert numbers(log) == [4] and log.holes == [(3, 3)] and states(log) == ["erased", "valid"]


def test_records_that_were_written_again():
    failed = fresh().add(5, 6)
    again = Writer(3, failed.head).checkpoint(items=(), state=0, frames=0)
    failed.add(7, 8, sync=False)
    again.add(70, 80, 90)
    log = read(failed, again)
    assert numbers(log) == [1, 2, 3, 4, 5] and log.holes == [] and log.head == again.head
    assert [record.segment for record in log.records] == [0, 0, 1, 1, 1]
    assert STATE in log.items


def test_hole_before_records_that_were_written_again():
    failed = fresh().add(5)
    at = len(failed.data) + 9
    failed.add(6, 7)
    head = failed.head
    failed.add(8)
    data = bytearray(failed.padded())
    data[at] ^= 1
    data[at + 18] ^= 1  # 2 and 3: what is left is 4, which the next segment has
    again = Writer(4, head).checkpoint(state=0).add(8)
    log = read(bytes(data), again)
    assert numbers(log) == [1, 4] and log.holes == [(2, 3)] and log.records[1].segment == 1


def test_equal_first():
    """A segment failed before it had a record: the one that goes on has no state."""
    failed = fresh()
    again = Writer().checkpoint(items=(), state=0, frames=0).add(1, 2)
    failed.add(3)
    for log in (read(failed, again), read(again, failed)):
        assert states(log) == ["valid", "valid"]
        assert numbers(log) == [1, 2] and log.head == again.head and STATE in log.items


def test_equal_first_twice():
    """Two failures in a row: the one that holds more counts."""
    older = fresh().add(5)
    parts = [Writer(2, older.head).checkpoint(state=n == 0) for n in range(3)]
    parts[1].add(6)
    parts[2].add(6, 7)
    for turn in range(4):
        ring = [older, *parts]
        log = read(*ring[turn:], *ring[:turn])
        assert numbers(log) == [1, 2, 3] and log.head == parts[2].head, turn


def test_damaged_header_of_the_newest():
    older = fresh().add(5)
    newer = Writer(2, older.head, unit=16).checkpoint().add(6, 7, 8)
    for at in (0, 3, 5, 11, 30, 50, 61):  # in the CRC itself, too
        log = read(broken(newer, at), older, BLANK)
        assert states(log) == ["damaged", "valid", "erased"], at
        assert numbers(log) == [1, 2, 3, 4] and log.head == newer.head and log.holes == []
    # both the header and its CRC: the seed is lost
    both = broken(newer, 61)[:20] + b"\x00" + broken(newer, 61)[21:]
    assert states(read(both, older)) == ["erased", "valid"]


def test_damaged_header_of_the_only_segment():
    writer = fresh().add(5, 6)
    log = read(broken(writer))
    assert states(log) == ["damaged"] and log.head == writer.head and log.items is None


def test_damaged_headers_in_order_and_of_old_segments():
    first = fresh().add(5, 5)
    second = Writer(3, first.head).checkpoint().add(6)
    third = Writer(4, second.head).checkpoint().add(7, 7)
    log = read(broken(third), broken(second), first)
    assert states(log) == ["damaged", "damaged", "valid"]
    assert numbers(log) == [1, 2, 3, 4, 5] and log.head == third.head
    log = read(first, broken(second), third)
    assert states(log) == ["valid", "erased", "valid"] and log.holes == [(3, 3)]


def test_numbers_beyond_16_bits():
    writer = Writer(first=65534).checkpoint(65534).add(1, 2, 3, 4).lose(3).add(5)
    log = read(writer)
    assert numbers(log) == [65534, 65535, 65536, 65537, 65541]
    assert log.holes == [(65538, 65540)] and log.head == writer.head


def test_frame_with_an_old_number_does_not_count():
    writer = fresh().add(1, 2)
    writer.raw(4, 1, pack([1, b"old"]))
    writer.add(3)
    log = read(writer)
    assert numbers(log) == [1, 2, 3] and log.holes == [] and log.head == writer.head


def test_unknown_kinds_and_longer_arrays():
    writer = fresh().add(1, kind=0x93)
    writer.raw(15, 2, pack([1, "more"]))
    log = read(writer)
    assert log.records[0].fields == {"name": None}
    assert log.records[1].fields == {"name": "TRUST", "number": 1}


def test_log_for_a_newer_reader():
    try:
        read(Writer().checkpoint(version=3).add(1))
    except ValueError:
        return
    raise AssertionError("it was read")


def test_messagepack():
    for text, value in {
        **{"00": 0, "7f": 127, "e0": -32, "ff": -1, "ccff": 255, "cd0100": 256},
        **{"ceffffffff": 0xFFFFFFFF, "cf0000000100000000": 1 << 32, "d080": -128},
        **{"d1ff7f": -129, "d280000000": -(1 << 31), "d3ffffffffffffffff": -1},
        **{"ca3fc00000": 1.5, "cbbff8000000000000": -1.5, "93c0c2c3": [None, False, True]},
        **{"82a16101a1629102": {"a": 1, "b": [2]}, "bf" + "61" * 31: "a" * 31},
        **{"d90161": "a", "da000161": "a", "db0000000161": "a"},
        **{"c40161": b"a", "c5000161": b"a", "c60000000161": b"a"},
        **{"dc000101": [1], "dd0000000101": [1], "de0001a16101": {"a": 1}},
        **{"df00000001a16101": {"a": 1}},
    }.items():
        data = bytes.fromhex(text)
        assert reader.unpack(data) == (value, len(data)), text
        for cut in range(len(data)):
            assert refuses(data[:cut]), text
    for text in ("c1", "c7010161", "d4016161", "91" * 40 + "00", "a1ff"):
        assert refuses(bytes.fromhex(text)), text


def refuses(data):
    """True if the decoder says that the bytes are no value."""
    try:
        reader.unpack(data)
    except (ValueError, struct.error):
        return True
    return False
