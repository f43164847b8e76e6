"""From a claimed model request to its stored outcome: build, call the provider, encode, store."""

import asyncio
import logging
import os
import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mote.msgpack import FormatError

from mote_host import conversation
from mote_host.config import Settings
from mote_host.errors import ProviderError, StoreError
from mote_host.frames import Record
from mote_host.providers.base import Provider, Reply, Request
from mote_host.store import Store, StoredReply

LEASE_MS = 120000
MAX_TOKENS = 1_000_000_000  # of one reply; what a provider claims beyond is no count
MAX_PROVIDER_S = 280.0  # all attempts together: a device gives a turn 300 s

OnModel = Callable[[str, str, dict[str, Any]], None]
"""Called with the device, "begin" or "end", and what is known of that provider call."""

_log = logging.getLogger("mote.gateway")


@dataclass(frozen=True, slots=True)
class Work:
    """A claimed request: the REQ record and the declarations of its tools."""

    device: str
    request: Record
    declarations: list[bytes]


class Answering:
    """Answers claimed requests for one gateway, which is `owner` in the store."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        provider: Provider,
        *,
        on_model: OnModel | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.owner = f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}"
        self._settings = settings
        self._store = store
        self._provider = provider
        self._on_model = on_model
        self._clock = clock

    def now_ms(self) -> int:
        """Unix time."""
        return int(self._clock() * 1000)

    def claim(self, device: str, request_id: bytes) -> bool:
        """Take the request, unless it is answered, or in work at a gateway that lives."""
        if self._take(device, request_id):
            return True
        holder = self._store.claimed_by(device, request_id)
        if holder is None or not _is_dead(holder):
            return False
        self._store.release(holder, device, request_id)
        return self._take(device, request_id)

    def _take(self, device: str, request_id: bytes) -> bool:
        return self._store.claim(device, request_id, self.owner, self.now_ms(), LEASE_MS)

    def drop_dead_claims(self) -> None:
        """Give back the claims of gateways that ended on this machine without doing so."""
        for owner in self._store.owners():
            if _is_dead(owner):
                self._store.release(owner)

    async def answer(self, work: Work) -> StoredReply | None:
        """Answer a claimed request and return what counts. Raises StoreError.

        None if the claim is gone meanwhile: nothing counts, and the device asks again.

        If it is cancelled while the provider works, the claim is given back, for a device that
        asks again.
        """
        request_id = work.request.id
        keeper = asyncio.create_task(self._keep(work.device, request_id))
        outcome = None
        try:
            outcome = await self._attempt(work)
            return await asyncio.to_thread(self._store.finish, work.device, request_id, outcome)
        except BaseException as exc:
            # Not in a thread: a task that is being cancelled should not wait for one.
            if outcome is not None and isinstance(exc, asyncio.CancelledError):
                # The provider is not asked twice for what it has done.
                self._store.finish(work.device, request_id, outcome)
            else:
                self._store.release(self.owner, work.device, request_id)
            raise
        finally:
            keeper.cancel()

    async def _keep(self, device: str, request_id: bytes) -> None:
        """Prolong the lease as long as the provider works."""
        while True:
            await asyncio.sleep(LEASE_MS / 3000)
            until_ms = self.now_ms() + LEASE_MS
            try:
                await asyncio.to_thread(
                    self._store.renew, device, request_id, self.owner, until_ms
                )
            except StoreError as exc:
                _log.error("%s: %s", device, exc)

    async def _attempt(self, work: Work) -> StoredReply:
        started = time.monotonic()
        told: dict[str, Any] = {"request": work.request.id.hex(), "provider": self._provider.name}
        self._tell(work.device, "begin", told)
        try:
            request = await asyncio.to_thread(self._build, work)
            async with asyncio.timeout(MAX_PROVIDER_S):
                reply = await self._provider.complete(request)
            outcome = self._encode(reply, work.request.fields["limit"])
            told |= {"tokens_in": reply.tokens_in, "tokens_out": reply.tokens_out}
        except ProviderError as exc:
            outcome = self._failed(_explain(exc))
        except TimeoutError:
            outcome = self._failed(f"The model gave no reply within {MAX_PROVIDER_S:g} s.")
        except FormatError as exc:
            outcome = self._failed(f"The gateway can't put the question to the model: {exc}.")
        except StoreError:
            raise
        except Exception:
            # A provider promises ProviderError alone; a bug in one must not end the service.
            _log.exception("%s: the provider %s broke", work.device, self._provider.name)
            outcome = self._failed("The gateway failed on this request; its log says why.")
        if outcome.state == "failed":
            told["error"] = outcome.body.decode()
            _log.warning("%s: request %s: %s", work.device, told["request"][:8], told["error"])
        ms = int((time.monotonic() - started) * 1000)
        if outcome.state == "done":
            what = f"request {told['request'][:8]} answered in {ms} ms"
            _log.info("%s: %s, %d tool calls", work.device, what, outcome.calls)
        self._tell(work.device, "end", {**told, "calls": outcome.calls, "ms": ms})
        return outcome

    def _build(self, work: Work) -> Request:
        return conversation.build(
            self._store,
            work.device,
            work.request,
            work.declarations,
            system=self._settings.gateway.system_prompt,
            window_bytes=self._settings.gateway.window_bytes,
            max_tokens=self._settings.provider.max_tokens,
        )

    def _encode(self, reply: Reply, limit_bytes: int) -> StoredReply:
        body, ncalls = conversation.encode_reply(reply, limit_bytes)
        return StoredReply(
            "done",
            body,
            ncalls,
            min(max(reply.tokens_in, 0), MAX_TOKENS),
            min(max(reply.tokens_out, 0), MAX_TOKENS),
            self._provider.name,
            self._settings.provider.model,
        )

    def _failed(self, text: str) -> StoredReply:
        return StoredReply(
            "failed",
            text.encode(errors="replace"),
            provider=self._provider.name,
            model=self._settings.provider.model,
        )

    def _tell(self, device: str, event: str, known: dict[str, Any]) -> None:
        if self._on_model is not None:
            try:
                self._on_model(device, event, dict(known))
            except Exception:
                # A view that breaks must not take the service with it.
                _log.exception("%s: the on_model hook broke", device)


def _explain(exc: ProviderError) -> str:
    """What the person who asked should read."""
    if exc.retryable:
        return f"The model is not available now: {exc}. Ask again later."
    return f"The model refused this request: {exc}."


def _is_dead(owner: str) -> bool:
    """Whether `owner` was a process of this machine that is gone. In doubt the lease decides."""
    host, pid, _ = owner.rsplit("/", 2)
    if host != socket.gethostname() or int(pid) == os.getpid():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False  # another user's
    return False
