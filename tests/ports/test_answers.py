"""Answers as JSON in pieces: the bytes are those of one object, whatever is in the text."""

import json

from helpers import Random
from mote_ports.answers import CUT, Answer, refusal

HEAD = '{"session": "s", "id": "7", "status": "done", "text": '


class Pieces:
    """A reader that gives `data` in pieces of at most `most` bytes."""

    def __init__(self, data, most):
        self._data = data
        self._most = most

    def fill(self, into):
        """The next bytes."""
        n = min(self._most, len(into), len(self._data))
        into[:n] = self._data[:n]
        self._data = self._data[n:]
        return n


def _answer(data, most=100, how=0):
    return Answer("s", "7", how, lambda: Pieces(data, most))


def _sent(answer, most):
    size = answer.measure(most)
    sent = b"".join([bytes(piece) for piece in answer.pieces()])
    assert len(sent) == size
    return sent


def test_an_answer_is_json_with_its_keys_in_order():
    text = 'a "quoted"\nline with \u00e9'
    sent = Answer("s", "7", 0, text).whole().decode()
    assert json.loads(sent) == {"session": "s", "id": "7", "status": "done", "text": text}
    assert sent.startswith(HEAD)


def test_a_refusal_says_so():
    assert json.loads(refusal("s", "7", "too much")) == {
        "session": "s",
        "id": "7",
        "status": "refused",
        "text": "too much",
    }


def test_every_character_comes_back_whatever_the_pieces_are():
    every = "".join([chr(n) for n in range(0x2FF)]) + "\u20ac\uffff\U0001f600\U0010ffff"
    for most in (1, 2, 3, 7, 256):
        sent = _sent(_answer(every.encode(), most), 1 << 20)
        assert sent == Answer("s", "7", 0, every).whole()
        assert json.loads(sent)["text"] == every


def test_the_names_may_hold_anything():
    sent = Answer('a"\\\n', "\u00e9\u20ac", 2, "x").whole()
    assert json.loads(sent)["session"] == 'a"\\\n'
    assert json.loads(sent)["id"] == "\u00e9\u20ac"


def test_what_is_not_utf8_is_said_instead():
    valid = (
        b"\xc2\x80",
        b"\xe0\xa0\x80",
        b"\xed\x9f\xbf",
        b"\xf0\x90\x80\x80",
        b"\xf4\x8f\xbf\xbf",
    )
    for data in valid:
        assert json.loads(_sent(_answer(data, 1), 1000))["text"] == data.decode()
    wrong = (b"\x80", b"\xc1\x81", b"\xe0\x9f\x80", b"\xed\xa0\x80", b"\xf0\x8f\x80\x80")
    wrong += (b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xff", b"\xc3", b"\xe2\x82", b"\xc3(")
    for data in wrong:
        for text in (data, b"before " + data):
            assert json.loads(_sent(_answer(text, 2), 1000))["text"] == "(reply not UTF-8)"


def test_a_text_that_does_not_fit_is_cut_between_characters():
    text = 'a\n"\u20ac\U0001f600z' * 20
    whole = len(_answer(text.encode()).whole())
    least = len(HEAD) + 2 + len(CUT) + 1
    for most in range(least, whole + 2):
        sent = _sent(_answer(text.encode(), 5), most)
        assert len(sent) <= most
        said = json.loads(sent)["text"]
        if most >= whole:
            assert said == text
        else:
            assert said.endswith(CUT.decode())
            assert text.startswith(said[: -len(CUT)])
            assert most - len(sent) < 7  # no more than one character is given away


def test_any_text_fits_any_packet():
    draw = Random(5)
    for _ in range(60):
        data = bytes([byte % 0x7F for byte in draw.bytes(draw.below(700))])
        most = 120 + draw.below(600)
        sent = _sent(_answer(data, 1 + draw.below(300)), most)
        assert len(sent) <= most
        said = json.loads(sent)["text"].encode()
        assert said == data or data.startswith(said[: -len(CUT)])
