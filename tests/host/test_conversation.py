"""Conversations built from replicas, and replies packed for devices."""

import math
import random

import pytest
from fake_device import read, watering
from mote import records as r
from mote.body import Body
from mote.body import Reply as DeviceReply
from mote.msgpack import FormatError, Packer
from mote.tools import IDEMPOTENT, Toolset, boolean, choice, integer, number, text, tool
from mote_host import store
from mote_host.bodies import MAX_CALL_BYTES, decode_reply
from mote_host.conversation import build, encode_reply, turn_messages
from mote_host.declarations import read_declaration
from mote_host.frames import Record
from mote_host.providers.base import Call, Message, Reply
from mote_host.store import record_of

NAN = Call("1", "pump", {"seconds": math.nan})


# -- conversations


async def test_a_turn_and_the_turns_before_it(bench, fern):
    bench.provider.script = [*watering(), Reply("You are welcome."), Reply("Hello, kitchen.")]
    await bench.turn(fern, "water the left bed")
    await bench.turn(fern, "thanks")
    await bench.turn(fern, "hello", session="kitchen")
    asked = bench.provider.requests
    assert asked[2].messages == (
        Message("user", "water the left bed"),
        Message("assistant", "", (Call("call_3_0", "read_moisture", {"bed": "left"}),)),
        Message("tool", "31 %", call_id="call_3_0"),
        Message("assistant", "", (Call("call_8_0", "run_pump", {"seconds": 3}),)),
        Message("tool", "{'pumped_s': 3}", call_id="call_8_0"),
    )
    assert asked[3].messages == (
        *asked[2].messages,
        Message("assistant", "It was dry, so I watered it for 3 s."),
        Message("user", "thanks"),
    )
    assert asked[4].messages == (Message("user", "hello"),)
    assert asked[0].system == bench.settings.gateway.system_prompt
    assert asked[0].max_tokens == 1024


async def test_the_window_holds_whole_turns_newest_first(bench, fern):
    bench.provider.script = [Reply("a" * 100) for _ in range(6)]
    for n in range(6):
        await bench.turn(fern, f"{n}" * 10)
    await bench.sync(fern)
    request = [x for x in bench.store.records("fern") if x.kind == r.REQ][-1]

    def asks(window_bytes):
        built = build(
            bench.store,
            "fern",
            request,
            [],
            system="",
            window_bytes=window_bytes,
            max_tokens=1024,
        )
        assert [m.role for m in built.messages][-1] == "user"
        return "".join(m.text[0] for m in built.messages if m.role == "user")

    assert asks(10**6) == "012345"
    assert asks(10 + 2 * 110) == "345"
    assert asks(10 + 2 * 110 - 1) == "45"
    assert asks(0) == "5"  # the request's own turn is always whole


async def test_no_more_turns_are_read_than_the_window_takes(bench, fern, monkeypatch):
    bench.provider.script = [Reply("a" * 100) for _ in range(6)]
    for n in range(6):
        await bench.turn(fern, f"{n}" * 10)
    await bench.sync(fern)
    read = []
    monkeypatch.setattr(store, "record_of", lambda row: read.append(row[4]) or record_of(row))
    turns = bench.store.turns_before("fern", "main", bench.tip(fern) + 1, 4)
    newest = next(turns)[0].turn
    assert set(read) == {newest}
    assert [turn[0].turn < newest for turn in turns] == [True] * 3


async def test_the_reply_limit_of_the_device_caps_the_tokens(bench, fern):
    bench.provider.script = [Reply("a")]
    await bench.turn(fern, "hello")
    await bench.sync(fern)
    (request,) = [x for x in bench.store.records("fern") if x.kind == r.REQ]
    for limit, most, due in [(900, 1024, 300), (90, 1024, 64), (9000, 1024, 1024), (9, 70, 64)]:
        request.fields["limit"] = limit
        built = build(bench.store, "fern", request, [], system="", window_bytes=9, max_tokens=most)
        assert built.max_tokens == due


def rec(seq, kind, **fields):
    return Record(seq, kind, b"", fields)


def reply_records(seq, req, reply):
    body, ncalls = encode_reply(reply, 4096)
    return [
        rec(seq, r.PART, req=req, data=body[:3]),
        rec(seq + 1, r.PART, req=req, data=body[3:]),
        rec(seq + 2, r.REPLY_END, req=req, length=len(body), calls=ncalls, tokens=1),
    ]


