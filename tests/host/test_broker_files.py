"""What `mote broker` writes: files and their modes, hashes, and what it leaves alone."""

import base64
import json
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from mote_device.config import load_config, read_secret
from mote_host import certificates
from mote_host.broker_users import adding_user, hashed
from mote_host.config import broker_password, load
from mote_host.errors import ConfigError, MoteError

SECRET = (
    "mosquitto.conf",
    "acl",
    "passwords",
    "gateway.toml",
    "gateway.password",
    "client.password",
    "tls/ca.key",
    "tls/server.key",
)


@pytest.fixture
def site(mote, tmp_path):
    """A folder that `mote broker init` made for one host name."""
    mote("broker", "init", tmp_path / "broker", "--hostname", "broker.example", "--port", 9883)
    return tmp_path / "broker"


def _contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_secrets_are_their_owners_alone(site):
    for name in SECRET:
        assert (site / name).stat().st_mode & 0o777 == 0o600, name
    assert (site / "tls").stat().st_mode & 0o777 == 0o700


def test_the_gateway_s_configuration_is_one(site):
    broker = load(site / "gateway.toml").broker
    assert (broker.host, broker.port, broker.tls) == ("broker.example", 9883, True)
    assert broker.ca_file == site / "tls" / "ca.crt"
    password = broker_password(broker)
    (stored,) = [x for x in (site / "passwords").read_text().split() if x.startswith("gateway:")]
    salt = base64.b64decode(stored.split("$")[3])
    assert stored == f"gateway:{hashed(password, salt)}"


def test_the_certificate_is_for_the_names_that_were_given_and_for_this_machine(site):
    def openssl(*args):
        done = subprocess.run(["openssl", *args], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout

    server, ca = str(site / "tls" / "server.crt"), str(site / "tls" / "ca.crt")
    text = openssl("x509", "-in", server, "-noout", "-text")[1]
    assert "DNS:broker.example, DNS:localhost, IP Address:127.0.0.1\n" in text
    assert "CA:FALSE" in text
    assert "Not Before: Jan  1 00:00:00 2000 GMT" in text  # for devices that have no clock
    for name, code in (("localhost", 0), ("elsewhere", 2)):
        words = ("-x509_strict", "-purpose", "sslserver", "-verify_hostname", name)
        assert openssl("verify", *words, "-CAfile", ca, server)[0] == code


def test_nothing_is_overwritten_without_force(site, mote):
    before = _contents(site)
    with pytest.raises(ConfigError, match="--force"):
        mote("broker", "init", site)
    assert _contents(site) == before
    mote("broker", "init", site, "--force")
    changed = {path.name for path, data in _contents(site).items() if before[path] != data}
    assert changed >= {"passwords", "ca.crt", "server.key", "gateway.password"}
    for name in SECRET:
        assert (site / name).stat().st_mode & 0o777 == 0o600, name


def test_a_hash_is_as_mosquitto_makes_it(tmp_path):
    program = shutil.which("mosquitto_passwd")
    assert program, "mosquitto_passwd is needed: apt-get install mosquitto"
    file = tmp_path / "passwords"
    subprocess.run([program, "-c", "-b", file, "fern", "s3cret"], check=True, capture_output=True)
    stored = file.read_text().strip().removeprefix("fern:")
    assert hashed("s3cret", base64.b64decode(stored.split("$")[3])) == stored


def test_a_device_gets_a_login_that_its_configuration_uses(site, mote, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    folder = tmp_path / "fern"
    gateway = ("--config", site / "gateway.toml")
    mote(*gateway, "enroll", "fern", "--out", folder)
    _, said = mote("broker", "add", "fern", "--dir", site, "--out", folder)
    assert "moted.toml" in said
    broker = load_config(str(folder / "moted.toml")).broker
    assert (broker.host, broker.port, broker.tls) == ("broker.example", 9883, True)
    assert broker.user == "fern"
    assert len(read_secret(broker.password_file)) == 32
    assert (folder / "ca.pem").read_bytes() == (site / "tls" / "ca.crt").read_bytes()
    assert broker.ca_file == str(folder / "ca.pem")


def test_a_configuration_that_somebody_wrote_is_left_alone(site, mote, tmp_path):
    folder = tmp_path / "fern"
    folder.mkdir()
    (folder / "moted.toml").write_text('[device]\nname = "fern"\nkey_file = "device.key"\n')
    _, said = mote("broker", "add", "fern", "--dir", site, "--out", folder)
    assert "[broker]" not in (folder / "moted.toml").read_text()
    section = said[said.index("[broker]") : said.index("if the broker runs")]
    with (folder / "moted.toml").open("a") as file:
        file.write(section)
    broker = load_config(str(folder / "moted.toml")).broker
    assert (broker.host, broker.user, broker.tls) == ("broker.example", "fern", True)


def test_a_password_is_made_once_and_replaced_by_force(site, mote):
    (code, said) = mote("broker", "add", "fern", "--dir", site, "--json")
    told = json.loads(said)
    assert (code, told["name"], len(told["written"])) == (0, "fern", 2)
    file = site / "devices" / "fern" / "broker.password"
    before = file.read_text(), (site / "passwords").read_text()
    assert before[0].strip() not in said
    with pytest.raises(ConfigError, match="--force"):
        mote("broker", "add", "fern", "--dir", site)
    assert (file.read_text(), (site / "passwords").read_text()) == before
    mote("broker", "add", "fern", "--dir", site, "--force")
    assert file.read_text() != before[0]
    assert (site / "passwords").read_text().count("fern:") == 1
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_client_more_gets_its_own_lines(site, mote):
    mote("broker", "add", "anna", "--client", "--dir", site)
    mote("broker", "add", "anna", "--client", "--dir", site, "--force")
    text = (site / "acl").read_text()
    assert text.count("user anna\ntopic write mote/+/in\n") == 1
    assert (site / "anna.password").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("init", "new", "--hostname", "a,DNS:b"), "not a host name"),
        (("add", "gateway", "--dir", "."), "choose another"),
        (("add", "#", "--dir", "."), "can't be a device's name"),
        (("add", "fern", "--dir", "nowhere"), "mote broker init"),
        (("add", "fern", "--client", "--out", "x", "--dir", "."), "--out is for devices"),
    ],
)
def test_mistakes_are_explained(mote, tmp_path, monkeypatch, args, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Exception, match=said):
        mote("broker", *args)
    assert not (tmp_path / "new").exists()


