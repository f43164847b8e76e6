"""The simulated greenhouse: its physics under a fake clock, its counters, its file."""

import json
import os
import time

from mote_device import world
from mote_device.world import World

START_S = 1785000000
ZEROS = {"pump_starts": 0, "pump_seconds": 0, "lamp_switches": 0, "fan_switches": 0, "resets": 0}
KEYS = sorted(ZEROS)
KEYS.extend(("at_us", "moisture", "temperature", "lamp", "fan", "pump_until_us"))


class Greenhouse:
    """A clock that the test moves, and a world file that is removed on leaving."""

    def __enter__(self):
        base = os.getenv("MOTE_TEST_TMP") or "/tmp"
        self.folder = f"{base}/mote-world-{time.time_ns()}-{id(self)}"
        os.mkdir(self.folder)
        self.path = self.folder + "/world.json"
        self.now_s = START_S
        return self

    def __exit__(self, *exc):
        for name in os.listdir(self.folder):
            os.remove(self.folder + "/" + name)
        os.rmdir(self.folder)

    def open(self, time_scale=1.0):
        """Start a process: a World over the same file and clock."""
        return World(self.path, lambda: self.now_s, time_scale)

    def saved(self):
        """What another process sees."""
        with open(self.path) as file:
            return json.load(file)

    def read(self, name="world.json"):
        with open(self.folder + "/" + name, "rb") as file:
            return file.read()

    def write(self, data):
        with open(self.path, "wb") as file:
            file.write(data)

    def names(self):
        return sorted(os.listdir(self.folder))


def raises(error, call, *args):
    try:
        call(*args)
    except error:
        return True
    return False


def close_to(value, expected):
    return abs(value - expected) < 0.051


def test_a_new_world():
    with Greenhouse() as house:
        new = house.open()
        assert (new.moisture(), new.temperature()) == (38.0, 21.0)
        assert new.counters() == ZEROS
        saved = house.saved()
        assert sorted(saved) == sorted(KEYS)
        assert (saved["lamp"], saved["fan"]) == (False, False)
        assert saved["pump_until_us"] == saved["at_us"] == START_S * 1000000
        assert house.names() == ["world.json"]


def test_the_soil_dries_to_zero_and_no_further():
    with Greenhouse() as house:
        soil = house.open()
        house.now_s += 100
        assert soil.moisture() == 36.0
        house.now_s += 0.5
        assert close_to(soil.moisture(), 35.99)
        house.now_s += 1799.5
        assert soil.moisture() == 0.0
        house.now_s += 100 * 365 * 86400
        assert soil.moisture() == 0.0


def test_the_pump_waters_for_as_long_as_it_was_told():
    with Greenhouse() as house:
        soil = house.open()
        soil.start_pump(10)
        house.now_s += 5
        assert close_to(soil.moisture(), 38 + 5 * 1.48)
        house.now_s += 5
        assert close_to(soil.moisture(), 38 + 10 * 1.48)
        house.now_s += 100
        assert close_to(soil.moisture(), 38 + 10 * 1.48 - 2)


def test_the_soil_takes_no_more_than_all_water():
    with Greenhouse() as house:
        soil = house.open()
        soil.start_pump(60)
        house.now_s += 60
        assert soil.moisture() == 100.0
        house.now_s += 100
        assert soil.moisture() == 98.0


def test_one_step_or_many_come_to_the_same():
    with Greenhouse() as house:
        steps = house.open()
        steps.set_lamp(True)
        steps.start_pump(7.5)
        leap = house.open()
        for _ in range(64):
            house.now_s += 0.25
            steps.moisture()
            steps.temperature()
        assert steps.moisture() == leap.moisture()
        assert steps.temperature() == leap.temperature()
        assert leap.moisture() > 48


def test_the_temperature_relaxes_to_what_lamp_and_fan_make_of_it():
    with Greenhouse() as house:
        air = house.open()
        air.set_lamp(True)
        house.now_s += 120
        assert close_to(air.temperature(), 21 + 8 * (1 - 0.36788))
        house.now_s += 6000
        assert air.temperature() == 29.0
        air.set_fan(True)
        house.now_s += 120
        assert close_to(air.temperature(), 25 + 4 * 0.36788)
        air.set_lamp(False)
        house.now_s += 1e10
        assert air.temperature() == 17.0
        air.set_fan(False)
        house.now_s += 6000
        assert air.temperature() == 21.0


