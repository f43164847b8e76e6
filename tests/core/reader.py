"""A reader of the log, written from core/FORMAT.md alone: no code is shared with the product.

    read(segments, device=None, key=None) -> Log

Theory of operation: each segment is scanned once for frames with a right CRC, wherever they
stand; a frame never begins with 0xFF, so padding and erased bytes need no rule of their own.
Then the segments are put in order, and one walk gives every frame its number and its hash.
"""

import collections
import hashlib
import hmac
import itertools
import re
import struct
import zlib

HEADER_BYTES = 64
FRAME_BYTES = 9  # of a frame without its payload: 5 before it, 4 of CRC behind it
VERSION = 2
ITEMS, LAST = 0x7E, 0x7F  # the kinds of a checkpoint's frames
HALF = 0x8000  # numbers further ahead than this are old ones
DEPTH = 16  # of nested MessagePack; the text names no bound

# The fields of items (behind the tag) and of records (the first word is the kind's name).
_ITEMS = """0 version segment_bytes segments record_bytes oldest tip gap state
1 epoch time_s doubt forgotten limits lost_last lost_next lost_offset
2 ask session key state req request_id reply_bytes reply_calls next flags effect steps calls \
tokens restarts end_kind end answer origin
3 key ask answer; 4 session ask; 5 key fact"""
_RECORDS = """1 BOOT epoch nonce outputs version limits; 2 ASK session ask_id text time_s previous
3 REQ turn declarations bundle reply_bytes; 4 PART req data; 6 FAIL req why
5 REPLY_END req length sha256 calls tokens; 7 START req index effect tool arguments
8 RESULT req index status text; 9 ANSWER turn end req text; 10 SENT turn; 11 CANCEL turn
12 TIMEOUT turn; 13 END turn why; 14 GAP first last before after why; 15 TRUST number
16 FACT key value; 17 RECOVERED last number kind offset length data; 129 REFUSED asks"""

ITEM_FIELDS, RECORD_FIELDS = (
    {int(number): words for number, *words in map(str.split, re.split("[;\n]", text))}
    for text in (_ITEMS, _RECORDS)
)
Frame = collections.namedtuple("Frame", "kind number payload body end")  # body: all but the CRC
_NOT_ERASED = re.compile(rb"[^\xff]")


class Segment:
    """One segment: its header's fields, its checkpoint and what became of it.

    state: "valid"; "foreign"; "torn" (was being begun); "dropped" (before *oldest*); "damaged" (no
    valid header, but frames that follow the newest record); "erased" (no valid header, nothing
    that counts). `linked` is False if the header's hash contradicts the record before it.
    """

    def __init__(self, index, data):
        self.index, self.data = index, data
        self.state = "erased"
        self.version = self.unit = self.first = self.hash = self.seed = None
        self.frames = []
        self.items = None  # of a whole checkpoint, else None
        self.linked = True

    @property
    def log(self):
        """The fields of the LOG item by name; {} if the checkpoint is not whole."""
        return item_fields(self.items[0]) if self.items else {}

    @property
    def records(self):
        """The frames that are records."""
        return [frame for frame in self.frames if frame.kind not in (ITEMS, LAST)]

    @property
    def torn_tail(self):
        """True if something that is neither a frame nor erased stands behind the last frame."""
        end = self.frames[-1].end if self.frames else _align(HEADER_BYTES, self.unit or 1)
        return _NOT_ERASED.search(self.data, end) is not None

    @property
    def write_at(self):
        """The first unit behind the last byte that is not erased."""
        return _align(len(self.data.rstrip(b"\xff")), self.unit or 1)


class Record(collections.namedtuple("Record", "seq kind payload hash segment")):
    """A record; its chain hash is None if the chain's start is unknown; index of its segment."""

    @property
    def fields(self):
        """The fields by name, "name" for the kind; fields behind the known ones are left out."""
        (values,) = _arrays(self.payload)  # a payload is one array
        name, *names = RECORD_FIELDS.get(self.kind, [None])
        return {"name": name, **dict(zip(names, values, strict=False))}


class Log:
    """What a log holds: segments, records, holes, seq and head, items (None without a state)."""

    def __init__(self, segments):
        self.segments = segments
        self.records = []
        self.holes = []  # (first, last)
        self.seq = 0
        self.head = None
        self.items = None
        self.oldest = 1


