"""The offline planner: what it orders, what it leaves out and says, what it reports."""

import json

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from mote_host.providers import Call, Message, Offline, Reply, Request, ToolSpec


def tool(name: str, description: str, effect: str, **properties: dict) -> ToolSpec:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return ToolSpec(name, description, schema, effect)


SECONDS = {
    "type": "number",
    "minimum": 0.1,
    "maximum": 30,
    "description": "How long to pump.",
    "unit": "s",
}
ON = {"type": "boolean", "description": "Whether it is on."}
MOISTURE = tool("read_soil_moisture", "Volumetric water content of the soil, in percent.", "READ")
TEMPERATURE = tool("read_temperature", "Air temperature in degrees Celsius.", "READ")
PUMP = tool("run_pump", "Dispense water: run the pump.", "ONCE", seconds=SECONDS)
LAMP = tool("set_lamp", "Switch the grow lamp.", "IDEMPOTENT", on=ON)
FAN = tool("set_fan", "Switch the fan.", "IDEMPOTENT", on=ON)
DICE = tool("roll_dice", "Roll a dice.", "READ", sides={"type": "integer"})
TOOLS = (MOISTURE, TEMPERATURE, PUMP, LAMP, FAN, DICE)

READ_MOISTURE = ("read_soil_moisture", {})
READ_TEMPERATURE = ("read_temperature", {})


def pump(seconds: float) -> tuple[str, dict]:
    return ("run_pump", {"seconds": seconds})


def lamp(on: bool) -> tuple[str, dict]:
    return ("set_lamp", {"on": on})


def fan(on: bool) -> tuple[str, dict]:
    return ("set_fan", {"on": on})


async def plan(
    ask: str, tools: tuple[ToolSpec, ...] = TOOLS
) -> tuple[list[tuple[str, object]], str]:
    reply = await Offline().complete(Request("", (Message("user", ask),), tools))
    assert reply.text.startswith("(offline planner) ") or (reply.calls and not reply.text)
    return [(call.name, call.arguments) for call in reply.calls], reply.text


@pytest.mark.parametrize(
    ("ask", "calls"),
    [
        ("Read the soil moisture, then run the pump for 3 seconds.", [READ_MOISTURE, pump(3)]),
        ("what is the temperature?", [READ_TEMPERATURE]),
        ("turn the lamp on and the fan off", [lamp(True), fan(False)]),
        ("Switch off the fan; read the temperature", [fan(False), READ_TEMPERATURE]),
        ("water the plants for 2.5 s", [pump(2.5)]),
        ("roll a dice with 6 sides", [("roll_dice", {"sides": 6})]),
        ("roll a six sided dice", [("roll_dice", {"sides": 6})]),
        ("lamp on", [lamp(True)]),
        ("SWITCH THE FAN OFF!", [fan(False)]),
        ("turn on the lamp and the fan", [lamp(True), fan(True)]),
        ("Turn the lamp and the fan on", [lamp(True), fan(True)]),
        ("turn on the fan on the left", [fan(True)]),
        ("Could you turn on the lamp?", [lamp(True)]),
        ("what's the temp, and turn the lamp on", [READ_TEMPERATURE, lamp(True)]),
        ("What is the temperature and soil moisture?", [READ_TEMPERATURE, READ_MOISTURE]),
        ("run pump for 3s. Read temp", [pump(3), READ_TEMPERATURE]),
        ("run the pump, for 3 seconds", [pump(3)]),
        ("run the pump for 0.1 minutes", [pump(6)]),
        ("run the pump for 1500 ms", [pump(1.5)]),
        ("pump for .5 s", [pump(0.5)]),
        ("run the pump for three seconds", [pump(3)]),
        ("Run the pump for 3 s\nread the soil moisture", [pump(3), READ_MOISTURE]),
        ("Check the soil moisture twice, and read the soil moisture", [READ_MOISTURE]),
    ],
)
async def test_what_is_ordered(ask, calls):
    assert await plan(ask) == (calls, "")


