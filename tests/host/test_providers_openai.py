"""Chat Completions, and every way an HTTP provider fails, against a real loopback server."""

import asyncio
import json
import socket

import fake_provider as fp
import httpx
import pytest
from mote_host.errors import ConfigError, ProviderError
from mote_host.providers import Call, Message, OpenAI, Reply, Request, ToolSpec
from mote_host.providers.http import MAX_BODY_BYTES

KEY = "sk-very-secret-0123456789"
PUMP = ToolSpec(
    "run_pump",
    "Dispense water.",
    {"type": "object", "properties": {"seconds": {"type": "number"}}, "required": ["seconds"]},
    "ONCE",
)
ASK = Request("Be brief.", (Message("user", "hi"),), (PUMP,), max_tokens=99)


async def ask(*answers: fp.Script, request: Request = ASK, **options) -> Reply:
    with fp.FakeProvider(*answers) as fake:
        provider = OpenAI(fake.openai_url, "m", KEY, **options)
        try:
            return await provider.complete(request)
        finally:
            await provider.aclose()


async def fail(*answers: fp.Script, **options) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await ask(*answers, **options)
    text = str(caught.value)
    assert KEY not in text
    assert text.startswith("openai (http://127.0.0.1:")
    return caught.value


async def test_text_and_what_is_sent():
    with fp.FakeProvider(fp.openai("hello", usage=(5, 2))) as fake:
        provider = OpenAI(fake.openai_url + "/", "model-1", KEY)
        reply = await provider.complete(ASK)
        await provider.aclose()
    assert reply == Reply("hello", (), 5, 2, False)
    (received,) = fake.requests
    assert received.path == "/v1/chat/completions"
    assert received.headers["authorization"] == "Bearer " + KEY
    assert received.headers["content-type"] == "application/json"
    assert received.json == {
        "model": "model-1",
        "max_tokens": 99,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "hi"},
        ],
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "run_pump",
                    "description": "Dispense water.",
                    "parameters": PUMP.parameters,
                },
            }
        ],
    }


@pytest.mark.parametrize("key", [None, "", " \n"])
async def test_no_key_sends_no_authorization_and_no_tools_no_list(key):
    with fp.FakeProvider(fp.openai("ok")) as fake:
        provider = OpenAI(fake.openai_url, "m", key)
        await provider.complete(Request("", (Message("user", "hi"),), ()))
        await provider.aclose()
    assert "authorization" not in fake.requests[0].headers
    assert "tools" not in fake.requests[0].json
    assert fake.requests[0].json["messages"] == [{"role": "user", "content": "hi"}]


async def test_only_openai_itself_gets_max_completion_tokens():
    bodies = []

    def answer(request: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(request.content))
        return httpx.Response(200, content=fp.openai("ok").body)

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        provider = OpenAI("https://api.openai.com/v1", "m", KEY, client=client)
        await provider.complete(ASK)
        await provider.aclose()
        assert not client.is_closed
    assert bodies[0]["max_completion_tokens"] == 99
    assert "max_tokens" not in bodies[0]


async def test_two_calls():
    reply = await ask(
        fp.openai(None, [("a", "read_it", "{}"), ("b", "run_pump", {"seconds": 2.5})])
    )
    assert reply.text == ""
    assert reply.calls == (Call("a", "read_it", {}), Call("b", "run_pump", {"seconds": 2.5}))


async def test_a_conversation_is_translated_exactly():
    messages = (
        Message("user", "water"),
        Message(
            "assistant", calls=(Call("c1", "run_pump", {"seconds": 3}), Call("c2", "x", "{oops"))
        ),
        Message("tool", "dispensed", call_id="c1"),
        Message("tool", "bad arguments", call_id="c2"),
        Message("assistant", "done"),
        Message("user", "thanks"),
    )
    with fp.FakeProvider(fp.openai("ok")) as fake:
        provider = OpenAI(fake.openai_url, "m")
        await provider.complete(Request("", messages, ()))
        await provider.aclose()
    sent = fake.requests[0].json["messages"]
    assert sent[0] == {"role": "user", "content": "water"}
    assert sent[1] == {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": "c1",
                "type": "function",
                "function": {"name": "run_pump", "arguments": '{"seconds":3}'},
            },
            {
                "id": "c2",
                "type": "function",
                "function": {"name": "x", "arguments": '{"unreadable_arguments":"{oops"}'},
            },
        ],
    }
    assert sent[2:] == [
        {"role": "tool", "tool_call_id": "c1", "content": "dispensed"},
        {"role": "tool", "tool_call_id": "c2", "content": "bad arguments"},
        {"role": "assistant", "content": "done"},
        {"role": "user", "content": "thanks"},
    ]


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ("{not json", "{not json"),
        ("[1]", "[1]"),
        ("3", "3"),
        ('{"a": NaN}', '{"a": NaN}'),
        ('{"a": "\\ud800"}', '{"a": "\\ud800"}'),
        ("[" * 9000, "[" * 9000),
        ("", {}),
        (' {"a": null} ', {"a": None}),
    ],
)
async def test_arguments_that_are_no_object_stay_text(sent, read):
    reply = await ask(fp.openai(None, [("a", "t", sent)]))
    assert reply.calls == (Call("a", "t", read),)


