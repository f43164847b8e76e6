"""The Messages API against a real loopback server."""

import fake_provider as fp
import pytest
from mote_host.errors import ProviderError
from mote_host.providers import Anthropic, Call, Message, Reply, Request, ToolSpec

KEY = "sk-ant-secret"
READ = ToolSpec("read_it", "Read it.", {"type": "object", "properties": {}}, "READ")
ASK = Request("Be brief.", (Message("user", "hi"),), (READ,), max_tokens=64)


async def ask(answer: fp.Answer, request: Request = ASK) -> tuple[Reply, fp.Received]:
    with fp.FakeProvider(answer) as fake:
        provider = Anthropic(fake.url, "claude", KEY)
        try:
            reply = await provider.complete(request)
        finally:
            await provider.aclose()
    return reply, fake.requests[0]


async def test_text_and_what_is_sent():
    reply, received = await ask(fp.anthropic("hello", usage=(5, 2)))
    assert reply == Reply("hello", (), 5, 2, False)
    assert received.path == "/v1/messages"
    assert received.headers["x-api-key"] == KEY
    assert received.headers["anthropic-version"] == "2023-06-01"
    assert "authorization" not in received.headers
    assert received.json == {
        "model": "claude",
        "max_tokens": 64,
        "system": "Be brief.",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
        "tools": [{"name": "read_it", "description": "Read it.", "input_schema": READ.parameters}],
    }


async def test_a_base_url_with_v1_and_no_key():
    with fp.FakeProvider(fp.anthropic("ok")) as fake:
        provider = Anthropic(fake.url + "/v1/", "m", None)
        await provider.complete(Request("", (Message("user", "hi"),), ()))
        await provider.aclose()
    assert fake.requests[0].path == "/v1/messages"
    assert "x-api-key" not in fake.requests[0].headers
    assert "system" not in fake.requests[0].json
    assert "tools" not in fake.requests[0].json


async def test_text_and_two_calls():
    reply, _ = await ask(
        fp.anthropic("Looking.", [("t1", "read_it", {}), ("t2", "run_pump", {"seconds": 3})])
    )
    assert reply.text == "Looking."
    assert reply.calls == (Call("t1", "read_it", {}), Call("t2", "run_pump", {"seconds": 3}))


async def test_results_merge_with_the_users_next_words():
    messages = (
        Message("user", "water"),
        Message(
            "assistant",
            "Doing it.",
            (Call("t1", "read_it", {}), Call("t2", "run_pump", "{oops")),
        ),
        Message("tool", "41 %", call_id="t1"),
        Message("tool", "", call_id="t2"),
        Message("assistant", "  "),
        Message("user", "and now?"),
    )
    _, received = await ask(fp.anthropic("ok"), Request("", messages, (READ,)))
    assert received.json["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "water"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "Doing it."},
                {"type": "tool_use", "id": "t1", "name": "read_it", "input": {}},
                {
                    "type": "tool_use",
                    "id": "t2",
                    "name": "run_pump",
                    "input": {"unreadable_arguments": "{oops"},
                },
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": "41 %"},
                {"type": "tool_result", "tool_use_id": "t2", "content": ""},
                {"type": "text", "text": "and now?"},
            ],
        },
    ]


@pytest.mark.parametrize(
    ("stop", "truncated"),
    [("max_tokens", True), ("model_context_window_exceeded", True), ("end_turn", False)],
)
async def test_stop_reasons(stop, truncated):
    reply, _ = await ask(fp.anthropic("x", stop=stop))
    assert reply.truncated is truncated


async def test_other_blocks_are_passed_over_and_cached_tokens_count():
    reply, _ = await ask(
        fp.ok(
            {
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "s"},
                    {"type": "text", "text": "a"},
                    {"type": "text", "text": "b"},
                    {"type": "tool_use", "id": "", "name": "t", "input": [1]},
                    {"type": "tool_use", "id": "x", "name": "u"},
                ],
                "usage": {
                    "input_tokens": 1,
                    "cache_creation_input_tokens": 20,
                    "cache_read_input_tokens": 300,
                },
            }
        )
    )
    assert reply == Reply("ab", (Call("call_0", "t", "[1]"), Call("x", "u", {})), 321, 0)


@pytest.mark.parametrize(
    ("answer", "retryable", "says"),
    [
        (fp.error(401, "invalid x-api-key"), False, "check the key"),
        (fp.error(400, "max_tokens: too large"), False, "It says: max_tokens: too large"),
        (fp.error(529, "Overloaded"), True, "It says: Overloaded"),
        (fp.cut(fp.anthropic("hello"), 10), True, "broke off"),
        (fp.Answer(body=b"{"), True, "not JSON"),
        (fp.ok({"content": "text"}), True, "unknown shape at content"),
        (fp.ok({"content": [{"type": "tool_use"}]}), True, "without a name"),
    ],
)
async def test_failures(answer, retryable, says):
    with pytest.raises(ProviderError) as caught:
        await ask(answer)
    assert caught.value.retryable is retryable
    assert says in str(caught.value)
    assert str(caught.value).startswith("anthropic (http://127.0.0.1:")
    assert KEY not in str(caught.value)
