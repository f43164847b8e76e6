"""The simulated greenhouse's physics: what goes on whether or not the device's process lives.

The world is one small JSON file, replaced as a whole (written beside it, synced, renamed) each
time an output changes. Between changes nothing is written: moisture and temperature follow in
closed form from the last state and the time since. So a killed process loses nothing, and the
pump, a hardware one-shot, stops on time without it. The counters say what was really done.

One process writes the file; any other may read it at any moment with json.load:
    at_us          wall time of this state: now_s in microseconds
    moisture       soil moisture at at_us, %, 0..100
    temperature    air temperature at at_us, degrees C
    lamp, fan      true while on
    pump_until_us  wall time at which the pump stops or stopped; it runs while that is ahead
    pump_starts    pump starts ordered
    pump_seconds   sum of the seconds ordered with them, also of runs that a reset cut short
    lamp_switches, fan_switches
                   changes by set_lamp and set_fan; orders that change nothing do not count
    resets         calls of reset_outputs

Every duration of the greenhouse, a pump's run included, is in simulated seconds: at a time_scale
of 60, a run of 30 s is over after half a second of wall time and has brought the same water.
"""

import json
import math
import os

DRYING = 0.02  # % of moisture lost per second
PUMPING = 1.5  # % of moisture gained per second of pump
AMBIENT = 21.0  # degrees C
LAMP_HEATS = 8.0
FAN_COOLS = 4.0
TIME_CONSTANT_S = 120.0
MAX_PUMP_S = 3600  # longest run that the one-shot takes

_MAX_FILE = 1024  # bytes
_COUNTERS = ("pump_starts", "pump_seconds", "lamp_switches", "fan_switches", "resets")
_WHOLE = ("at_us", "pump_until_us", "pump_starts", "lamp_switches", "fan_switches", "resets")
# Bounds of the keys that may be integers or floats.
_NUMBERS = {"moisture": (0, 100), "temperature": (-100, 200), "pump_seconds": (0, 1e12)}
_FLAGS = ("lamp", "fan")