async def test_arguments_sent_as_an_object_or_not_at_all():
    calls = [{"function": {"name": "t", "arguments": {"n": 1}}}, {"function": {"name": "u"}}]
    reply = await ask(fp.ok({"choices": [{"message": {"tool_calls": calls}}]}))
    assert reply == Reply("", (Call("call_0", "t", {"n": 1}), Call("call_1", "u", {})))


async def test_ids_are_made_up_and_never_repeat_in_a_conversation():
    before = (
        Message("user", "x"),
        Message("assistant", calls=(Call("call_0", "t", {}), Call("call_2", "t", {}))),
        Message("tool", "1", call_id="call_0"),
        Message("tool", "2", call_id="call_2"),
    )
    given = [(None, "t", "{}"), ("call_0", "t", "{}"), ("", "t", "{}"), ("z", "t", "{}")]
    reply = await ask(fp.openai(None, given), request=Request("", before, ()))
    assert [call.id for call in reply.calls] == ["call_3", "call_4", "call_5", "z"]


async def test_length_is_truncated_and_missing_usage_is_zero():
    reply = await ask(fp.openai("cut of", finish="length", usage=None))
    assert reply == Reply("cut of", (), 0, 0, True)


async def test_a_refusal_is_text():
    reply = await ask(fp.ok({"choices": [{"message": {"content": None, "refusal": "No."}}]}))
    assert reply.text == "No."


@pytest.mark.parametrize(
    ("status", "retryable", "says"),
    [
        (301, False, "provider.base_url"),
        (400, False, "It says: the reason"),
        (402, False, "credit"),
        (403, False, "check the key in provider.api_key"),
        (404, False, "check provider.model and provider.base_url"),
        (408, True, "try again later"),
        (409, True, "try again later"),
        (413, False, "too long"),
        (422, False, "It says: the reason"),
        (429, True, "too many requests"),
        (500, True, "It says: the reason"),
        (503, True, "try again later"),
        (529, True, "try again later"),
    ],
)
async def test_statuses(status, retryable, says):
    exc = await fail(fp.error(status, "the reason"))
    assert exc.retryable is retryable
    assert f"answered {status}: " in str(exc)
    assert says in str(exc)


async def test_401_says_check_the_key_and_quotes_nothing():
    exc = await fail(fp.error(401, "Incorrect API key provided: sk-ve***6789"))
    assert not exc.retryable
    assert "check the key in provider.api_key" in str(exc)
    assert "6789" not in str(exc)


async def test_a_quoted_key_is_redacted_before_the_quote_is_cut():
    exc = await fail(fp.error(400, "x" * 290 + KEY + "y" * 400))
    quote = str(exc).partition("It says: ")[2]
    assert quote == "x" * 290 + "[key]yy..."
    assert len(quote) == 300


@pytest.mark.parametrize(
    ("body", "quote"),
    [
        (b'{"error": "plain"}', "plain"),
        (b'{"message": "top"}', "top"),
        (b'{"detail": [{"loc": 1}]}', '[{"loc": 1}]'),
        (b"<html>\n\x1b[31m bad\xff", "<html> [31m bad\ufffd"),
        (b"[" * 9000, "[" * 297 + "..."),
    ],
)
async def test_error_bodies_of_any_shape(body, quote):
    exc = await fail(fp.Answer(400, body))
    assert str(exc).endswith("It says: " + quote)


async def test_a_cut_error_body_still_tells_the_status():
    exc = await fail(fp.cut(fp.error(503, "long message"), 5))
    assert "answered 503" in str(exc)
    assert exc.retryable


