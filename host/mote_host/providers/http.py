"""POST JSON to a provider, bounded in time and size; every failure becomes a ProviderError.

What a failure means is decided here, once, for all vendors:

    401 403              the key is wrong or may not do this          final
    404                  the model or the base URL is wrong           final
    400 413 422, others  the request is wrong; the vendor says why    final
    3xx                  the base URL is wrong; a redirect of a POST
                         could carry the key to another host          final
    408 409 429 5xx      the provider is busy or broken               retryable
    time-out, no connection, cut, not JSON, another shape, too big    retryable

The key never appears in an error's text, not even where a vendor quotes it.
"""

import asyncio
import json
import re
import time
from collections.abc import Callable
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from mote_host.errors import ConfigError, ProviderError

MAX_BODY_BYTES = 4 * 1024 * 1024
MAX_ERROR_BODY_BYTES = 64 * 1024
MAX_QUOTE_CHARS = 300
MAX_RETRY_AFTER_S = 24 * 3600.0
CONNECT_TIMEOUT_S = 10.0

_RETRYABLE = frozenset((408, 409, 425, 429))
_ADVICE = {
    401: "check the key in provider.api_key.",
    402: "the account there has no credit left.",
    403: "check the key in provider.api_key and what it may do.",
    404: "the model or the base URL is wrong; check provider.model and provider.base_url.",
    413: "the conversation is too long for it; shorten the window or the tools.",
    429: "too many requests or the quota is used up; wait or raise the limit there.",
}
_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
_USABLE_KEY = re.compile(r"[!-~]*")

Shape = TypeVar("Shape", bound=BaseModel)


class _TooBigError(Exception):
    """A body passed its bound while it was read."""


class Endpoint:
    """One provider's base URL, reached over HTTP.

    `auth` maps a header to its text, with `{key}` where the API key goes; it is left out when
    there is no key. `timeout_s` bounds a whole exchange: connect, send, wait and read. A client
    that is passed in stays its owner's to close. Raises ConfigError for a key that can't be a
    header's value or a base URL that is not http(s).
    """

    def __init__(
        self,
        name: str,
        base_url: str,
        *,
        api_key: str | None,
        auth: dict[str, str],
        timeout_s: float,
        client: httpx.AsyncClient | None = None,
    ) -> None:
        self.name = name
        self._url = _parse_url(base_url)
        # What people read: no user info, no query; either may hold a secret.
        self.shown = str(self._url.copy_with(userinfo=b"", query=None)).rstrip("/")
        self._key = (api_key or "").strip()
        if not _USABLE_KEY.fullmatch(self._key):
            raise ConfigError(f"{name}: provider.api_key has characters that no API key can have")
        # identity: a compressed body could pass its bound before it is measured
        self._headers = {"content-type": "application/json", "accept-encoding": "identity"}
        if self._key:
            self._headers.update({k: v.format(key=self._key) for k, v in auth.items()})
        self._timeout_s = timeout_s
        self._owned = client is None
        self._client = client or httpx.AsyncClient(follow_redirects=False)

    async def aclose(self) -> None:
        """Close the connections, unless the client was passed in."""
        if self._owned:
            await self._client.aclose()

    async def post(
        self, path: str, build: Callable[[], dict[str, Any]], headers: dict[str, str]
    ) -> bytes:
        """POST what `build` gives to `path` under the base URL; return the body of a 2xx.

        `build` may raise what json.dumps raises: a device's values are its input.
        """
        if self._client.is_closed:
            raise self.error("is closed: the gateway is shutting down")
        try:
            content = json.dumps(build(), allow_nan=False, separators=(",", ":")).encode()
        except (TypeError, ValueError, RecursionError) as exc:
            raise self.error(f"can't be asked: the request is not JSON ({exc})") from exc
        request = self._client.build_request(
            "POST",
            self._url.copy_with(path=self._url.path.rstrip("/") + path),
            content=content,
            headers={**self._headers, **headers},
            timeout=httpx.Timeout(
                self._timeout_s, connect=min(self._timeout_s, CONNECT_TIMEOUT_S)
            ),
        )
        try:
            # httpx times each read; a provider that trickles bytes would hold us for ever.
            async with asyncio.timeout(self._timeout_s):
                return await self._exchange(request)
        except (TimeoutError, httpx.TimeoutException) as exc:
            raise self.error(
                f"gave no complete answer within {self._timeout_s:g} s: it is slow or out of "
                "reach; raise provider.timeout_s if this model needs longer",
                retryable=True,
            ) from exc
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            raise self._transport_error(exc) from exc

    def parse(self, shape: type[Shape], data: bytes) -> Shape:
        """Read `data` as `shape`; a ProviderError (retryable) if it is anything else."""
        try:
            return shape.model_validate_json(data)
        except ValidationError as exc:
            first = exc.errors(include_url=False, include_input=False, include_context=False)[0]
            if first["type"] == "json_invalid":
                raise self.error("answered with a body that is not JSON", retryable=True) from exc
            quote = _vendor_message(data) if b'"error"' in data else ""
            where = ".".join(str(part) for part in first["loc"]) or "body"
            raise self.shape_error(where, quote or first["msg"]) from exc

    def shape_error(self, where: str, why: str) -> ProviderError:
        """The error for JSON that is not of the documented shape at `where`."""
        text = f"answered with JSON of an unknown shape at {where}: {self._quote(why)}"
        return self.error(text, retryable=True)

    def error(
        self, text: str, *, retryable: bool = False, retry_after_s: float | None = None
    ) -> ProviderError:
        """A ProviderError that names this provider and its base URL."""
        return ProviderError(
            f"{self.name} ({self.shown}) {text}",
            retryable=retryable,
            retry_after_s=retry_after_s,
        )

    async def _exchange(self, request: httpx.Request) -> bytes:
        response = await self._client.send(request, stream=True, follow_redirects=False)
        try:
            if response.is_success:
                return await _read(response, MAX_BODY_BYTES)
            raise self._status_error(response, await _read_what_comes(response))
        except _TooBigError as exc:
            raise self.error(
                f"answered with more than {MAX_BODY_BYTES} bytes: refused", retryable=True
            ) from exc
        finally:
            await response.aclose()

    def _status_error(self, response: httpx.Response, data: bytes) -> ProviderError:
        status = response.status_code
        # A 401 quotes parts of the key, which no redaction finds; its message adds nothing.
        quote = "" if status == 401 else self._quote(_vendor_message(data))
        text = f"answered {status}: {_advice(status)}" + (f" It says: {quote}" if quote else "")
        return self.error(
            text,
            retryable=is_retryable(status),
            retry_after_s=parse_retry_after(response.headers.get("retry-after"), time.time()),
        )

    def _transport_error(self, exc: httpx.HTTPError | httpx.InvalidURL) -> ProviderError:
        detail = self._quote(str(exc) or type(exc).__name__)
        if isinstance(exc, httpx.ConnectError):
            return self.error(
                f"can't be reached: {detail}. Check provider.base_url and the network.",
                retryable=True,
            )
        if isinstance(
            exc, httpx.UnsupportedProtocol | httpx.LocalProtocolError | httpx.InvalidURL
        ):
            return self.error(f"can't be asked: {detail}. Check provider.base_url.")
        return self.error(f"broke off in the middle of an answer: {detail}", retryable=True)

    def _quote(self, text: str) -> str:
        # Redacted before it is cut: half a key must not survive the cut.
        flat = self._redact(" ".join("".join(c if c.isprintable() else " " for c in text).split()))
        return flat if len(flat) <= MAX_QUOTE_CHARS else flat[: MAX_QUOTE_CHARS - 3] + "..."

    def _redact(self, text: str) -> str:
        return text.replace(self._key, "[key]") if self._key else text