def read(segments, device=None, key=None):
    """Read a log. segments: bytes of each, padded to its size; key: the device's K, 32 bytes."""
    mac_key = key and hmac.digest(key, b"log", "sha256")
    found = [_open(index, bytes(data), mac_key) for index, data in enumerate(segments)]
    log = Log(found)
    start = hashlib.sha256(b"mote" + device.encode()).digest() if device is not None else None
    kept = _drop(log, _order([s for s in found if s.state == "valid"]))
    log.head = start
    for place, segment in enumerate(kept):
        _join(log, segment, start if segment.first == 1 else None, place == 0)
        limit = kept[place + 1].first if place + 1 < len(kept) else 1 << 32
        _walk(log, segment, limit)
        if segment.log.get("state") == 1:
            log.items = segment.items
    _recover(log)
    # *oldest* may lie inside a segment: what stands before it is not kept
    log.records = [record for record in log.records if record.seq >= log.oldest]
    log.holes = [(max(a, log.oldest), b) for a, b in log.holes if b >= log.oldest]
    return log


def item_fields(item):
    """The fields of an item of a checkpoint by name; {} for a tag that is unknown."""
    return dict(zip(ITEM_FIELDS.get(item[0], ()), item[1:], strict=False))


def _open(index, data, mac_key):
    """A segment by its header and its own frames."""
    segment = Segment(index, data)
    head = data[:HEADER_BYTES]
    if len(head) < HEADER_BYTES or head[:4] != b"mote":
        return segment
    segment.seed = int.from_bytes(head[60:], "big")
    if zlib.crc32(head[:60]) != segment.seed:
        return segment
    segment.version, segment.unit = head[4], head[5] + 1
    segment.first, segment.hash = int.from_bytes(head[8:12], "big"), head[12:44]
    if head[4] != VERSION or (mac_key and _mac(mac_key, head[:44]) != head[44:60]):
        segment.state = "foreign"
        return segment
    segment.frames = _scan(data, HEADER_BYTES, segment.seed)
    segment.items = _checkpoint(head, segment.frames, mac_key)
    segment.state = "valid" if segment.items or segment.records else "torn"
    return segment


def _scan(data, at, seed):
    """All frames with a right CRC from `at` on, in their order on the medium."""
    frames = []
    # a frame's length is below 0xFF00, so no frame begins with 0xFF
    while match := _NOT_ERASED.search(data, at):
        before = frames[-1] if frames and frames[-1].end == match.start() else None
        at = match.start()
        run = before and int.from_bytes(data[at - 4 : at], "big")
        frame = (before and _frame(data, at, run)) or _frame(data, at, seed)
        if frame:
            frames.append(frame)
        at = frame.end if frame else at + 1
    return frames


def _frame(data, at, seed):
    """The frame at a position, or None."""
    size = int.from_bytes(data[at : at + 2], "big")
    end = at + FRAME_BYTES + size
    if end > len(data):
        return None
    body, crc = data[at : end - 4], data[end - 4 : end]
    if zlib.crc32(body, seed).to_bytes(4, "big") != crc:
        return None
    return Frame(body[2], int.from_bytes(body[3:5], "big"), body[5:], body, end)


def _checkpoint(head, frames, mac_key):
    """The items of a checkpoint that is whole, else None."""
    digest = hashlib.sha256(head)
    items = []
    for count, frame in enumerate(frames):
        if frame.kind not in (ITEMS, LAST) or frame.number != count:
            return None
        values = _arrays(frame.payload)
        if not values:  # right CRC, and yet no items: as good as not there
            return None
        if frame.kind == LAST:
            right = not mac_key or values[0][0] == _mac(mac_key, digest.digest())
            # LOG is the first item, so a checkpoint without items is not one
            return items if right and items and items[0][0] == 0 else None
        items += values
        digest.update(frame.body)
    return None


def _mac(key, data):
    return hmac.digest(key, data, "sha256")[:16]


