"""MQTT's reason codes in words."""

from mote_ports.reasons import reason


def test_the_codes_of_both_versions_have_words():
    table = {
        5: {
            0x84: "unsupported version",
            0x85: "client id invalid",
            0x86: "bad credentials",
            0x87: "not authorized",
            0x88: "server unavailable",
            0x89: "server busy",
            0x8A: "banned",
            0xA1: "code 0xa1",
        },
        4: {
            1: "unsupported version",
            2: "client id invalid",
            3: "server unavailable",
            4: "bad credentials",
            5: "not authorized",
            6: "code 0x06",
        },
    }
    for codes in table.values():
        for code in codes:
            assert reason(code) == codes[code]
    assert reason(0x8E) == "session taken over by another client"
    assert reason(0) == "code 0x00"