ASK = rec(1, r.ASK, session="main", text="go")
TWO_CALLS = Reply("both", (Call("x", "a", {}), Call("y", "b", {"n": 1})))


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (r.OK, "text"),
        (r.ERROR, "error: text"),
        (r.REJECTED, "rejected: text"),
        (r.LATE, "timed out: text"),
        (r.UNKNOWN, "outcome unknown: text"),
        (r.STOPPED, "stopped: text"),
    ],
)
def test_the_status_of_a_result_is_told_in_words(status, words):
    turn = [
        ASK,
        *reply_records(3, 2, TWO_CALLS),
        rec(6, r.RESULT, req=2, index=0, status=status, text="text"),
        rec(7, r.RESULT, req=2, index=1, status=r.OK, text="1"),
    ]
    assert turn_messages(turn) == [
        Message("user", "go"),
        Message("assistant", "both", (Call("call_2_0", "a", {}), Call("call_2_1", "b", {"n": 1}))),
        Message("tool", words, call_id="call_2_0"),
        Message("tool", "1", call_id="call_2_1"),
    ]


def test_a_restart_is_told_where_it_happened():
    boot = rec(5, r.BOOT, outputs=["pump", "lamp"])
    note = "\n(the device restarted; these outputs were reset: pump, lamp)"
    assert turn_messages([ASK, boot]) == [Message("user", "go" + note)]
    turn = [
        ASK,
        *reply_records(3, 2, Reply("", (Call("x", "a", {}),))),
        boot,
        rec(6, r.RESULT, req=2, index=0, status=r.UNKNOWN, text="who knows"),
        rec(7, r.BOOT, outputs=[]),
    ]
    assert turn_messages(turn)[-1].text == (
        f"outcome unknown: who knows{note}\n(the device restarted)"
    )


def test_every_call_has_a_result_even_when_the_turn_ended_before():
    turn = [
        ASK,
        *reply_records(3, 2, TWO_CALLS),
        rec(6, r.RESULT, req=2, index=0, status=r.OK, text="1"),
        rec(7, r.ANSWER, turn=1, how=r.LIMITED, req=0, text="limit of 1 tool calls"),
    ]
    assert turn_messages(turn)[2:] == [
        Message("tool", "1", call_id="call_2_0"),
        Message("tool", "not run: the turn ended before", call_id="call_2_1"),
        Message(
            "assistant",
            "(this turn ended without an answer; limit reached: limit of 1 tool calls)",
        ),
    ]


def test_a_request_that_was_given_up_leaves_no_trace():
    turn = [ASK, rec(3, r.PART, req=2, data=b"half a re"), *reply_records(5, 4, Reply("whole"))]
    assert turn_messages(turn) == [Message("user", "go"), Message("assistant", "whole")]


def test_a_reply_that_can_not_be_read_does_not_stop_the_session():
    turn = [ASK, rec(3, r.REPLY_END, req=2, length=0, calls=3, tokens=0)]
    assert turn_messages(turn)[1] == Message("assistant", "(this reply can't be read)")


def test_a_turn_without_its_ask_is_nothing():
    assert turn_messages([]) == []
    assert turn_messages([rec(3, r.SENT, turn=1)]) == []


# -- declarations


def test_declarations_become_json_schema():
    @tool(
        "Set everything.",
        IDEMPOTENT,
        integer("count", 1, 5, "", "How often"),
        number("seconds", 0.5, 9.5, "s", "How long"),
        number("level", 0, math.inf, "%"),
        boolean("on"),
        text("label", 20),
        choice("bed", ["left", "right"], "Which"),
    )
    def everything():
        pass

    spec = read_declaration(bytes(Toolset([everything]).declaration(0)))
    assert (spec.name, spec.description, spec.effect) == (
        "everything",
        "Set everything.",
        "IDEMPOTENT",
    )
    assert spec.parameters == {
        "type": "object",
        "properties": {
            "count": {
                "type": "integer",
                "minimum": 1,
                "maximum": 5,
                "description": "How often",
            },
            "seconds": {
                "type": "number",
                "minimum": 0.5,
                "maximum": 9.5,
                "unit": "s",
                "description": "How long (in s)",
            },
            "level": {"type": "number", "minimum": 0, "unit": "%", "description": "in %"},
            "on": {"type": "boolean"},
            "label": {"type": "string", "maxLength": 20},
            "bed": {"type": "string", "enum": ["left", "right"], "description": "Which"},
        },
        "required": ["count", "seconds", "level", "on", "label", "bed"],
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    "value",
    [
        ["a", "b", 9, 1, [], []],
        ["a", "b", 0, 1, []],
        ["a", "b", 0, 1, [], [["p", "complex", 0, 1, "", ""]]],
        ["a", "b", 0, 1, [], [["p", "choice", [1], None, "", ""]]],
        ["a", "b", 0, 1, [], [["p", "choice", None, None, "", ""]]],
    ],
)
def test_declarations_that_are_malformed(value):
    with pytest.raises(FormatError):
        read_declaration(bytes(Packer(bytearray(200)).value(value).taken()))


