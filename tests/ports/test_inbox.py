"""Asks and answers as anybody may write and read them."""

import json

from mote_ports.inbox import BadAsk, parse_ask


def _refused(payload):
    try:
        parse_ask(payload)
    except BadAsk as e:
        return str(e)
    raise AssertionError("accepted")


def test_plain_text_is_an_ask_in_the_main_session():
    assert parse_ask(b" what is it? \n") == ("what is it?", "main", "")


def test_json_names_session_and_id():
    ask = b'{"text": "hi", "session": "s", "id": "7"}'
    assert parse_ask(memoryview(ask)) == ("hi", "s", "7")


def test_defaults_stand_for_what_is_absent_empty_or_null():
    assert parse_ask(b'{"text": "hi", "session": "", "id": null}') == ("hi", "main", "")


def test_what_is_not_utf8_is_refused():
    for bad in (b"\xff\xfe", b"a\xed\xa0\x80", b'{"text": "\xed\xa0\x80"}'):
        assert "UTF-8" in _refused(bad)


def test_what_begins_with_a_brace_must_be_json():
    for bad in (b"{", b'{"text": "a"', b"{]", b'{"text" "a"}'):
        # MP: 1.25's json takes a truncated object for whole
        try:
            assert parse_ask(bad)[0] == "a"
        except BadAsk as e:
            assert "JSON" in str(e)


def test_a_text_is_needed_and_must_be_a_string():
    assert '"text"' in _refused(b"{}")
    assert '"text"' in _refused(b'{"text": 5}')


def test_half_a_character_is_refused_or_taken_as_bytes_but_never_an_error():
    for field in ("text", "session", "id"):
        fields = {"text": "a", field: "HALF"}
        payload = json.dumps(fields).replace("HALF", "\\ud800").encode()
        # MP: lets strings hold it
        try:
            parse_ask(payload)[0].encode()
        except BadAsk as e:
            assert field in str(e)


def test_session_and_id_are_bounded_strings():
    assert "32 bytes" in _refused(b'{"text": "a", "session": "%s"}' % (b"s" * 33))
    assert "64 bytes" in _refused(b'{"text": "a", "id": "%s"}' % (b"i" * 65))
    assert "32 bytes" in _refused(b'{"text": "a", "session": 7}')


def test_deep_nesting_is_refused_or_ignored_but_ends():
    deep = b'{"text": "a", "x": ' + b"[" * 700 + b"]" * 700 + b"}"
    try:
        assert parse_ask(deep) == ("a", "main", "")
    except BadAsk as e:
        assert "JSON" in str(e)
