"""Retry-After, and retrying with a sleep that only writes down how long it was to be."""

import asyncio
import email.utils
import time

import fake_provider as fp
import pytest
from mote_host.errors import ConfigError, ProviderError
from mote_host.providers import Message, OpenAI, Reply, Request, Retrying, make_provider
from mote_host.providers.http import parse_retry_after

ASK = Request("", (Message("user", "hi"),), ())


class Scripted:
    """A provider that raises or returns what it was given, in order."""

    name = "scripted"

    def __init__(self, *outcomes: BaseException | Reply) -> None:
        self.outcomes = list(outcomes)
        self.asked = 0
        self.closed = False

    async def complete(self, request: Request) -> Reply:
        assert request is ASK
        self.asked += 1
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    async def aclose(self) -> None:
        self.closed = True


class Sleep:
    def __init__(self) -> None:
        self.pauses_s: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.pauses_s.append(seconds)


def busy(retry_after_s: float | None = None) -> ProviderError:
    return ProviderError("busy", retryable=True, retry_after_s=retry_after_s)


async def test_backoff_doubles_to_its_cap_between_half_and_whole():
    for jitter, expected in ((0.0, [0.5, 1.0, 1.5, 1.5]), (1.0, [1.0, 2.0, 3.0, 3.0])):
        sleep = Sleep()
        inner = Scripted(*[busy() for _ in range(4)], Reply("at last"))
        retrying = Retrying(
            inner, attempts=5, base_s=1, cap_s=3, sleep=sleep, jitter=lambda j=jitter: j
        )
        assert (await retrying.complete(ASK)).text == "at last"
        assert sleep.pauses_s == expected


async def test_the_jitter_differs_by_default():
    sleep = Sleep()
    inner = Scripted(*[busy() for _ in range(19)], Reply("x"))
    await Retrying(inner, attempts=20, base_s=8, cap_s=8, sleep=sleep).complete(ASK)
    assert len(set(sleep.pauses_s)) > 1
    assert all(4.0 <= pause_s <= 8.0 for pause_s in sleep.pauses_s)


async def test_retry_after_is_obeyed():
    sleep = Sleep()
    inner = Scripted(busy(9.0), busy(0.0), Reply("x"))
    await Retrying(inner, base_s=1, sleep=sleep, jitter=lambda: 0.5).complete(ASK)
    assert sleep.pauses_s == [9.25, 1.5]


async def test_a_retry_after_past_the_bound_gives_up():
    sleep = Sleep()
    inner = Scripted(busy(61.0), Reply("never asked"))
    with pytest.raises(ProviderError, match=r"attempt 1 of 4, it asks for 61 s") as caught:
        await Retrying(inner, max_retry_after_s=60, sleep=sleep).complete(ASK)
    assert sleep.pauses_s == []
    assert (caught.value.retryable, caught.value.retry_after_s) == (True, 61.0)


async def test_the_last_error_tells_the_attempts():
    sleep = Sleep()
    inner = Scripted(busy(), busy(), busy(2.0), Reply("never asked"))
    with pytest.raises(ProviderError, match=r"^busy \(attempt 3 of 3\)$") as caught:
        await Retrying(inner, attempts=3, sleep=sleep).complete(ASK)
    assert inner.asked == 3
    assert len(sleep.pauses_s) == 2
    assert (caught.value.retryable, caught.value.retry_after_s) == (True, 2.0)


async def test_a_final_error_is_not_tried_again():
    sleep = Sleep()
    inner = Scripted(busy(), ProviderError("bad key"), Reply("never asked"))
    with pytest.raises(ProviderError, match=r"^bad key \(attempt 2 of 4\)$") as caught:
        await Retrying(inner, sleep=sleep).complete(ASK)
    assert not caught.value.retryable


@pytest.mark.parametrize("exc", [KeyError("a defect"), asyncio.CancelledError()])
async def test_other_exceptions_pass(exc):
    inner = Scripted(exc, Reply("never asked"))
    with pytest.raises(type(exc)):
        await Retrying(inner, sleep=Sleep()).complete(ASK)
    assert inner.asked == 1


async def test_name_and_close_are_the_inner_providers():
    inner = Scripted()
    retrying = Retrying(inner)
    await retrying.aclose()
    assert retrying.name == "scripted"
    assert inner.closed


async def test_500_429_cut_then_success_over_http():
    sleep = Sleep()
    script = (
        fp.error(500, "oops"),
        fp.error(429, "slow", retry_after="3"),
        fp.cut(fp.openai("lost"), 9),
        fp.openai("ok"),
    )
    with fp.FakeProvider(*script) as fake:
        retrying = Retrying(OpenAI(fake.openai_url, "m"), sleep=sleep, jitter=lambda: 0.0)
        reply = await retrying.complete(ASK)
        await retrying.aclose()
    assert reply.text == "ok"
    assert sleep.pauses_s == [0.25, 3.0, 1.0]
    assert len({received.body for received in fake.requests}) == 1


async def test_a_401_over_http_is_asked_once():
    with fp.FakeProvider(fp.error(401, "no"), fp.openai("never")) as fake:
        retrying = Retrying(OpenAI(fake.openai_url, "m", "k"), sleep=Sleep())
        with pytest.raises(ProviderError, match="check the key"):
            await retrying.complete(ASK)
        await retrying.aclose()
    assert len(fake.requests) == 1


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("nan", None),
        ("\u0663", None),
        ("12", 12.0),
        (" 1.5 ", 1.5),
        ("999999999", 86400.0),
        (email.utils.formatdate(1_000_030, usegmt=True), 30.0),
        (email.utils.formatdate(1_000_030).replace("-0000", ""), 30.0),
        (email.utils.formatdate(999_000, usegmt=True), 0.0),
        ("Fri, 99 Foo 2020 00:00:00 GMT", None),
    ],
)
def test_retry_after(value, seconds):
    assert parse_retry_after(value, 1_000_000.0) == seconds


def test_a_date_without_a_zone_is_gmt_in_any_zone(monkeypatch):
    monkeypatch.setenv("TZ", "Etc/GMT+9")
    time.tzset()
    try:
        assert parse_retry_after("Thu, 01 Jan 1970 00:01:00", 0.0) == 60.0
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("kind", ["openai", "groq", "ollama", "openrouter", "anthropic"])
async def test_make_provider(kind):
    made = make_provider(kind, base_url=None, model="m", api_key=None, timeout_s=5)
    assert made.name == kind
    assert isinstance(made, Retrying)
    await made.aclose()
    with pytest.raises(ConfigError, match=r"provider\.model"):
        make_provider(kind, base_url=None, model=None, api_key=None, timeout_s=5)
    with pytest.raises(ConfigError, match=r"provider\.timeout_s"):
        make_provider(kind, base_url=None, model="m", api_key=None, timeout_s=0)


def test_make_provider_offline_and_unknown():
    made = make_provider("offline", base_url=None, model=None, api_key=None, timeout_s=1)
    assert made.name == "offline"
    with pytest.raises(ConfigError, match=r"provider\.kind is 'x'"):
        make_provider("x", base_url=None, model="m", api_key=None, timeout_s=1)


async def test_make_provider_uses_its_base_url():
    with fp.FakeProvider(fp.openai("ok")) as fake:
        url = fake.openai_url
        made = make_provider("groq", base_url=url, model="m", api_key=None, timeout_s=5)
        reply = await made.complete(ASK)
        await made.aclose()
    assert reply.text == "ok"
    assert fake.requests[0].json["model"] == "m"
