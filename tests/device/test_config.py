"""moted.toml: defaults, checks, and messages that name the file, the line and the key."""

import os
import time

from mote_device import config, transport

DEVICE = '[device]\nname = "d1"\nkey_file = "key"\n'


class Folder:
    """A new folder for one test; its files and itself are removed on leaving."""

    def __enter__(self):
        base = os.getenv("MOTE_TEST_TMP") or "/tmp"
        self.path = f"{base}/mote-config-{time.time_ns()}-{id(self)}"
        os.mkdir(self.path)
        return self

    def __exit__(self, *exc):
        for name in os.listdir(self.path):
            os.remove(self.path + "/" + name)
        os.rmdir(self.path)

    def write(self, name, data):
        path = self.path + "/" + name
        with open(path, "wb") as file:
            file.write(data if isinstance(data, bytes) else data.encode())
        return path


def load(text):
    with Folder() as folder:
        return config.load_config(folder.write("moted.toml", text))


def message_of(call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except config.ConfigError as error:
        return str(error)
    raise AssertionError(f"accepted: {args!r}")


def check_refused(text, expected):
    """`expected` is the whole message, FILE standing for the file's path."""
    with Folder() as folder:
        path = folder.write("moted.toml", text)
        message = message_of(config.load_config, path)
        assert message.replace(path, "FILE") == expected, message


def check_value(row, good, bad, reason):
    """`row` is a key of the [device] table or "table.key"."""
    table, _, key = row.partition(".")
    text = DEVICE if table == "device" else DEVICE + f"[{table}]\n"
    line = text.count("\n") + 1
    for value, expected in good:
        got = getattr(getattr(load(f"{text}{key} = {value}\n"), table), key)
        assert got == expected, (row, value, got)
        assert type(got) is type(expected), (row, value, got)
    for value in bad:
        expected = f"FILE, line {line}: [{table}] {key}: {reason.replace('VALUE', value)}"
        check_refused(f"{text}{key} = {value}\n", expected)


def private(mode):
    return lambda path: (0o100000 | mode, 0, 0, 0, 0, 0, 0, 0, 0, 0)


def test_defaults():
    with Folder() as folder:
        path = folder.write("moted.toml", DEVICE)
        loaded = config.load_config(path)
        assert loaded.path == path
        assert loaded.device.name == "d1"
        assert loaded.device.key_file == folder.path + "/key"
        assert loaded.device.state_dir == folder.path + "/state"
        assert loaded.device.world_file == folder.path + "/world.json"
        assert (loaded.device.board, loaded.device.time_scale) == ("none", 1.0)
        assert (loaded.device.verbose, loaded.device.watchdog_s) == (False, 8)
        broker = loaded.broker
        assert (broker.host, broker.port, broker.user) == ("127.0.0.1", 1883, "")
        assert (broker.password_file, broker.tls, broker.ca_file) == ("", False, "")
        assert (broker.client_cert, broker.client_key, broker.serial) == ("", "", "")
        assert (broker.keepalive_s, broker.session_expiry_s) == (60, 86400)
        log = loaded.log
        assert (log.segment_kib, log.segments, log.record_bytes) == (64, 16, 1024)
        assert log.program_unit == 1
        limits = loaded.limits
        assert (limits.open_turns, limits.steps, limits.calls, limits.tokens) == (8, 8, 16, 50000)
        assert (limits.turn_s, limits.restarts, limits.ask_bytes) == (300, 5, 768)
        assert (limits.result_bytes, limits.reply_bytes) == (512, 4096)
        assert (limits.asks_per_hour, limits.asks_burst) == (600, 10)
        assert (limits.seen_asks, limits.sessions, limits.facts) == (32, 16, 16)
        assert log.when_full == "refuse"
        assert (loaded.tools.path, loaded.tools.modules) == ([], [])


def test_two_configurations_share_no_list():
    first = load(DEVICE)
    first.tools.path.append("x")
    assert load(DEVICE).tools.path == []


def test_every_bound_of_every_number():
    for table, key, kind, _, rule, _ in config.KEYS:
        if kind != "int" or not isinstance(rule, tuple) or key == "baud":
            continue  # a baud rate alone means nothing: it has a test of its own
        low, high = rule
        good = [(str(low), low), (str(high), high)]
        reason = f"VALUE is not in {low}..{high}"
        check_value(table + "." + key, good, [str(low - 1), str(high + 1)], reason)
        reason = "must be an integer, not a float"
        check_value(table + "." + key, [], [f"{low}.0"], reason)


def test_the_table_is_what_the_program_was_promised():
    rules = {row[0] + "." + row[1]: row[4] for row in config.KEYS}
    assert len(rules) == len(config.KEYS) == 41
    assert rules["broker.port"] == (1, 65535)
    assert rules["broker.keepalive_s"] == (5, 3600)
    assert rules["broker.session_expiry_s"] == (0, 2592000)
    assert rules["log.segment_kib"] == (4, 1024)
    assert rules["log.segments"] == (4, 1024)
    assert rules["log.record_bytes"] == (384, 4096)
    assert rules["limits.open_turns"] == rules["limits.steps"] == (1, 64)
    assert rules["limits.calls"] == (1, 256)
    assert rules["limits.seen_asks"] == rules["limits.sessions"] == (1, 1024)
    assert rules["limits.facts"] == (0, 256)
    assert rules["log.when_full"] == ["refuse", "drop"]
    assert rules["limits.tokens"] == (1, 10000000)
    assert rules["limits.turn_s"] == (5, 86400)
    assert rules["limits.restarts"] == (1, 100)
    assert rules["limits.ask_bytes"] == (16, 3072)
    assert rules["limits.result_bytes"] == (32, 2048)
    assert rules["limits.reply_bytes"] == (256, 65536)
    assert rules["limits.asks_per_hour"] == (1, 100000)
    assert rules["limits.asks_burst"] == (1, 1000)


def test_choices():
    good = [("1", 1), ("4", 4), ("16", 16), ("256", 256)]
    check_value("log.program_unit", good, ["2"], "2 is not one of 1, 4, 16, 256")
    good = [('"none"', "none"), ("'greenhouse'", "greenhouse")]
    check_value("device.board", good, ['"pi"'], '"pi" is not one of "none", "greenhouse"')


def test_time_scale_takes_whole_numbers_too():
    good = [("60", 60.0), ("0.001", 0.001), ("1000", 1000.0), ("1e3", 1000.0)]
    check_value("device.time_scale", good, ["0.0", "1000.5"], "VALUE is not in 0.001..1000")
    check_value("device.time_scale", [], ['"1"'], "must be a number, not a string")
    check_value("device.time_scale", [], ["true"], "must be a number, not a boolean")


def test_wrong_types():
    check_value("broker.port", [], ['"1883"'], "must be an integer, not a string")
    check_value("broker.port", [], ["true"], "must be an integer, not a boolean")
    check_value("broker.port", [], ["[]"], "must be an integer, not an array")
    check_value("broker.tls", [("true", True)], ["1"], "must be true or false, not an integer")
    check_value("broker.host", [], ["false"], "must be a string, not a boolean")
    check_value("tools.path", [], ["'x'"], "must be an array of strings, not a string")
    check_value("tools.modules", [], ["[1]"], "must be an array of strings, but holds an integer")
    check_refused(
        DEVICE + "[broker]\n[broker.port]\n",
        "FILE, line 5: [broker] port: must be an integer, not a table",
    )


def test_the_name():
    def named(name):
        return f'[device]\nkey_file = "k"\nname = "{name}"\n'

    for name in ("a", "Pump-3_b.x", "x" * 32):
        assert load(named(name)).device.name == name
    where = "FILE, line 3: [device] name: "
    check_refused(named(""), where + "must have 1..32 characters, not 0")
    check_refused(named("x" * 33), where + "must have 1..32 characters, not 33")
    for name in ("a b", "a/b", "a+", "#", chr(0xE9)):
        check_refused(named(name), where + f'"{name}" may hold a-z A-Z 0-9 - _ . only')
    for name in ("-x", ".x", "_x", ".."):  # no gateway enrolls these
        check_refused(named(name), where + f'"{name}" must begin with a letter or a digit')


def test_strings():
    check_value("broker.host", [], ['""'], "must have 1..255 characters, not 0")
    check_value("broker.user", [], ['"a\\u0000b"'], "must not hold control characters")
    check_value("device.state_dir", [], ['""'], "must not be empty")
    check_value("tools.path", [], ['["a", ""]'], "must not be empty")
    check_value(
        "tools.modules",
        [("['a', 'b.c']", ["a", "b.c"])],
        ['["\\n"]'],
        "must not hold control characters",
    )


def test_paths_are_relative_to_the_file():
    text = DEVICE + (
        'state_dir = "/var/lib/mote"\nworld_file = "sub/w.json"\n'
        '[broker]\ntls = true\nca_file = "ca.pem"\npassword_file = "../pw"\n'
        'client_cert = "me.pem"\nclient_key = "/keys/me.pem"\n'
        '[tools]\npath = ["tools", "/opt/tools"]\nmodules = ["gpio"]\n'
    )
    with Folder() as folder:
        loaded = config.load_config(folder.write("moted.toml", text))
        assert loaded.device.state_dir == "/var/lib/mote"
        assert loaded.device.world_file == folder.path + "/sub/w.json"
        assert loaded.broker.ca_file == folder.path + "/ca.pem"
        assert loaded.broker.password_file == folder.path + "/../pw"
        assert loaded.broker.client_cert == folder.path + "/me.pem"
        assert loaded.broker.client_key == "/keys/me.pem"
        assert loaded.tools.path == [folder.path + "/tools", "/opt/tools"]
        assert loaded.tools.modules == ["gpio"]


def test_a_path_without_a_folder_stays_relative():
    with Folder() as folder:
        folder.write("moted.toml", DEVICE)
        before = os.getcwd()
        os.chdir(folder.path)
        try:
            assert config.load_config("moted.toml").device.key_file == "key"
            assert config.load_config("./moted.toml").device.key_file == "./key"
        finally:
            os.chdir(before)


def test_the_port_follows_tls():
    assert load(DEVICE + "[broker]\ntls = true\n").broker.port == 8883
    assert load(DEVICE + "[broker]\ntls = true\nport = 1883\n").broker.port == 1883
    assert load(DEVICE + "[broker]\ntls = false\n").broker.port == 1883


def check_broker(text, line, expected):
    check_refused(DEVICE + "[broker]\n" + text, f"FILE, line {line}: [broker] {expected}")


def test_a_serial_port_takes_the_place_of_the_network():
    broker = load(DEVICE + '[broker]\nserial = "/dev/ttyS0"\n').broker
    assert (broker.serial, broker.baud) == ("/dev/ttyS0", 115200)
    two_ways = "with serial there is no network: take one of the two"
    check_broker('serial = "/dev/ttyS0"\nhost = "b"\n', 6, "host: " + two_ways)
    check_broker('port = 1883\nserial = "/dev/ttyS0"\n', 5, "port: " + two_ways)
    bridge = "tls: not on a serial line: mote bridge --tls talks it to the broker"
    check_broker('serial = "/dev/ttyS0"\ntls = true\n', 6, bridge)
    assert load(DEVICE + '[broker]\nserial = "/dev/ttyS0"\ntls = false\n').broker.tls is False
    check_broker('serial = ""\nbaud = 9600\n', 6, f"baud: {NEEDS_SERIAL}")


NEEDS_SERIAL = "it is the speed of a serial port, so serial is needed too"


def test_a_baud_rate_has_bounds_and_needs_a_serial_port():
    for value in (1200, 4000000):
        text = f'[broker]\nserial = "/dev/ttyS0"\nbaud = {value}\n'
        assert load(DEVICE + text).broker.baud == value
    for value in (1199, 4000001):
        text = f'serial = "/dev/ttyS0"\nbaud = {value}\n'
        check_broker(text, 6, f"baud: {value} is not in 1200..4000000")
    check_broker("baud = 115200\n", 5, f"baud: {NEEDS_SERIAL}")


def test_a_speed_that_the_system_does_not_know_is_refused_with_those_that_it_knows():
    text = DEVICE + '[broker]\nserial = "/dev/ttyS0"\nbaud = 12345\n'
    with Folder() as folder:
        path = folder.write("moted.toml", text)
        message = message_of(transport.serial_port, config.load_config(path))
    assert message.startswith(f"{path}: [broker] baud: 12345 can't be set here; known: 9600, ")
    assert transport.serial_port(load(DEVICE)) is None


def test_the_way_to_the_broker_has_words():
    for text, words in (
        ("", "127.0.0.1:1883"),
        ('host = "b"\ntls = true\n', "b:8883 over TLS"),
        ('serial = "/dev/ttyS0"\n', "at /dev/ttyS0, 115200 baud"),
    ):
        assert transport.where(load(DEVICE + "[broker]\n" + text).broker) == words


def test_a_file_for_tls_without_tls_is_a_mistake():
    for key in ("ca_file", "client_cert", "client_key"):
        check_broker(f'{key} = "x.pem"\n', 5, f"{key}: it has no effect without tls = true")


def test_a_certificate_and_its_key_go_together():
    for key, other in (("client_cert", "client_key"), ("client_key", "client_cert")):
        check_broker(f'tls = true\n{key} = "x.pem"\n', 6, f"{key}: {other} is needed too")


def test_the_message_of_a_range():
    text = DEVICE + '\n[broker]\nhost = "b"\nport = 70000\n'
    check_refused(text, "FILE, line 7: [broker] port: 70000 is not in 1..65535")


def test_missing_keys():
    check_refused("", "FILE: [device] name: required, but missing")
    check_refused(
        '\n[device]\nkey_file = "k"', "FILE, line 2: [device] name: required, but missing"
    )
    check_refused('[device]\nname = "n"', "FILE, line 1: [device] key_file: required, but missing")


def test_unknown_keys_and_tables():
    tables = "[device], [broker], [log], [limits], [tools]"
    check_refused(
        DEVICE + "[log]\nsegment_kb = 4\n",
        "FILE, line 5: [log] segment_kb: unknown key; "
        "known keys: segment_kib, segments, record_bytes, program_unit, when_full",
    )
    check_refused(
        DEVICE + "[log.extra]\n",
        "FILE, line 4: [log] extra: unknown key; "
        "known keys: segment_kib, segments, record_bytes, program_unit, when_full",
    )
    check_refused(
        DEVICE + "[brokers]\n", f"FILE, line 4: unknown table [brokers]; known tables: {tables}"
    )
    check_refused(
        "name = 'x'\n" + DEVICE,
        f"FILE, line 1: unknown key name outside any table; known tables: {tables}",
    )
    check_refused("log = 1\n" + DEVICE, "FILE, line 1: log must be a table: [log]")


def test_the_first_of_several_unknown_names_is_reported():
    text = DEVICE + "".join([f"[t{n}]\n" for n in (5, 3, 9, 1)])
    with Folder() as folder:
        path = folder.write("moted.toml", text)
        assert f"{path}, line 4: unknown table [t5]" in message_of(config.load_config, path)
        path = folder.write("moted.toml", DEVICE + "[log]\nz = 1\na = 1\nm = 1\n")
        assert f"{path}, line 5: [log] z:" in message_of(config.load_config, path)


def test_a_password_in_the_file_is_refused_and_not_repeated():
    for value in ('"hunter2"', "1", "hunter2"):
        with Folder() as folder:
            path = folder.write("moted.toml", DEVICE + f"[broker]\npassword = {value}\n")
            message = message_of(config.load_config, path)
            assert "hunter2" not in message
            assert f"{path}, line 5" in message
    check_refused(
        DEVICE + "[broker]\npassword = 'x'\n",
        "FILE, line 5: [broker] password: secrets don't belong in this file; "
        "put it in a file of mode 0600 and name it with password_file",
    )


def test_what_is_no_toml():
    check_refused(
        DEVICE + "a = {}\n", "FILE, line 4: inline tables are not supported: use a [table]"
    )
    check_refused("\n\x00", "FILE, line 2: control character 0x00")


def test_files_that_cannot_be_read():
    with Folder() as folder:
        path = folder.path + "/absent.toml"
        assert message_of(config.load_config, path) == path + ": no such file"
        message = message_of(config.load_config, folder.path)
        assert message == folder.path + ": it is a folder, not a file"
        path = folder.write("moted.toml", b"# \xff\xfe\n")
        assert message_of(config.load_config, path) == path + ": not UTF-8 text"
        path = folder.write("moted.toml", "#" * 1023 + "\n" + ("#" * 1023 + "\n") * 15 + "\n")
        assert message_of(config.load_config, path) == path + ": longer than 16384 bytes"


def test_read_key():
    digits = "00ff" * 15 + "aBcD"
    with Folder() as folder:
        for end in ("", "\n", "\r\n", " \n"):
            path = folder.write("key", digits + end)
            key = config.read_key(path, stat=private(0o600))
            assert key == b"\x00\xff" * 15 + b"\xab\xcd"
            assert isinstance(key, bytes)
        for bad in (
            "",
            digits[:-1],
            digits + "0",
            digits[:-1] + "g",
            digits[:31] + " " + digits[32:],
        ):
            path = folder.write("key", bad)
            message = message_of(config.read_key, path, stat=private(0o600))
            assert message == path + ": must hold 64 hexadecimal digits"
        path = folder.write("key", b"\xff" * 64)
        assert "64 hexadecimal" in message_of(config.read_key, path, stat=private(0o600))
        path = folder.write("key", "0" * (config.MAX_SECRET + 1))
        assert "longer than" in message_of(config.read_key, path, stat=private(0o600))


def test_read_secret():
    with Folder() as folder:
        for text in ("s3cret", "s3cret\n", "  s3cret \r\nmore\n"):
            path = folder.write("pw", text)
            assert config.read_secret(path, stat=private(0o400)) == "s3cret"
        for text in ("", "\n", " \nmore"):
            path = folder.write("pw", text)
            message = message_of(config.read_secret, path, stat=private(0o600))
            assert message == path + ": its first line is empty"
        path = folder.write("pw", b"\xff")
        assert "not UTF-8" in message_of(config.read_secret, path, stat=private(0o600))


def test_secrets_that_are_not_there():
    with Folder() as folder:
        path = folder.path + "/absent"
        assert message_of(config.check_private, path) == path + ": no such file"
        for read in (config.read_key, config.read_secret):
            assert message_of(read, path) == path + ": no such file"
            assert message_of(read, folder.path) == folder.path + ": it is a folder, not a file"


def test_secrets_that_others_can_reach():
    with Folder() as folder:
        path = folder.write("key", "ab" * 32)
        for mode in (0o640, 0o620, 0o610, 0o604, 0o602, 0o601, 0o777):
            for read in (config.read_key, config.read_secret, config.check_private):
                message = message_of(read, path, stat=private(mode))
                expected = path + ": others than its owner have access: chmod 600 " + path
                assert message == expected, message
        # The file systems of boards give the type alone.
        assert config.read_secret(path, stat=private(0)) == "ab" * 32
        config.check_private(path, stat=private(0o600))


def test_the_mode_is_the_one_of_the_file():
    if not hasattr(os, "chmod"):
        return  # MP: no chmod
    with Folder() as folder:
        path = folder.write("key", "ab" * 32)
        os.chmod(path, 0o644)
        assert message_of(config.read_key, path).endswith("chmod 600 " + path)
        os.chmod(path, 0o600)
        assert config.read_key(path) == b"\xab" * 32


def test_describe_names_every_key_with_its_default():
    text = config.describe()
    for table, key, _, _, _, help_ in config.KEYS:
        assert f"\n[{table}]\n" in text
        assert f"\n  {key} " in text
        assert help_ in text
    assert "(an integer, 1..65535; default 1883)" in text
    assert "(an integer, one of 1, 4, 16, 256; default 1)" in text
    assert '(a string, one of "none", "greenhouse"; default "none")' in text
    assert "(true or false; default false)" in text
    assert "(a string; required)" in text
    assert max([len(line) for line in text.split("\n")]) < 100
