"""Tools that misbehave: each failure is a result that the model reads, and the daemon stays."""

from collections.abc import Callable
from typing import Any

from mote_host.asking import ask
from mote_host.demo.runtimes import Runtime
from mote_host.demo.stage import DEVICE
from mote_host.providers import Call, Reply
from scripted import Scripted

_TOOLS = r"""
import asyncio
import sys

from mote.tools import ONCE, READ, tool


@tool("Raise.", READ)
def raises():
    raise ValueError("boom")


@tool("Exit.", READ)
def exits():
    sys.exit(3)


@tool("Return much.", READ)
def much():
    return "x" * 100000


@tool("Return what JSON has no word for.", READ)
def nan():
    return {"a": float("nan")}


@tool("Return half a character.", READ)
def half():
    return "\udc80"


@tool("Hang.", ONCE, timeout_s=1)
async def hangs():
    await asyncio.sleep(100)
"""

_SAID = {
    "raises": "error: ValueError: boom",
    "exits": "error: SystemExit",
    "much": "[cut, was 100000 bytes]",
    "nan": '{"a": ',
    "half": "",
    "hangs": "outcome is unknown",
    "absent": "rejected: absent: there is no such tool",
}


async def test_whatever_a_tool_does_the_turn_ends(
    runtime: Runtime, stage_of: Callable[..., Any]
) -> None:
    replies = [(Reply("", (Call("a", name, {}),)), Reply("ok")) for name in _SAID]
    provider = Scripted(*(reply for pair in replies for reply in pair))
    config = '\n[tools]\npath = ["tools"]\nmodules = ["bad"]\n'
    async with stage_of(runtime, provider, device_config=config) as stage:
        (stage.device.folder / "tools").mkdir()
        (stage.device.folder / "tools" / "bad.py").write_text(_TOOLS)
        await stage.device.start()
        await stage.online()
        for name, said in _SAID.items():
            answer = await ask(stage.client, DEVICE, name)
            assert (answer.status, answer.text) == ("done", "ok")
            assert said in provider.requests[-1].messages[-1].text
        await stage.settled()
        assert all(verdict.verified for verdict in stage.verify())