def _align(size, unit):
    return -(-size // unit) * unit


def _order(segments):
    """Segments by *first*. Of two equal ones, the one with a state comes first, if only one has.

    Otherwise the one whose newest record has the higher number counts, and the other as erased.
    """
    ordered = []
    for segment in sorted(segments, key=lambda s: (s.first, s.log.get("state") != 1)):
        before = ordered[-1] if ordered else None
        if before and before.first == segment.first and _alike(before, segment):
            worse = segment if _newest(before) >= _newest(segment) else before
            worse.state = "erased"
            if worse is before:
                ordered[-1] = segment
        else:
            ordered.append(segment)
    return ordered


def _alike(one, two):
    return (one.log.get("state") == 1) == (two.log.get("state") == 1)


def _newest(segment):
    """How far the newest record is from *first*, by 16 bits; -1 without a record."""
    numbers = [(frame.number - segment.first) & 0xFFFF for frame in segment.records]
    return max([number for number in numbers if number < HALF], default=-1)


def _drop(log, segments):
    """The segments that are kept; sets the log's oldest."""
    if segments:
        log.oldest = segments[0].first
    whole = [s for s in segments if s.items]
    if whole:
        if whole[-1].log["version"] > VERSION:
            raise ValueError("the log wants a newer reader")
        log.oldest = whole[-1].log["oldest"]
    for segment, after in itertools.pairwise(segments):
        # one without records that begins at *oldest* may hold the only state: it stays
        if segment.first < log.oldest and after.first <= log.oldest:
            segment.state = "dropped"
    return [s for s in segments if s.state == "valid"]


def _join(log, segment, start, is_oldest):
    """Go on from a header: what is missing before it is a hole, its hash is the chain's."""
    if is_oldest:
        log.seq = min(log.oldest, segment.first) - 1
        log.head = start
    if segment.first > log.seq + 1:
        log.holes.append((log.seq + 1, segment.first - 1))
    elif log.head is not None:
        segment.linked = log.head == segment.hash
    log.seq, log.head = segment.first - 1, segment.hash


def _walk(log, segment, limit):
    """Number a segment's frames up to the record `limit`, and chain them."""
    for frame in segment.records:
        ahead = _ahead(log, frame)
        seq = log.seq + 1 + ahead
        if ahead >= HALF:  # an old number: the frame counts for nothing
            continue
        if seq >= limit:
            return
        if ahead:
            log.holes.append((log.seq + 1, seq - 1))
            log.head = _link(log.head, b"gap" + struct.pack(">I", seq - 1))
        log.seq, log.head = seq, _link(log.head, frame.body)
        log.records.append(Record(seq, frame.kind, frame.payload, log.head, segment.index))


def _ahead(log, frame):
    """How many records are missing between the newest one and a frame, by 16 bits."""
    return (frame.number - log.seq - 1) & 0xFFFF


def _link(head, data):
    return head and hashlib.sha256(head + data).digest()


def _recover(log):
    """Take the frames behind damaged headers that follow the newest record."""
    segment = True
    while segment:
        segment = next(filter(lambda segment: _follows(log, segment), log.segments), None)
        if segment:
            segment.state = "damaged"
            _walk(log, segment, 1 << 32)


def _follows(log, segment):
    """Whether a segment without a valid header holds records that are not old."""
    if segment.state != "erased" or segment.first is not None:
        return False
    head = segment.data[:HEADER_BYTES]
    below = log.seq + 1 - int.from_bytes(head[8:12], "big")
    if head[12:44] != log.head and not 0 <= below < HALF:
        return False
    for seed in (int.from_bytes(head[60:], "big"), zlib.crc32(head[:60])):
        segment.frames = _scan(segment.data, HEADER_BYTES, seed)
        if any(_ahead(log, frame) < HALF for frame in segment.records):
            return True
    return False


# -- MessagePack without ext types

_NUMBERS = dict(zip(range(0xCA, 0xD4), "fdBHIQbhiq", strict=True))
_KINDS = zip([str, str, str, list, list, dict, dict], "BHIHIHI", strict=True)
_LONG = dict(zip(range(0xD9, 0xE0), _KINDS, strict=True))
_LONG |= {0xC4: (bytes, "B"), 0xC5: (bytes, "H"), 0xC6: (bytes, "I")}
_SHORT = {8: dict, 9: list, 10: str, 11: str}  # by the upper half of the tag
_SIMPLE = {0xC0: None, 0xC2: False, 0xC3: True}


def unpack(data, at=0, depth=DEPTH):
    """The value at a position, and the position behind it. ValueError or struct.error if none."""
    tag, at = _number(data, at, "B")
    if tag < 0x80 or tag >= 0xE0:
        return tag - 256 if tag >= 0xE0 else tag, at
    if tag in _SIMPLE:
        return _SIMPLE[tag], at
    if tag in _NUMBERS:
        return _number(data, at, _NUMBERS[tag])
    if tag < 0xC0:
        return _content(data, at, depth, _SHORT[tag >> 4], tag & (31 if tag >= 0xA0 else 15))
    if tag not in _LONG:
        raise ValueError("MessagePack of a type that is not used here")
    kind, code = _LONG[tag]
    size, at = _number(data, at, code)
    return _content(data, at, depth, kind, size)


def _number(data, at, code):
    return struct.unpack_from(">" + code, data, at)[0], at + struct.calcsize(">" + code)


def _content(data, at, depth, kind, size):
    """The value of a str, bin, array or map of a size, and the position behind it."""
    if at + size > len(data) or not depth:
        raise ValueError("MessagePack is cut or nests too deeply")
    if kind in (str, bytes):
        raw = data[at : at + size]
        return (raw.decode() if kind is str else raw), at + size
    values = []
    for _ in range(size if kind is list else 2 * size):
        value, at = unpack(data, at, depth - 1)
        values.append(value)
    if kind is dict:
        values = dict(zip(map(str, values[::2]), values[1::2], strict=True))
    return values, at


def _arrays(data):
    """All arrays of a payload that is one after the other; [] if it is anything else."""
    values, at = [], 0
    try:
        while at < len(data):
            value, at = unpack(data, at)
            values.append(value)
    except (ValueError, struct.error):
        return []
    return values if all(isinstance(value, list) and value for value in values) else []