@pytest.mark.parametrize(
    ("ask", "calls", "says"),
    [
        ("run the pump", [], "I need seconds (s) to call run_pump."),
        ("run the pump at 50 %", [], "I need seconds (s) to call run_pump."),
        ("run the pump for 3-5 seconds", [], "I need seconds (s) to call run_pump."),
        ("run the pump for 2,5 s", [], "I need seconds (s) to call run_pump."),
        ("run the pump for 3µs", [], "I need seconds (s) to call run_pump."),
        ("run the pump for 99999999999 s", [], "I need seconds (s) to call run_pump."),
        ("run the pump for 1 1/2 minutes", [], "no parameter for 1/2"),
        ("run the pump for 2 s at 50 %", [], "no parameter for 50 %"),
        ("roll a dice", [], "I need sides to call roll_dice."),
        ("set the lamp", [], "I need on (on or off) to call set_lamp."),
        ("lamp on for 5 minutes", [], "no parameter for 5 minutes"),
        ("stop the pump for 3 s", [], "can't be told to stop"),
        ("Don't run the pump for 3 s", [], "the ask says not to"),
        ("do not turn on the lamp and the fan", [], "I left out set_fan: the ask says not to"),
        ("Should I run the pump for 3 s?", [], "I can't judge questions"),
        ("The lamp is on.", [], "I can't judge questions"),
        ("is the lamp on?", [], "I can't judge questions"),
        ("lamp on?", [], "I can't judge questions"),
        ("in 5 minutes turn on the lamp", [], "I can't judge questions"),
        ("Turn on the lamp every day", [], "I can't judge questions"),
        ("water please", [], "read_soil_moisture or run_pump"),
        (
            "Read the soil moisture. If it is below 30 % then run the pump for 3 seconds.",
            [READ_MOISTURE],
            "I left out run_pump",
        ),
        (
            "Is the soil dry? Then run the pump for 3 seconds.",
            [READ_MOISTURE],
            "I left out run_pump",
        ),
        (
            "Lamp on, read the temperature, then lamp off",
            [lamp(True), READ_TEMPERATURE],
            "I left out a second set_lamp",
        ),
    ],
)
async def test_what_is_left_out_is_named(ask, calls, says):
    made, text = await plan(ask)
    assert made == calls
    assert says in text


@pytest.mark.parametrize("ask", ["how are you?", "Hello", "", "and, then; or.", "thanks for it"])
async def test_nothing_fits(ask):
    calls, text = await plan(ask)
    assert calls == []
    assert "run_pump(seconds), set_lamp(on)" in text


async def test_no_tools_at_all():
    calls, text = await plan("lamp on", ())
    assert calls == []
    assert "declares none" in text


MODE = {"type": "string", "enum": ["auto", "high_power", "off"]}
TEXT = {"type": "string"}


@pytest.mark.parametrize(
    ("spec", "ask", "arguments"),
    [
        (
            tool("set_heater", "", "ONCE", mode=MODE),
            "heater to high power",
            {"mode": "high_power"},
        ),
        (tool("set_heater", "", "ONCE", mode=MODE), "heater off", {"mode": "off"}),
        (
            tool("show_text", "", "ONCE", text=TEXT),
            'show text "on, then 5"',
            {"text": "on, then 5"},
        ),
        (
            tool("dim", "", "ONCE", level={"type": "integer", "unit": "%"}),
            "dim: 50%",
            {"level": 50},
        ),
        (tool("wait", "", "ONCE", time_ms={"type": "integer"}), "wait 2 s", {"time_ms": 2000}),
        (
            tool("wait", "", "ONCE", time={"type": "number", "description": "In minutes."}),
            "wait 90 s",
            {"time": 1.5},
        ),
        (
            tool("blink", "", "ONCE", times={"type": "integer"}, period={**SECONDS}),
            "blink with 2 s 5 times",
            {"times": 5, "period": 2},
        ),
        (
            tool("dose", "", "ONCE", a={"type": "number"}, b={"type": "number"}),
            "dose b 2 with a 1",
            {"a": 1, "b": 2},
        ),
        (tool("pump_2", "", "ONCE", seconds=SECONDS), "run pump 2 for 3 s", {"seconds": 3}),
        (tool("read_all", "", "READ"), "read all", {}),
    ],
)
async def test_arguments(spec, ask, arguments):
    assert await plan(ask, (spec,)) == ([(spec.name, arguments)], "")


