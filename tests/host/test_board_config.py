"""moted.toml made into a board's /mote.cfg, and refused where a board can't do as it says."""

import pytest
import trustme
from mote.turn import Limits
from mote_device.settings import FIELDS, MAX_BYTES, Settings
from mote_host.board_config import DEFAULTS, compile_config, pack
from mote_host.errors import ConfigError

KEY = bytes(range(32))
HEAD = '[device]\nname = "bench"\nkey_file = "device.key"\n'
LAN = HEAD + '[broker]\nhost = "10.0.2.2"\n'


@pytest.fixture
def folder(tmp_path):
    for name, text in (("device.key", KEY.hex()), ("broker.password", "secret\n")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o600)
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    return tmp_path


def _read(folder, text):
    """What a board reads of this moted.toml."""
    (folder / "moted.toml").write_text(text)
    (folder / "mote.cfg").write_bytes(compile_config(folder / "moted.toml"))
    return Settings(str(folder / "mote.cfg"))


def test_what_a_board_has_if_nothing_is_said(folder):
    found = _read(folder, LAN)
    assert (found.name, found.key, found.link) == ("bench", KEY, ["lan", "10.0.2.2", 1883])
    limits = Limits.of(found.limits)
    assert (limits.sessions, limits.open_turns, limits.facts) == (4, 2, 8)
    assert (limits.ask_bytes, limits.result_bytes, limits.reply_bytes) == (256, 256, 4096)
    assert (found.part_bytes, found.record_bytes, found.drop) == (256, 384, False)
    assert (found.segments, found.segment_bytes) == (8, 32768)
    assert (found.user, found.password, found.ca) == (None, None, None)
    assert (found.board, found.modules) == ("none", [])
    assert (found.watchdog_ms, found.verbose) == (8000, False)


def test_what_is_said_counts(folder):
    text = LAN + (
        'user = "u"\npassword_file = "broker.password"\ntls = true\nca_file = "ca.pem"\n'
        '[log]\nsegment_kib = 64\nwhen_full = "drop"\n[limits]\nsessions = 9\nturn_s = 7\n'
        '[tools]\nmodules = ["dice"]\n'
    )
    found = _read(folder, text.replace("[broker]", "board = 'greenhouse'\n[broker]"))
    assert (found.user, found.password) == ("u", "secret")
    assert found.link == ["lan", "10.0.2.2", 8883]
    assert [cert[0] for cert in found.ca] == [0x30]
    assert (found.segment_bytes, found.drop, found.board) == (65536, True, "greenhouse")
    limits = Limits.of(found.limits)
    assert (limits.sessions, limits.turn_ms, limits.open_turns) == (9, 7000, 2)
    assert found.modules == ["dice"]


def test_a_serial_line(folder):
    found = _read(folder, HEAD + '[broker]\nserial = "UART:1"\nbaud = 9600\n')
    assert found.link == ["uart", 1, 9600]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEAD, "[broker] host: 127.0.0.1 would be the board itself"),
        (HEAD + '[broker]\nhost = "localhost"\n', "localhost would be the board itself"),
        (HEAD + '[broker]\nserial = "/dev/ttyS0"\n', 'serial: of a board it is "UART:" and a'),
        (HEAD + '[broker]\nserial = "UART:x"\n', 'serial: of a board it is "UART:" and a'),
        (LAN + "tls = true\n", "ca_file: needed with tls: a board has no trust store"),
        (LAN + 'tls = true\nca_file = "device.key"\n', "device.key: no certificate in PEM form"),
        (
            LAN + 'tls = true\nclient_cert = "ca.pem"\nclient_key = "device.key"\n',
            "client_cert: a board has none; it has user and password",
        ),
        (LAN + "hots = 1\n", "line 6: [broker] hots: unknown key"),
        (LAN + "[limits]\nsessions = 64\n", "[log] segment_kib must be at least"),
        (LAN + "[limits]\nask_bytes = 257\n", "[limits] ask_bytes must be at most 256"),
    ],
)
def test_what_a_board_can_not_do_is_refused(folder, text, said):
    with pytest.raises(ConfigError) as error:
        _read(folder, text)
    assert said in str(error.value)
    assert str(error.value).startswith(str(folder / "moted.toml"))


def test_a_key_that_is_missing_is_named(folder):
    (folder / "device.key").unlink()
    with pytest.raises(ConfigError, match=r"device\.key: no such file"):
        _read(folder, LAN)


def test_what_is_too_long_for_a_board_is_refused(folder):
    pem = (folder / "ca.pem").read_text()
    (folder / "ca.pem").write_text(pem * 40)
    with pytest.raises(ConfigError, match=f"at most {MAX_BYTES} bytes: are fewer certificates"):
        _read(folder, LAN + 'tls = true\nca_file = "ca.pem"\n')
    with pytest.raises(KeyError):
        pack({"name": "bench"})


def test_the_longest_configuration_is_read(folder):
    values = dict.fromkeys(FIELDS)
    values["ca"] = [bytes(MAX_BYTES - 80)]
    (folder / "mote.cfg").write_bytes(pack(values))
    assert Settings(str(folder / "mote.cfg")).ca == values["ca"]


def test_the_defaults_name_keys_that_there_are():
    from mote_device.config import KEYS

    assert {(row[0], row[1]) for row in KEYS} >= set(DEFAULTS)