class World:
    """The greenhouse in the file at `path` (str), made if it is absent.

    `now_s`: callable, wall time in seconds (int or float). It may jump back: no time has passed
    then, and a pump that runs keeps what is left of its run. `time_scale`: simulated seconds per
    second of now_s. A damaged file is kept as `path`.bad and the world starts over. Raises OSError
    where the file cannot be read or written; what could not be written has not been done.
    """

    def __init__(self, path, now_s, time_scale=1.0):
        self._path = path
        self._now_s = now_s
        self._scale = time_scale
        self._state = self._load()
        if self._state is None:
            self._save(_fresh(self._now_us()))

    def moisture(self):
        """Return the soil moisture in %, to one decimal."""
        self._state = self._advanced()
        return round(self._state["moisture"], 1)

    def temperature(self):
        """Return the air temperature in degrees C, to one decimal."""
        self._state = self._advanced()
        return round(self._state["temperature"], 1)

    def start_pump(self, seconds):
        """Start the pump for `seconds`, > 0 to MAX_PUMP_S, counted from now also if it runs.

        The start is counted and on the disk before this returns. Raises ValueError, counting
        nothing, if `seconds` is out of range.
        """
        if not 0 < seconds <= MAX_PUMP_S:  # false for nan, too
            raise ValueError("seconds is not in 0..%d" % MAX_PUMP_S)
        state = self._advanced()
        # Count and pump go to the disk as one: the count can be neither behind nor ahead.
        state["pump_starts"] += 1
        state["pump_seconds"] += seconds
        state["pump_until_us"] = state["at_us"] + int(seconds * 1000000 / self._scale)
        self._save(state)

    def set_lamp(self, on):
        """Switch the lamp on or off."""
        self._switch("lamp", on)

    def set_fan(self, on):
        """Switch the fan on or off."""
        self._switch("fan", on)

    def reset_outputs(self):
        """Do what a chip's reset does: all outputs off. Return the names of those that were on."""
        state = self._advanced()
        names = []
        if state["pump_until_us"] > state["at_us"]:
            state["pump_until_us"] = state["at_us"]
            names.append("pump")
        for name in ("lamp", "fan"):
            if state[name]:
                state[name] = False
                names.append(name)
        state["resets"] += 1
        self._save(state)
        return names

    def counters(self):
        """Return a dict of pump_starts, pump_seconds, lamp_switches, fan_switches, resets."""
        return {name: self._state[name] for name in _COUNTERS}

    def _switch(self, name, on):
        on = bool(on)
        state = self._advanced()
        if state[name] == on:
            self._state = state
            return
        state[name] = on
        state[name + "_switches"] += 1
        self._save(state)

    def _now_us(self):
        # MP: a board's floats have 24 bits, too few for wall time, so times are kept as integers.
        return int(self._now_s() * 1000000)

    def _advanced(self):
        # A copy of the state, moved to now. Both laws are exact over any span: moisture is made
        # of at most two straight lines (pump on, then off), temperature is one exponential.
        state = self._state.copy()
        now_us = self._now_us()
        start_us = state["at_us"]
        state["at_us"] = now_us
        if now_us < start_us:
            left_us = max(state["pump_until_us"] - start_us, 0)
            state["pump_until_us"] = now_us + left_us
            return state
        pumped_us = min(max(state["pump_until_us"] - start_us, 0), now_us - start_us)
        pumped_s = pumped_us * self._scale / 1000000
        elapsed_s = (now_us - start_us) * self._scale / 1000000
        wet = min(state["moisture"] + (PUMPING - DRYING) * pumped_s, 100.0)
        state["moisture"] = max(wet - DRYING * (elapsed_s - pumped_s), 0.0)
        target = AMBIENT
        if state["lamp"]:
            target += LAMP_HEATS
        if state["fan"]:
            target -= FAN_COOLS
        gap = state["temperature"] - target
        state["temperature"] = target + gap * math.exp(-elapsed_s / TIME_CONSTANT_S)
        return state

    def _load(self):
        # The state in the file; None if there is no file or if it is damaged.
        try:
            with open(self._path, "rb") as file:
                data = file.read(_MAX_FILE + 1)
        except OSError as error:
            if error.errno != 2:  # ENOENT
                raise
            return None
        state = _parsed(data)
        if state is None:
            os.rename(self._path, self._path + ".bad")
        return state

    def _save(self, state):
        # Adopts `state` only once it is on the disk.
        with open(self._path + ".tmp", "w") as file:
            file.write(json.dumps(state) + "\n")
            file.flush()  # MP: this syncs
            if hasattr(os, "fsync"):
                os.fsync(file.fileno())
        os.rename(self._path + ".tmp", self._path)
        self._state = state


def _fresh(now_us):
    state = {"at_us": now_us, "moisture": 38.0, "temperature": AMBIENT}
    state["lamp"] = state["fan"] = False
    state["pump_until_us"] = now_us
    for name in _COUNTERS:
        state[name] = 0
    return state


def _parsed(data):
    # The state in `data` if every key is there, of its type and in its bounds; else None.
    # MP: 1.25's json takes a text that is cut off; the one closing brace is at the very end.
    if len(data) > _MAX_FILE or not data.endswith(b"}\n"):
        return None
    try:
        state = json.loads(str(data, "utf-8"))
    except (ValueError, RuntimeError):  # RuntimeError: nested too deep
        return None
    return state if isinstance(state, dict) and _is_sound(state) else None


def _is_sound(state):
    # type(): CPython's bool is an int.
    if len(state) != len(_WHOLE) + len(_NUMBERS) + len(_FLAGS):
        return False
    for name in _WHOLE:
        if type(state.get(name)) is not int or state[name] < 0:
            return False
    for name, (low, high) in _NUMBERS.items():
        if type(state.get(name)) not in (int, float) or not low <= state[name] <= high:
            return False
    return all(type(state.get(name)) is bool for name in _FLAGS)
