"""The gateway's configuration: `gateway.toml`, and the secrets that must not be in it."""

import os
import stat
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from mote_host.errors import ConfigError

SYSTEM_PROMPT = """\
You are the agent of a small device. You see and change the world only through its tools.
Answer in one or two short sentences of plain text, in the language of the person who asked.
Use a tool for every reading and every action; never invent a reading, and never say that
something was done unless a tool's result says so. Report errors as they are. When the outcome
of a call is unknown, say so, and do not repeat the call without asking the person first."""

MAX_SECRET_BYTES = 4096

_KEY_VARIABLES = {
    "openai": "OPENAI_API_KEY",
    "anthropic": "ANTHROPIC_API_KEY",
    "groq": "GROQ_API_KEY",
    "openrouter": "OPENROUTER_API_KEY",
}
_SECRETS = frozenset({"api_key", "apikey", "key", "password", "passphrase", "secret", "token"})
_FOR_PROVIDERS = (
    "a provider's key comes from the environment (MOTE_PROVIDER_KEY, or "
    + ", ".join(_KEY_VARIABLES.values())
    + ") or from the systemd credential provider-key"
)
_FOR_BROKERS = "a broker's password goes into a file of mode 0600: broker.password_file"

# TOML has strings, not paths: this one type is read leniently.
_Path = Annotated[Path, Field(strict=False)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class BrokerSettings(_Table):
    """`[broker]`: where the MQTT broker is and how to log in there."""

    host: str = Field(default="127.0.0.1", min_length=1, max_length=253)
    port: int = Field(default=1883, ge=1, le=65535)
    user: str = ""
    password_file: _Path | Literal[""] = ""
    tls: bool = False
    ca_file: _Path | Literal[""] = ""


class ProviderSettings(_Table):
    """`[provider]`: which model answers."""

    kind: Literal["offline", "openai", "anthropic", "groq", "ollama", "openrouter"] = "offline"
    model: str = ""
    base_url: str = Field(default="", pattern=r"^(https?://\S+)?$")
    timeout_s: float = Field(default=60, gt=0, le=600)
    max_tokens: int = Field(default=1024, ge=64, le=65536)


class GatewaySettings(_Table):
    """`[gateway]`: where state lives and what every model is told."""

    state_dir: _Path = Field(default_factory=lambda: platformdirs.user_state_path("mote"))
    system_prompt: str = Field(default=SYSTEM_PROMPT, max_length=16000)
    window_bytes: int = Field(default=24000, ge=0, le=1000000)


class Settings(_Table):
    """A whole `gateway.toml`."""

    broker: BrokerSettings = Field(default_factory=BrokerSettings)
    provider: ProviderSettings = Field(default_factory=ProviderSettings)
    gateway: GatewaySettings = Field(default_factory=GatewaySettings)


def load(path: Path | None = None) -> Settings:
    """Read the configuration: `path`, else $MOTE_CONFIG, else the user's file, else defaults.

    Raises ConfigError, whose text names the file, the key and the limit, or the line.
    """
    if path is None:
        named = os.environ.get("MOTE_CONFIG")
        path = Path(named) if named else platformdirs.user_config_path("mote") / "gateway.toml"
        if not named and not path.exists():
            return Settings()
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise ConfigError(f"{path}: can't be read: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{path}: not UTF-8 at byte {exc.start}") from exc
    except tomllib.TOMLDecodeError as exc:
        raise ConfigError(f"{path}: {exc}") from exc
    for key in _secrets(table, ""):
        place = _FOR_BROKERS if key.startswith("broker.") else _FOR_PROVIDERS
        raise ConfigError(f"{path}: {key}: a secret does not belong in this file; {place}")
    try:
        return Settings.model_validate(table)
    except ValidationError as exc:
        texts = [_explain(error) for error in exc.errors(include_url=False)]
        raise ConfigError("\n".join(f"{path}: {text}" for text in texts)) from None


def provider_key(kind: str, environ: Mapping[str, str] = os.environ) -> str | None:
    """The key of the provider of that kind, or None if there is none anywhere.

    Raises ConfigError if the systemd credential can't be read.
    """
    for name in ("MOTE_PROVIDER_KEY", _KEY_VARIABLES.get(kind)):
        if name and environ.get(name):
            return environ[name].strip()
    directory = environ.get("CREDENTIALS_DIRECTORY")
    if directory:
        path = Path(directory) / "provider-key"
        if path.exists():
            return _read_secret(path)
    return None


def broker_password(broker: BrokerSettings) -> str | None:
    """The password in `password_file`, or None if none is named.

    Raises ConfigError if the file is not the owner's alone, or can't be read.
    """
    path = broker.password_file
    if not isinstance(path, Path) or path == Path():
        return None
    try:
        mode = path.stat().st_mode
    except OSError as exc:
        raise ConfigError(f"{path}: broker.password_file: {exc.strerror}") from exc
    if stat.S_IMODE(mode) & 0o077:
        raise ConfigError(
            f"{path}: mode {stat.S_IMODE(mode):04o} lets others in; run: chmod 600 {path}"
        )
    return _read_secret(path)


def _read_secret(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_SECRET_BYTES + 1)
        text = data.decode().strip()
    except (OSError, UnicodeDecodeError) as exc:
        # The text of a decoding error would quote bytes of the secret.
        why = exc.strerror if isinstance(exc, OSError) else "not UTF-8"
        raise ConfigError(f"{path}: can't be read: {why}") from None
    if not text or len(data) > MAX_SECRET_BYTES:
        raise ConfigError(f"{path}: a secret of 1 to {MAX_SECRET_BYTES} bytes is due")
    return text


def _secrets(value: Any, prefix: str) -> Iterator[str]:
    """The dotted names of keys that would hold a secret, at any depth."""
    items = value.items() if isinstance(value, dict) else ()
    for key, inner in items:
        if key.lower() in _SECRETS:
            yield prefix + key
        yield from _secrets(inner, f"{prefix}{key}.")
    if isinstance(value, list):
        for inner in value:
            yield from _secrets(inner, prefix)


def _explain(error: ErrorDetails) -> str:
    loc = [str(part) for part in error["loc"]]
    if error["type"] == "extra_forbidden":
        table: Any = Settings
        for part in loc[:-1]:
            table = table.model_fields[part].annotation
        return f"{'.'.join(loc)}: unknown key; known here: {', '.join(table.model_fields)}"
    key = ".".join(loc[:2])  # deeper parts name the variants of a type
    return f"{key}: {error['msg']} (it is {str(error['input'])[:80]!r})"