def test_the_time_scale_holds_for_everything():
    with Greenhouse() as house:
        fast = house.open(time_scale=60.0)
        fast.start_pump(30)
        fast.set_lamp(True)
        house.now_s += 0.25
        assert close_to(fast.moisture(), 38 + 15 * 1.48)
        house.now_s += 0.25
        assert close_to(fast.moisture(), 38 + 30 * 1.48)
        assert fast.reset_outputs() == ["lamp"]
        house.now_s += 1.5
        assert close_to(fast.moisture(), 38 + 30 * 1.48 - 90 * 0.02)
        assert fast.counters()["pump_seconds"] == 30


def test_a_short_run_at_the_highest_scale_still_brings_its_water():
    with Greenhouse() as house:
        fast = house.open(time_scale=1000.0)
        fast.start_pump(0.5)
        house.now_s += 1
        assert close_to(fast.moisture(), 38 + 0.75 - 20)


def test_a_start_is_on_the_disk_when_the_call_returns():
    with Greenhouse() as house:
        house.open().start_pump(3)
        saved = house.saved()
        assert (saved["pump_starts"], saved["pump_seconds"]) == (1, 3)
        assert saved["pump_until_us"] == (START_S + 3) * 1000000


def test_the_pump_stops_although_the_process_died():
    with Greenhouse() as house:
        house.open().start_pump(10)
        house.now_s += 1000
        after = house.open()
        assert close_to(after.moisture(), 38 + 15 - 20)
        assert after.reset_outputs() == []


def test_a_restart_loses_nothing():
    with Greenhouse() as house:
        first = house.open()
        first.set_lamp(True)
        first.start_pump(4)
        house.now_s += 50
        seen = (first.moisture(), first.temperature(), first.counters())
        second = house.open()
        assert (second.moisture(), second.temperature(), second.counters()) == seen


def test_a_start_while_the_pump_runs_counts_from_now():
    with Greenhouse() as house:
        soil = house.open()
        soil.start_pump(10)
        house.now_s += 5
        soil.start_pump(10)
        house.now_s += 100
        assert close_to(soil.moisture(), 38 + 15 * 1.5 - 105 * 0.02)
        assert soil.counters()["pump_starts"] == 2
        assert soil.counters()["pump_seconds"] == 20


def test_bad_pump_times_are_refused_and_not_counted():
    with Greenhouse() as house:
        soil = house.open()
        before = house.read()
        for seconds in (0, -1, world.MAX_PUMP_S + 1, float("nan"), float("inf")):
            assert raises(ValueError, soil.start_pump, seconds), seconds
        assert soil.counters() == ZEROS
        assert house.read() == before
        soil.start_pump(world.MAX_PUMP_S)
        assert soil.counters()["pump_starts"] == 1


def test_only_changes_of_lamp_and_fan_count():
    with Greenhouse() as house:
        box = house.open()
        for on in (False, True, True, 1, False, True):
            box.set_lamp(on)
        for on in (True, True, False):
            box.set_fan(on)
        counters = box.counters()
        assert (counters["lamp_switches"], counters["fan_switches"]) == (3, 2)
        saved = house.saved()
        assert (saved["lamp"], saved["fan"]) == (True, False)
        assert (saved["lamp_switches"], saved["fan_switches"]) == (3, 2)


def test_reading_writes_nothing():
    with Greenhouse() as house:
        box = house.open()
        before = house.read()
        house.now_s += 1000
        box.moisture()
        box.temperature()
        box.counters()
        box.set_fan(False)
        assert house.read() == before


def test_a_reset_switches_everything_off():
    with Greenhouse() as house:
        box = house.open()
        assert box.reset_outputs() == []
        box.start_pump(10)
        box.set_fan(True)
        box.set_lamp(True)
        house.now_s += 2
        assert house.open().reset_outputs() == ["pump", "lamp", "fan"]
        again = house.open()
        assert again.reset_outputs() == []
        house.now_s += 8
        assert close_to(again.moisture(), 38 + 2 * 1.5 - 10 * 0.02)
        ones = {"pump_starts": 1, "pump_seconds": 10, "lamp_switches": 1, "fan_switches": 1}
        assert again.counters() == ones | {"resets": 3}
        assert house.saved()["resets"] == 3