# -- replies


class OneReply:
    """A log that holds one reply in a part, for the device's own reader."""

    seq = 3

    def __init__(self, body):
        self._frames = {
            2: bytes(5) + bytes(Packer(bytearray(9999)).value([1, body]).taken()),
            3: bytes(5) + bytes(Packer(bytearray(99)).value([1, 0, b"", 0, 0]).taken()),
        }
        self._kinds = {2: r.PART, 3: r.REPLY_END}

    def frame(self, seq):
        frame = bytearray(self._frames[seq])
        frame[2] = self._kinds[seq]
        return memoryview(frame)


def test_the_device_reads_what_was_packed():
    calls = (Call("1", "run_pump", {"seconds": 3, "why": "dry ä"}), Call("2", "log", "not JSON"))
    body, ncalls = encode_reply(Reply("a remark", calls), 4096)
    assert ncalls == 2
    assert DeviceReply(OneReply(body), 1).call(0) == (
        "run_pump",
        {"seconds": 3, "why": "dry ä"},
    )
    assert DeviceReply(OneReply(body), 1).call(1) == ("log", "not JSON")
    assert decode_reply(body, 2) == (
        [("run_pump", {"seconds": 3, "why": "dry ä"}), ("log", "not JSON")],
        "a remark",
    )
    body, ncalls = encode_reply(Reply("only text äöü"), 4096)
    assert (read(Body(OneReply(body), 1)), ncalls) == ("only text äöü", 0)


def nested(depth):
    value = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "arguments",
    [
        {"text": "x" * MAX_CALL_BYTES},
        "x" * MAX_CALL_BYTES,
        {"n": 1 << 64},
        {"n": math.nan},
        {"n": [1, {"deep": -math.inf}]},
        {"n": nested(6)},
        {"n": nested(500)},
        {"n": "\ud800"},
        {"n": object()},
    ],
)
def test_arguments_that_can_not_be_sent_are_explained_in_their_place(arguments):
    body, ncalls = encode_reply(Reply("", (Call("1", "pump", arguments),)), 4096)
    name, given = DeviceReply(OneReply(body), 1).call(0)
    assert (name, ncalls) == ("pump", 1)
    assert given.startswith("the arguments can't be sent to the device: ")
    assert len(body) <= MAX_CALL_BYTES


def test_arguments_at_their_limits_are_sent():
    arguments = {"n": nested(5), "big": (1 << 64) - 1, "low": -(1 << 63)}
    body, _ = encode_reply(Reply("", (Call("1", "pump", arguments),)), 4096)
    assert DeviceReply(OneReply(body), 1).call(0) == ("pump", arguments)


def test_calls_over_the_limit_are_dropped_from_the_end():
    calls = tuple(Call(str(n), "pump", {"seconds": n}) for n in range(9))
    whole, _ = encode_reply(Reply("", calls), 4096)
    for limit in range(len(whole)):
        body, ncalls = encode_reply(Reply("", calls), limit)
        assert len(body) <= limit
        assert ncalls == limit // (len(whole) // 9)
    assert decode_reply(*encode_reply(Reply("", calls), 100))[0][-1][1] == {"seconds": 5}
    assert encode_reply(Reply("", calls), 10) == (b"(the [cut]", 0)
    assert encode_reply(Reply("", calls), 3) == (b"", 0)


def test_text_is_cut_at_the_limit_between_characters():
    words = "".join(random.Random(1).choices("aä€😀", k=300))
    whole = words.encode()
    assert encode_reply(Reply(words), len(whole)) == (whole, 0)
    for limit in range(6, len(whole)):
        body, _ = encode_reply(Reply(words), limit)
        assert len(body) <= limit
        assert words.startswith(body.decode().removesuffix(" [cut]"))
        assert body.endswith(b" [cut]")
    assert encode_reply(Reply("so far", truncated=True), 99)[0] == b"so far [cut]"


def test_a_reply_is_never_empty():
    assert encode_reply(Reply(""), 99)[0] == b"(the model returned no text)"
    assert encode_reply(Reply("", (NAN,)), 60)[0].startswith(b"(the model's calls do not fit")