def is_retryable(status: int) -> bool:
    """Whether the same request may succeed later."""
    return status in _RETRYABLE or status >= 500


def parse_retry_after(value: str | None, now_s: float) -> float | None:
    """Seconds to wait, 0 to MAX_RETRY_AFTER_S, from a Retry-After value (RFC 9110, 10.2.3).

    `now_s` is Unix time. None where the header is missing or is neither seconds nor a date.
    """
    text = (value or "").strip()
    if _SECONDS.fullmatch(text):
        seconds = float(text)
    else:
        try:
            date = parsedate_to_datetime(text)
        except (TypeError, ValueError, OverflowError):
            return None
        # A date without a zone is GMT (RFC 9110, 5.6.7), not this computer's zone.
        seconds = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now_s
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_S)


def _parse_url(base_url: str) -> httpx.URL:
    try:
        url = httpx.URL(base_url.strip())
    except httpx.InvalidURL as exc:
        raise ConfigError(f"provider.base_url is not a URL: {exc}") from exc
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigError("provider.base_url must begin with http:// or https:// and name a host")
    return url


def _advice(status: int) -> str:
    """What to do about a status, as a sentence."""
    if status in _ADVICE:
        return _ADVICE[status]
    if is_retryable(status):
        return "it is busy or has a fault; try again later."
    if 300 <= status < 400:
        return "a redirect, which is not followed; check provider.base_url."
    return "it refuses the request."


def _vendor_message(data: bytes) -> str:
    """The message of an error body: {"error": {"message"}}, {"error"}, {"message"} or text."""
    text = data.decode("utf-8", "replace")
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return text
    for key in ("error", "message", "detail"):
        if isinstance(body, dict) and body.get(key):
            body = body[key]
    return body if isinstance(body, str) else json.dumps(body)


async def _read(response: httpx.Response, limit: int) -> bytes:
    data = bytearray()
    async for chunk in response.aiter_bytes():
        data += chunk
        if len(data) > limit:
            raise _TooBigError
    return bytes(data)


async def _read_what_comes(response: httpx.Response) -> bytes:
    """The start of an error's body; the status is told even if the body is cut or endless."""
    data = bytearray()
    try:
        async for chunk in response.aiter_bytes():
            data += chunk
            if len(data) > MAX_ERROR_BODY_BYTES:
                break
    except httpx.HTTPError:
        data += b" (cut)"
    return bytes(data[:MAX_ERROR_BODY_BYTES])
