"""The agent on an emulated board, from an ask to what its pins do."""

import asyncio

import pytest
from mote_emulator.device import Options, prepare, running
from mote_emulator.panel import Panel
from mote_emulator.site import site
from mote_host.broker import Broker as BrokerClient
from mote_host.config import BrokerSettings
from mote_host.demo.brokers import free_port, running_broker
from mote_host.enrolment import write_device
from mote_host.providers import Call, Reply

from tests.e2e.scripted import PUMP as WATER
from tests.e2e.scripted import Scripted
from tests.emulator.workload import dispensing, settled

pytestmark = pytest.mark.emulator

LAMP, PUMP = 2, 4


async def test_an_ask_moves_the_pins(board_name: str, firmware, tmp_path, panel: Panel) -> None:
    calls = (
        Call("a", "set_lamp", {"on": True}),
        Call("b", "run_pump", {"seconds": 0.2}),
        Call("c", "read_temperature", {}),
    )
    model = Scripted(Reply("", calls), Reply("lamp on, watered"))
    async with site(tmp_path, model) as made:
        await made.power_on(Options(board_name), panel=panel)
        await made.online()
        since = panel.changes
        answer = await made.ask("light and water")
        assert (answer.status, answer.text) == ("done", "lamp on, watered")
        moved = [(change.pin, change.level) for change in panel.journal(since)]
        assert moved == [(LAMP, 1), (PUMP, 1), (PUMP, 0)]
        assert panel.pins[LAMP].value == 1
        results = [m.text for m in model.requests[-1].messages if m.role == "tool"]
        assert results[2] == "21.0 C"
        replica, log = await settled(made)
        assert replica.verified
        assert log.verified
        assert replica.head == log.head


async def test_a_tool_that_hangs_is_ended_by_the_watchdog(
    board_name: str, firmware, tmp_path, panel: Panel
) -> None:
    model = Scripted(Reply("", (Call("a", "hang", {}),)), Reply("it hung"))
    async with dispensing(tmp_path, model) as made:
        made.configure("device", "watchdog_s = 1")
        await made.power_on(Options(board_name), panel=panel)
        await made.online()
        answer = await made.ask("hang")
        assert panel.reset_cause == 3
        # the tool is harmless, so it is tried again, as often as a turn may be restarted
        assert answer.status == "limit"
        assert "restarts" in answer.text
        assert "the watchdog has reset this board" in made.machine.console.transcript
        assert (await made.ask("hang")).status == "done"  # the model's second reply


async def test_a_broker_that_comes_after_the_board(
    board_name: str, firmware, tmp_path, panel: Panel
) -> None:
    port = free_port()
    broker = BrokerSettings(host="127.0.0.1", port=port)
    folder = tmp_path / "early"
    folder.mkdir()
    write_device(*(folder, "early", b"k" * 32, broker, "greenhouse"))
    options = Options(board_name)
    async with running(prepare(folder / "moted.toml", options), options, panel=panel) as machine:
        await machine.wait_for("trying|broker")
        async with running_broker("mosquitto", port), BrokerClient(broker).connected() as client:
            await client.subscribe("mote/early/state")
            async with asyncio.timeout(60):
                async for message in client.messages:
                    if b"true" in bytes(message.payload):
                        break


async def test_the_cable_is_pulled_in_the_middle_of_a_turn(tmp_path, panel: Panel) -> None:
    model = Scripted(WATER, Reply("watered"))
    async with site(tmp_path, model) as made:
        made.configure("broker", "keepalive_s = 5")
        machine = await made.power_on(Options("rv32"), panel=panel)
        await made.online()
        model.gate = asyncio.Event()
        asking = asyncio.create_task(made.ask("water", timeout_s=90))
        await model.asked.wait()
        await machine.set_link(up=False)
        model.gate.set()  # the reply goes nowhere
        await machine.wait_for("moted: (network|broker):", timeout_s=60)
        await machine.set_link(up=True)
        answer = await asking
        assert (answer.status, answer.text) == ("done", "watered")
        assert panel.pins[4].rises == 1
        assert len(model.requests) == 2
