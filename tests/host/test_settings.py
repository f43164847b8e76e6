"""gateway.toml: what is read, what is refused, and in which words."""

from pathlib import Path

import pytest
from mote_host import config
from mote_host.errors import ConfigError


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("MOTE_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def write(tmp_path, text):
    path = tmp_path / "gateway.toml"
    path.write_text(text)
    return path


def refused(tmp_path, text):
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        config.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value)[len(str(path)) + 2 :]


def test_defaults(tmp_path):
    settings = config.load()
    assert (settings.broker.host, settings.broker.port) == ("127.0.0.1", 1883)
    assert (settings.provider.kind, settings.provider.max_tokens) == ("offline", 1024)
    assert settings.gateway.state_dir == tmp_path / "state" / "mote"
    assert settings.gateway.window_bytes == 24000
    assert "never invent a reading" in settings.gateway.system_prompt


def test_a_file(tmp_path):
    settings = config.load(
        write(
            tmp_path,
            '[broker]\nport = 8883\ntls = true\nca_file = "/etc/ca.pem"\n'
            '[provider]\nkind = "groq"\nmodel = "m"\ntimeout_s = 5\n'
            '[gateway]\nstate_dir = "/var/lib/mote"\n',
        )
    )
    assert settings.broker.ca_file == Path("/etc/ca.pem")
    assert settings.provider.timeout_s == 5
    assert settings.gateway.state_dir == Path("/var/lib/mote")


def test_where_the_file_is_looked_for(tmp_path, monkeypatch):
    own = tmp_path / "config" / "mote" / "gateway.toml"
    own.parent.mkdir(parents=True)
    own.write_text("[broker]\nport = 1\n")
    assert config.load().broker.port == 1
    monkeypatch.setenv("MOTE_CONFIG", str(write(tmp_path, "[broker]\nport = 2\n")))
    assert config.load().broker.port == 2
    monkeypatch.setenv("MOTE_CONFIG", str(tmp_path / "none.toml"))
    with pytest.raises(ConfigError, match=r"none\.toml: can't be read: No such file"):
        config.load()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[broker]\nport = 70000\n", ["broker.port", "65535", "70000"]),
        ("[broker]\nport = '1883'\n", ["broker.port", "integer"]),
        ("[broker]\nprot = 1\n", ["broker.prot: unknown key; known here: host, port, user"]),
        ("[brokers]\n", ["brokers: unknown key; known here: broker, provider, gateway"]),
        ("[provider]\nkind = 'gpt'\n", ["provider.kind", "'offline', 'openai'", "'gpt'"]),
        ("[provider]\nmax_tokens = 5\n", ["provider.max_tokens", "64"]),
        ("[provider]\nbase_url = 'example'\n", ["provider.base_url"]),
        ("[gateway]\nwindow_bytes = -1\n", ["gateway.window_bytes", "0"]),
        ("a = 1\nb = = 2\n", ["line 2"]),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, words):
    told = refused(tmp_path, text)
    for word in words:
        assert word in told


def test_every_mistake_is_told_at_once(tmp_path):
    told = refused(tmp_path, "[broker]\nport = 0\n[gateway]\nwindow = 3\n")
    assert "broker.port" in told
    assert "gateway.window: unknown key" in told


def test_bytes_that_are_no_text(tmp_path):
    path = tmp_path / "gateway.toml"
    path.write_bytes(b"# \xff\n")
    with pytest.raises(ConfigError, match="not UTF-8 at byte 2"):
        config.load(path)


@pytest.mark.parametrize(
    ("text", "key", "place"),
    [
        ("[provider]\napi_key = 'hush'\n", "provider.api_key", "MOTE_PROVIDER_KEY"),
        ("[provider.deep]\nKEY = 'hush'\n", "provider.deep.KEY", "OPENAI_API_KEY"),
        ("[broker]\npassword = 'hush'\n", "broker.password", "broker.password_file"),
        ("[[a]]\ntoken = 'hush'\n", "a.token", "provider-key"),
    ],
)
def test_a_secret_is_refused_and_not_repeated(tmp_path, text, key, place):
    told = refused(tmp_path, text)
    assert told.startswith(f"{key}: ")
    assert place in told
    assert "hush" not in told


def test_provider_keys(tmp_path):
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "provider-key").write_text("from-systemd\n")
    environ = {
        "MOTE_PROVIDER_KEY": "mine",
        "GROQ_API_KEY": "groqs",
        "CREDENTIALS_DIRECTORY": str(credentials),
    }
    assert config.provider_key("groq", environ) == "mine"
    del environ["MOTE_PROVIDER_KEY"]
    assert config.provider_key("groq", environ) == "groqs"
    assert config.provider_key("openai", environ) == "from-systemd"
    assert config.provider_key("openai", {}) is None
    assert config.provider_key("ollama", {"": "x"}) is None
    (credentials / "provider-key").write_text("")
    with pytest.raises(ConfigError, match="provider-key"):
        config.provider_key("openai", environ)


def test_the_brokers_password(tmp_path):
    path = tmp_path / "password"
    path.write_text("hush\n")
    path.chmod(0o640)
    broker = config.BrokerSettings(password_file=path)
    with pytest.raises(ConfigError, match="mode 0640 lets others in"):
        config.broker_password(broker)
    path.chmod(0o600)
    assert config.broker_password(broker) == "hush"
    path.write_bytes(b"hush\xff")
    with pytest.raises(ConfigError) as caught:
        config.broker_password(broker)
    assert "hush" not in str(caught.value)
    path.unlink()
    with pytest.raises(ConfigError, match="No such file"):
        config.broker_password(broker)
    assert config.broker_password(config.BrokerSettings()) is None