async def test_retry_after_reaches_the_error():
    exc = await fail(fp.error(429, "slow down", retry_after="7"))
    assert (exc.retryable, exc.retry_after_s) == (True, 7.0)


async def test_a_held_answer_times_out():
    exc = await fail(fp.hold(), timeout_s=0.2)
    assert exc.retryable
    assert "within 0.2 s" in str(exc)


async def test_the_time_out_bounds_the_whole_exchange():
    async def trickle():
        yield b"{"
        await asyncio.Event().wait()

    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=trickle())

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        provider = OpenAI("http://x", "m", timeout_s=0.05, client=client)
        with pytest.raises(ProviderError, match=r"within 0\.05 s") as caught:
            async with asyncio.timeout(1):
                await provider.complete(ASK)
    assert caught.value.retryable


async def test_a_cut_body_is_retryable():
    exc = await fail(fp.cut(fp.openai("hello"), 20))
    assert exc.retryable
    assert "broke off" in str(exc)


async def test_nobody_listens():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://user:pw@127.0.0.1:{unused.getsockname()[1]}/v1?token=hidden"
        provider = OpenAI(url, "m", KEY)
        with pytest.raises(ProviderError, match=r"can't be reached.*provider\.base_url") as caught:
            await provider.complete(ASK)
        await provider.aclose()
    assert caught.value.retryable
    assert "pw" not in str(caught.value)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"choices": [', b"\xff", b"[" * 9000])
async def test_a_body_that_is_not_json(body):
    exc = await fail(fp.Answer(body=body))
    assert exc.retryable
    assert "not JSON" in str(exc)


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ([], "body"),
        ({}, "choices"),
        ({"choices": []}, "choices"),
        ({"choices": [{}]}, "choices.0.message"),
        ({"choices": [{"message": {"content": 3}}]}, "choices.0.message.content"),
        (
            {"choices": [{"message": {"tool_calls": [{"function": {}}]}}]},
            "choices.0.message.tool_calls.0.function.name",
        ),
    ],
)
async def test_json_of_another_shape(value, where):
    exc = await fail(fp.ok(value))
    assert exc.retryable
    assert f"unknown shape at {where}: " in str(exc)


async def test_an_error_under_status_200_is_quoted():
    exc = await fail(fp.ok({"error": {"message": f"no upstream for {KEY}", "code": 502}}))
    assert "no upstream for [key]" in str(exc)


@pytest.mark.parametrize("announce", [True, False])
async def test_a_body_past_the_bound_is_refused(announce):
    body = b" " * (MAX_BODY_BYTES + 1)
    exc = await fail(fp.Answer(body=body, announce=announce))
    assert exc.retryable
    assert f"more than {MAX_BODY_BYTES} bytes" in str(exc)


async def test_a_body_at_the_bound_is_read():
    body = fp.openai("fits").body
    reply = await ask(fp.Answer(body=body + b" " * (MAX_BODY_BYTES - len(body))))
    assert reply.text == "fits"


async def test_a_request_that_is_not_json_fails_alone():
    odd = Message("assistant", calls=(Call("a", "t", {"x": b"bytes"}),))
    with fp.FakeProvider() as fake:
        provider = OpenAI(fake.openai_url, "m", KEY)
        with pytest.raises(ProviderError, match="not JSON") as caught:
            await provider.complete(Request("", (Message("user", "x"), odd), ()))
        await provider.aclose()
    assert not caught.value.retryable
    assert fake.requests == []


async def test_a_closed_provider_says_so():
    provider = OpenAI("http://127.0.0.1:9", "m")
    await provider.aclose()
    with pytest.raises(ProviderError, match="closed"):
        await provider.complete(ASK)


def test_bad_configuration_is_told_at_once():
    with pytest.raises(ConfigError, match=r"provider\.base_url"):
        OpenAI("localhost:11434", "m")
    with pytest.raises(ConfigError, match=r"provider\.base_url"):
        OpenAI("http://x:port", "m")
    with pytest.raises(ConfigError, match=r"provider\.api_key") as caught:
        OpenAI("http://x", "m", "sk-\u2026secret")
    assert "secret" not in str(caught.value)


async def test_a_short_key_does_not_garble_our_own_words():
    with fp.FakeProvider(fp.error(403, "no k here")) as fake:
        provider = OpenAI(fake.openai_url, "m", "k")
        with pytest.raises(ProviderError, match=r"check the key .*no \[key\] here"):
            await provider.complete(ASK)
        await provider.aclose()
