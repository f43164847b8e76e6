"""Key files: made once, whole, the owner's alone, and put aside when revoked."""

import stat

import pytest
from mote.wire import subkey
from mote_host.errors import DeviceError
from mote_host.registry import MAX_MACS, Registry, mac


@pytest.fixture
def registry(tmp_path):
    return Registry(tmp_path)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_enroll(registry, tmp_path):
    key = registry.enroll("fern-1")
    path = tmp_path / "devices" / "fern-1.key"
    assert len(key) == 32
    assert path.read_text() == key.hex() + "\n"
    assert (mode(path), mode(path.parent)) == (0o600, 0o700)
    assert registry.key("fern-1") == key
    assert registry.enroll("Moss_2.a") != key
    assert registry.names() == ["Moss_2.a", "fern-1"]
    assert sorted(x.name for x in path.parent.iterdir()) == ["Moss_2.a.key", "fern-1.key"]


def test_nobody_is_enrolled_twice(registry):
    key = registry.enroll("fern")
    with pytest.raises(DeviceError, match="fern is enrolled already"):
        registry.enroll("fern")
    assert registry.key("fern") == key


def test_revoke_keeps_the_key_aside(registry, tmp_path):
    keys = []
    for _ in range(2):
        keys.append(registry.enroll("fern"))
        aside = registry.revoke("fern")
        assert aside.parent == tmp_path / "revoked"
        assert aside.name.startswith("fern-2")
        assert aside.read_text().strip() == keys[-1].hex()
        assert (mode(aside), mode(aside.parent)) == (0o600, 0o700)
        assert registry.key("fern") is None
    assert len(list((tmp_path / "revoked").iterdir())) == 2
    assert registry.names() == []
    with pytest.raises(DeviceError, match="fern is not enrolled"):
        registry.revoke("fern")


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "-a", "_a", ".a", "a" * 33, "ä", "a\n", "a+"]
)
def test_names_that_no_device_can_have(registry, name):
    with pytest.raises(DeviceError, match="can't be a device's name"):
        registry.enroll(name)
    assert registry.key(name) is None


@pytest.mark.parametrize("text", ["", "abcd", "x" * 64, "é" * 64])
def test_a_bad_key_file_is_named_and_not_shown(registry, tmp_path, text):
    registry.enroll("fern")
    (tmp_path / "devices" / "fern.key").write_text(text)
    with pytest.raises(DeviceError, match=r"fern\.key: not a key of 64") as caught:
        registry.key("fern")
    assert "xxx" not in str(caught.value)


def test_an_empty_registry(registry):
    assert registry.names() == []
    assert registry.key("fern") is None


def test_macs_are_made_once_for_each_key_and_use():
    keys = b"a" * 32, b"b" * 32
    for key in keys:
        for use in ("up", "dn"):
            assert mac(key, use).sign(b"x") == subkey(key, use).sign(b"x")
            assert mac(key, use) is mac(key, use)
    assert mac.cache_info().maxsize == MAX_MACS
