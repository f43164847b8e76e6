"""Model providers: each translates a `Request` to one vendor's API, or plans without one."""

from mote_host.errors import ConfigError
from mote_host.providers.anthropic import Anthropic
from mote_host.providers.base import (
    Arguments,
    Call,
    Message,
    Provider,
    Reply,
    Request,
    ToolSpec,
)
from mote_host.providers.offline import Offline
from mote_host.providers.openai import OpenAI
from mote_host.providers.retry import Retrying

__all__ = [
    "KINDS",
    "Anthropic",
    "Arguments",
    "Call",
    "Message",
    "Offline",
    "OpenAI",
    "Provider",
    "Reply",
    "Request",
    "Retrying",
    "ToolSpec",
    "make_provider",
]

_CHAT_COMPLETIONS = {
    "openai": "https://api.openai.com/v1",
    "groq": "https://api.groq.com/openai/v1",
    "ollama": "http://localhost:11434/v1",
    "openrouter": "https://openrouter.ai/api/v1",
}
KINDS = (*_CHAT_COMPLETIONS, "anthropic", "offline")


def make_provider(
    kind: str,
    *,
    base_url: str | None,
    model: str | None,
    api_key: str | None,
    timeout_s: float,
) -> Provider:
    """The provider of a configuration's `[provider]`; those over HTTP try again on failure.

    `base_url` None is the vendor's own. Raises ConfigError, which names the key to set.
    """
    if kind == "offline":
        return Offline()
    if kind not in KINDS:
        raise ConfigError(f"provider.kind is {kind!r}; it can be {', '.join(KINDS)}")
    if not model:
        raise ConfigError(f"provider.model is missing: name the model that {kind} is to run")
    if timeout_s <= 0:
        raise ConfigError(f"provider.timeout_s is {timeout_s:g}; it must be more than 0")
    if kind == "anthropic":
        return Retrying(Anthropic(base_url, model, api_key, timeout_s=timeout_s))
    url = base_url or _CHAT_COMPLETIONS[kind]
    return Retrying(OpenAI(url, model, api_key, name=kind, timeout_s=timeout_s))