def test_a_clock_that_jumps_back():
    with Greenhouse() as house:
        box = house.open()
        house.now_s += 100
        box.start_pump(10)
        house.now_s += 4
        assert close_to(box.moisture(), 36 + 4 * 1.48)
        house.now_s -= 50000
        assert close_to(box.moisture(), 36 + 4 * 1.48)
        house.now_s += 100
        assert close_to(box.moisture(), 36 + 10 * 1.5 - 104 * 0.02)
        assert box.temperature() == 21.0


def test_a_jump_back_far_behind_the_last_run_leaves_a_sound_file():
    with Greenhouse() as house:
        box = house.open()
        box.start_pump(1)
        house.now_s += 1e6
        box.set_fan(True)
        house.now_s = 5
        box.set_lamp(True)
        assert house.saved()["pump_until_us"] == house.saved()["at_us"] == 5000000
        assert house.open().counters()["lamp_switches"] == 1
        assert house.names() == ["world.json"]


def test_a_file_cut_at_any_byte_is_kept_aside_and_the_world_starts_over():
    with Greenhouse() as house:
        house.open().start_pump(12)
        whole = house.read()
        for end in range(len(whole)):
            house.write(whole[:end])
            fresh = house.open()
            assert fresh.counters() == ZEROS, end
            assert house.names() == ["world.json", "world.json.bad"]
            assert house.read("world.json.bad") == whole[:end]
            assert house.saved()["pump_starts"] == 0
        house.write(whole)
        assert house.open().counters()["pump_starts"] == 1


def test_a_file_that_is_wrong_in_one_key():
    wrong = {
        "at_us": (1.5, -1, True, None),
        "moisture": ("38", -0.1, 100.1, True),
        "temperature": (None, 1000, -300.0, []),
        "lamp": (0, 1, "on", None),
        "fan": (0, 1, {}, None),
        "pump_until_us": (1e3, -5, False),
        "pump_starts": (1.0, -1, "1", True),
        "pump_seconds": (-1, "0", None),
        "lamp_switches": (0.0, -1),
        "fan_switches": (0.0, None),
        "resets": ("", -2),
    }
    assert sorted(wrong) == sorted(KEYS)
    with Greenhouse() as house:
        house.open().set_lamp(True)
        sound = house.saved()
        for name in KEYS:
            cases = [sound | {name: value} for value in wrong[name]]
            missing = dict(sound)
            del missing[name]
            cases.extend((missing, missing | {name + "_": sound[name]}, sound | {"more": 1}))
            for case in cases:
                house.write((json.dumps(case) + "\n").encode())
                assert house.open().counters() == ZEROS, (name, case)
        house.write((json.dumps(sound) + "\n").encode())
        assert house.open().counters()["lamp_switches"] == 1


def test_files_that_are_nothing_like_a_world():
    with Greenhouse() as house:
        for data in (
            b"",
            b"\n",
            b"[]}\n",
            b"{}\n",
            b"\xff\xfe}\n",
            b"[" * 1020 + b"}\n",
        ):
            house.write(data)
            assert house.open().counters() == ZEROS, data
            assert house.read("world.json.bad") == data
        house.write(b" " * 5000 + b"{}\n")
        assert house.open().moisture() == 38.0


def test_a_left_over_of_a_killed_write_does_no_harm():
    with Greenhouse() as house:
        house.open().start_pump(1)
        with open(house.path + ".tmp", "w") as file:
            file.write('{"pump_sta')
        again = house.open()
        assert again.counters()["pump_starts"] == 1
        again.start_pump(1)
        assert house.saved()["pump_starts"] == 2
        assert house.names() == ["world.json"]


def test_what_could_not_be_written_has_not_been_done():
    with Greenhouse() as house:
        box = house.open()
        os.mkdir(house.path + ".tmp")  # where the next state would be written
        assert raises(OSError, box.start_pump, 5)
        assert raises(OSError, box.set_lamp, True)
        assert raises(OSError, box.reset_outputs)
        os.rmdir(house.path + ".tmp")
        assert box.counters() == ZEROS
        house.now_s += 100
        assert (box.moisture(), box.temperature()) == (36.0, 21.0)


def test_a_world_that_cannot_be_made_is_an_error():
    with Greenhouse() as house:
        for path in (house.folder, house.folder + "/absent/world.json"):
            assert raises(OSError, World, path, lambda: START_S), path