def test_without_openssl_it_says_so(mote, tmp_path, monkeypatch):
    monkeypatch.setattr(certificates.shutil, "which", lambda _: None)
    with pytest.raises(ConfigError, match="apt-get install openssl"):
        mote("broker", "init", tmp_path / "broker")
    monkeypatch.setattr(certificates.shutil, "which", lambda _: "/bin/false")
    with pytest.raises(MoteError, match="openssl req failed"):
        mote("broker", "init", tmp_path / "broker")


def test_a_folder_that_can_not_be_written_is_named(mote, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="file"):
        mote("broker", "init", tmp_path / "file" / "broker")


def test_a_user_s_hash_is_salted(site):
    passwords = set()
    for force in (False, True):
        with adding_user(site, "a", force=force) as password:
            passwords.add(password)
    assert len(passwords) == 2
    salts = [line.split("$")[3] for line in (site / "passwords").read_text().split()]
    assert len(set(salts)) == len(salts) == 3


def test_a_password_stays_if_the_login_can_not_be_written(site, mote):
    mote("broker", "add", "fern", "--dir", site)
    before = (site / "passwords").read_text()
    (site / "file").touch()
    for args in [("fern", "--force"), ("moss",)]:
        with pytest.raises(ConfigError, match="file"):
            mote("broker", "add", *args, "--dir", site, "--out", site / "file" / "x")
        assert (site / "passwords").read_text() == before
    mote("broker", "add", "moss", "--dir", site)


def test_logins_that_are_made_at_the_same_time_are_all_kept(site):
    names = [f"bed-{n}" for n in range(8)]

    def add(name):
        with adding_user(site, name) as password:
            return password

    with ThreadPoolExecutor(len(names)) as pool:
        assert len(set(pool.map(add, names))) == len(names)
    users = [line.partition(":")[0] for line in (site / "passwords").read_text().split()]
    assert sorted(users) == sorted([*names, "client", "gateway"])
