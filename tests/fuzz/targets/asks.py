"""What anybody may publish to `in`: the parser of asks, the gate behind it, and the answer.

An input is the payload. It is taken, and its answer names its session and id, or it is refused in
words, in an answer of bounded size.
"""

import json
from random import Random

from chip import Chip
from mote.gate import Refused
from mote_ports.answers import Answer, refusal
from mote_ports.inbox import BadAsk, parse_ask
from mote_ports.text import is_unicode

from tests.fuzz import device, mutate
from tests.fuzz.target import Target

_WORDS = 200  # characters of a refusal
_ANSWER_BYTES = 1024  # of a refusal: names are at most 96 bytes, some of them escaped as six
_WORD = (0x20, 0x22, 0x5C, 0x7B, 0x7D)


class Asks(Target):
    name = "in"
    sources = ("ports/mote_ports/inbox.py", "ports/mote_ports/answers.py", "core/mote/gate.py")

    def make(self, random: Random) -> bytes:
        choice = random.randrange(8)
        if choice == 0:
            return mutate.some_bytes(random, 60)
        if choice == 1:
            text = mutate.text(random) * random.choice((1, 3, 40))
            return text.encode("utf-8", "surrogatepass")
        if choice == 2:
            return _odd(random)
        fields = {key: _field(random) for key in random.sample(_KEYS, random.randint(0, 4))}
        if random.randrange(4):
            fields["text"] = mutate.text(random) or "x"
        text = json.dumps(fields, ensure_ascii=bool(random.randrange(2)))
        return text.encode("utf-8", "surrogatepass")

    def mutate(self, data: bytes, random: Random, other: bytes) -> bytes:
        data = super().mutate(data, random, other)
        # most of what is no UTF-8 is refused at once: let half of it be some
        return data.decode("utf-8", "ignore").encode() if random.randrange(2) else data

    def check(self, data: bytes) -> str:
        try:
            text, session, name = parse_ask(memoryview(data))
        except BadAsk as exc:
            return _refused(exc.session, exc.name, str(exc))
        for part in (text, session, name):
            assert is_unicode(part), "not a string of Unicode"
        assert len(session.encode()) <= 32, "a session's name over its limit"
        assert len(name.encode()) <= 64, "an id over its limit"
        bench = device.booted(Chip(1, 4, 12288))
        before = bench.log.seq
        try:
            seq = bench.agent.ask(text, session, name, bench.now_ms, 0)
        except Refused as exc:
            assert bench.log.seq == before, "refused, and in the log"
            return _refused(session, name, str(exc))
        assert len(text.encode()) <= device.limits().ask_bytes
        _answered(bench, seq, text, session, name)
        return f"taken {text[:1] == '{'} {session == 'main'} {name == ''}"


def _refused(session: str, name: str, why: str) -> str:
    assert 0 < len(why) <= _WORDS, f"a refusal of {len(why)} characters"
    answer = refusal(session, name, why)
    assert len(answer) <= _ANSWER_BYTES, f"a refusal of {len(answer)} bytes"
    said = {"session": session, "id": name, "status": "refused", "text": why}
    assert json.loads(answer) == said, "the answer says something else"
    return f"refused {why[:40]}"


def _answered(bench: object, seq: int, text: str, session: str, name: str) -> None:
    """The turn goes to its end, and the answer is for this ask; asked again, it comes again."""
    line = device.joined(bench)
    line.bench.settle()
    turn = line.bench.turn(seq)
    line.bench.reply(turn, [], text or "?")
    line.bench.settle()
    _, (of, ident, how, said) = line.bench.published[-1]
    assert (of, said) == (session, text), "another answer"
    assert ident == name or not name, "another id"
    _streamed(of, ident, how, said)
    if name:
        count = len(line.bench.published)
        assert line.bench.agent.ask(text, session, name, line.bench.now_ms, 0) == seq
        line.bench.settle()
        assert len(line.bench.published) == count + 1, "not answered again"


def _streamed(session: str, name: str, how: int, text: str) -> None:
    """The answer is JSON of the size that was measured, cut as it had to be."""
    made = Answer(session, name, how, text)
    whole = json.loads(made.whole())
    assert (whole["session"], whole["id"], whole["text"]) == (session, name, text)
    most = 260 + len(text) // 2
    size = made.measure(most)
    data = b"".join(bytes(piece) for piece in made.pieces())
    assert len(data) == size, "another size than was measured"
    cut = json.loads(data)["text"]
    if cut != text:
        assert size <= most or len(cut) < 60, f"{size} bytes where {most} may be"
        assert text.startswith(cut.partition(" [cut")[0]), "another text"


_KEYS = ("id", "session", "text", "ID", "\u00e9", "", "text\0")


def _field(random: Random) -> object:
    return random.choice(
        (
            *(mutate.text(random), mutate.text(random), "x" * random.choice((31, 32, 33, 64, 65))),
            *(None, True, 0, -1, 1e308, 10**30, [], {}, ["a"], {"a": 1}, "\ud800", "\u00e9" * 17),
            *("\U0001f600" * 8, "\U0001f600" * 9, "a\0b", " pad ", "\u2028"),
        )
    )


def _odd(random: Random) -> bytes:
    """JSON that parsers stumble over."""
    depth = random.choice((8, 100, 1000, 5000, 60000))
    return random.choice(
        (
            *(b'{"text": ' + b"[" * depth, b'{"a":' * depth, b"{" * depth, b"[" * depth),
            *(b'{"text": "a", "n": ' + b"9" * depth + b"}", b'{"n": -1e' + b"9" * depth + b"}"),
            *(b'{"text": "x"', b'{"text": "x"}}', b'{"text": "x", "text": 1}', b"{}", b"{", b""),
            *(
                b'{"text": NaN}',
                b'{"text": "\\ud800"}',
                b'{"text": "\\ud83d\\ude00"}',
                b'{"id": "',
            ),
            *(b'\xef\xbb\xbf{"text": "x"}', b' {"text": "x"}', b'{"text": "\xed\xa0\x80"}', b"\0"),
            *(b'{"text": "a", "id": "\\u0000"}', b'{"text": "\x01"}', b"{'text': 'x'}", b"\xff"),
            b'{"text": "a", "session": "'
            + b"\\u0001" * 32
            + b'", "id": "'
            + b"\\u0002" * 64
            + b'"}',
            b'{"text": "' + b"\\u0001" * random.choice((127, 128, 129)) + b'"}',
        )
    )


def make_target() -> Target:
    """The target."""
    return Asks()