@pytest.mark.parametrize(
    ("spec", "ask"),
    [
        (tool("roll_dice", "", "ONCE", sides={"type": "integer"}), "roll dice 2.5 sides"),
        (tool("set_level", "", "ONCE", min_level={"type": "number"}), "set level to 3 minutes"),
        (tool("reboot_device", "Restart the device.", "ONCE"), "device status"),
        (tool("lamp_on", "", "ONCE"), "lamp off"),
    ],
)
async def test_what_does_not_fit_is_not_called(spec, ask):
    calls, text = await plan(ask, (spec,))
    assert calls == []
    assert spec.name in text


async def test_optional_parameters_may_be_missing():
    schema = {"type": "object", "properties": {"seconds": SECONDS}}
    assert (await plan("run the pump", (ToolSpec("run_pump", "", schema, "ONCE"),)))[0] == [
        ("run_pump", {})
    ]


def turn(ask: str, results: list[tuple[Call, str]]) -> Request:
    calls = tuple(call for call, _ in results)
    told = (Message("tool", text, call_id=call.id) for call, text in results)
    return Request("", (Message("user", ask), Message("assistant", calls=calls), *told), TOOLS)


ASK = "Read the soil moisture, then run the pump for 3 seconds."
A = Call("call_0", "read_soil_moisture", {})
B = Call("call_1", "run_pump", {"seconds": 3})


async def test_the_report():
    reply = await Offline().complete(turn(ASK, [(A, "41.2 %"), (B, "dispensed\nfor 3 s.")]))
    assert reply.calls == ()
    assert reply.text == (
        "(offline planner) read_soil_moisture: 41.2 %; run_pump: dispensed for 3 s."
    )


@pytest.mark.parametrize("text", ["error: no sensor", "Refused: 3 > 2", '{"error":"stuck"}'])
async def test_errors_are_reported_as_errors(text):
    reply = await Offline().complete(turn(ASK, [(A, text), (B, "done")]))
    assert reply.text == f"(offline planner) read_soil_moisture failed: {text}; run_pump: done."


async def test_calls_with_results_are_not_repeated_and_ids_are_new():
    reply = await Offline().complete(turn(ASK, [(A, "41.2 %")]))
    assert reply == Reply(
        "", (Call("call_1", "run_pump", {"seconds": 3}),), reply.tokens_in, reply.tokens_out
    )


async def test_the_report_keeps_what_was_left_out():
    reply = await Offline().complete(turn("temperature and run the pump", [(A, "20")]))
    assert [call.name for call in reply.calls] == ["read_temperature"]
    reply = await Offline().complete(turn("soil moisture and run the pump", [(A, "20")]))
    assert reply.text == (
        "(offline planner) read_soil_moisture: 20. I need seconds (s) to call run_pump."
    )


async def test_only_the_last_ask_counts():
    first = turn(ASK, [(A, "41.2 %"), (B, "ok")])
    again = (*first.messages, Message("assistant", "done"), Message("user", ASK))
    reply = await Offline().complete(Request("", again, TOOLS))
    assert [(call.id, call.name) for call in reply.calls] == [
        ("call_2", "read_soil_moisture"),
        ("call_3", "run_pump"),
    ]


async def test_tokens_are_estimates_and_the_cap_holds():
    request = Request("1234", (Message("user", "12345"),), TOOLS, max_tokens=10)
    reply = await Offline().complete(request)
    assert (reply.tokens_in, reply.tokens_out, reply.truncated) == (3, 10, True)
    assert len(reply.text) == 40


_VOCABULARY = "run pump the lamp fan on off and then , . ; ? \" ' 3 2.5 s % soil turn not if min -"
_WORDS = st.sampled_from([*_VOCABULARY.split(), "\n"])


@seed(7)
@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(max_size=200), st.lists(_WORDS, max_size=30).map(" ".join)))
async def test_any_text_gives_a_reply_that_a_schema_accepts(ask):
    reply = await Offline().complete(Request("", (Message("user", ask),), TOOLS))
    assert reply == await Offline().complete(Request("", (Message("user", ask),), TOOLS))
    assert reply.text or reply.calls
    names = [call.name for call in reply.calls]
    assert len(names) == len(set(names))
    for call in reply.calls:
        spec = next(spec for spec in TOOLS if spec.name == call.name)
        assert set(call.arguments) == set(spec.parameters["required"])
        json.dumps(call.arguments, allow_nan=False)
