"""Frames cut from uploads, payloads decoded, and records in words."""

import pytest
from mote import records as r
from mote.msgpack import FormatError, Packer
from mote_host import frames
from mote_host.frames import Record, cut, decode, describe
from source import Source


def test_frames_are_cut_as_they_were_written():
    source = Source()
    data = b"".join(source.frames)
    found = list(cut(data))
    assert [x.data for x in found] == source.frames[1:]
    assert [x.seq16 for x in found] == list(range(1, source.last + 1))
    ends = {0, *(sum(map(len, source.frames[: n + 1])) for n in range(1, source.last + 1))}
    for end in range(len(data)):
        if end in ends:
            list(cut(data[:end]))
        else:
            with pytest.raises(FormatError):
                list(cut(data[:end]))


def packed(*values):
    return bytes(Packer(bytearray(1200)).value(list(values)).taken())


def test_fields_have_names_and_newer_ones_are_passed_over():
    fields = decode(r.ASK, packed("main", "id", "text", 5, 2, "new", [1]))
    known = {"session": "main", "ask_id": "id", "text": "text", "unix_s": 5}
    assert fields == known | {"previous": 2}
    # a replica that an older mote began
    assert decode(r.ASK, packed("main", "id", "text", 5)) == known | {"previous": 0}
    assert decode(r.BOOT, packed(1, b"n" * 8, [], "0.1"))["limits"] is None
    assert decode(0x90, b"\xff\xff") == {"raw": b"\xff\xff"}


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (r.ASK, packed("main", "id", "text")),
        (r.ASK, packed("main", "id", "text", "5")),
        (r.ASK, packed("main", "id", "text", -1)),
        (r.ASK, packed("main", "id", "text", 5, None)),
        (r.BOOT, packed(1, b"n" * 8, [], "0.1", 8)),
        (r.GAP, packed(1, 2, b"", b"")),
        (r.FACT, packed("key", 3)),
        (r.ASK, packed("main", "id", "text", True)),
        (r.SENT, packed(1 << 60)),
        (r.SENT, packed(1) + b"\x01"),
        (r.SENT, b"\x01"),
        (r.SENT, b""),
        (0x70, packed(1)),
    ],
)
def test_payloads_that_are_not_what_their_kind_says(kind, payload):
    with pytest.raises(FormatError):
        decode(kind, payload)


@pytest.mark.parametrize(
    ("kind", "payload", "words"),
    [
        (r.BOOT, packed(2, b"n" * 8, ["pump"], "0.1"), "started, epoch 2, mote 0.1; reset: pump"),
        (
            r.BOOT,
            packed(2, b"n" * 8, [], "0.1", [8, 4, 16]),
            "started, epoch 2, mote 0.1; limits: steps 4",
        ),
        (r.ASK, packed("main", "", "hi\x1b[2J\nthere", 0), "asked in session main: hi [2J there"),
        (r.REQ, packed(2, b"t" * 16, None, 4096), "model request abababab for ask 2"),
        (r.PART, packed(3, b"12345"), "5 bytes of the reply to request 3"),
        (
            r.START,
            packed(3, 0, 2, "run_pump", {"seconds": 3}),
            "run_pump(seconds=3) starts (ONCE)",
        ),
        (r.RESULT, packed(3, 0, 0, "done"), "result: ok: done"),
        (r.RESULT, packed(3, 0, 4, "cut"), "result: outcome unknown: cut"),
        (r.ANSWER, packed(2, 1, 0, "out of time"), "ask 2 answered (limit reached): out of time"),
        (r.FAIL, packed(3, "no model"), "request 3 failed: no model"),
        (r.REFUSED, packed(3), "3 asks were refused"),
        (r.END, packed(2, "out of memory"), "the device ended ask 2: out of memory"),
        (
            r.GAP,
            packed(120, 340, b"h" * 32, b"i" * 32, 0),
            "records 120 to 340 are missing: dropped before the gateway had them",
        ),
        (r.GAP, packed(7, 7, b"h" * 32, b"i" * 32, 1), "record 7 is missing: damaged"),
        (r.TRUST, packed(9), "the gateway has the same log up to record 9"),
        (r.FACT, packed("plant", "fern"), "remembers plant: fern"),
        (r.FACT, packed("plant", None), "forgot plant"),
        (
            r.RECOVERED,
            packed(9, 7, r.ASK, 0, 20, b"x" * 20),
            "took back lost record 7 of 9 (ASK): 20 bytes",
        ),
        (
            r.RECOVERED,
            packed(9, 9, 0, 0, 0, b""),
            "lost record 9 of 9: the gateway does not have it either",
        ),
        (0x90, b"abc", "3 bytes of the unknown kind 0x90"),
    ],
)
def test_records_in_words(kind, payload, words):
    assert describe(Record(7, kind, b"\xab" * 32, decode(kind, payload))) == words


def test_every_kind_can_be_told():
    assert set(frames._TELL) == set(frames.KINDS)
    long = Record(1, r.ASK, b"", decode(r.ASK, packed("m", "", "x" * 900, 0)))
    assert len(describe(long)) == 400
