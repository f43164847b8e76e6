"""Try a provider again while that can help: exponential backoff with jitter, Retry-After."""

import asyncio
import random
from collections.abc import Awaitable, Callable

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
)

from mote_host.errors import ProviderError
from mote_host.providers.base import Provider, Reply, Request


class Retrying:
    """A provider that asks another one up to `attempts` times.

    The n-th pause is at most `base_s * 2**(n-1)`, capped at `cap_s`, and at least half of that:
    gateways that failed together do not come back together. A provider that says when to come
    back is not asked earlier; one that says more than `max_retry_after_s` is not asked again.
    `jitter` gives numbers from 0 to 1.
    """

    def __init__(
        self,
        provider: Provider,
        attempts: int = 4,
        base_s: float = 0.5,
        cap_s: float = 20,
        *,
        max_retry_after_s: float = 60,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.name = provider.name
        self._provider = provider
        self._attempts = attempts
        self._base_s = base_s
        self._cap_s = cap_s
        self._max_retry_after_s = max_retry_after_s
        self._sleep = sleep
        self._jitter = jitter

    async def complete(self, request: Request) -> Reply:
        """Return the model's reply. Raises the last ProviderError, with the attempts made."""
        made = 0
        try:
            async for attempt in AsyncRetrying(
                sleep=self._sleep,
                stop=stop_after_attempt(self._attempts),
                retry=retry_if_exception(self._helps),
                wait=self._pause_s,
                reraise=True,
            ):
                with attempt:
                    made += 1
                    return await self._provider.complete(request)
        except ProviderError as exc:
            asked_s = exc.retry_after_s or 0.0
            late = f", it asks for {asked_s:g} s" if asked_s > self._max_retry_after_s else ""
            raise ProviderError(
                f"{exc} (attempt {made} of {self._attempts}{late})",
                retryable=exc.retryable,
                retry_after_s=exc.retry_after_s,
            ) from exc
        raise ProviderError(f"{self.name}: no attempt was allowed")

    async def aclose(self) -> None:
        """Close the provider within."""
        await self._provider.aclose()

    def _helps(self, exc: BaseException) -> bool:
        if not isinstance(exc, ProviderError) or not exc.retryable:
            return False
        return (exc.retry_after_s or 0.0) <= self._max_retry_after_s

    def _pause_s(self, state: RetryCallState) -> float:
        backoff_s = min(self._cap_s, self._base_s * 2.0 ** (state.attempt_number - 1))
        spread_s = backoff_s / 2 * self._jitter()
        failure = state.outcome.exception() if state.outcome else None
        asked_s = failure.retry_after_s if isinstance(failure, ProviderError) else None
        return max(asked_s or 0.0, backoff_s / 2) + spread_s
