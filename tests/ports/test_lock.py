"""One process owns a state folder. What several processes do: test_lock_race.py."""

# not on boards: there are no processes

import os

from helpers import raises
from mote_ports.files import exists, make_folders
from mote_ports.lock import Lock, Locked

_count = [0]


def _folder():
    _count[0] += 1
    path = "%s/lock%d" % (os.getenv("MOTE_TEST_TMP") or "/tmp/mote", _count[0])
    make_folders(path + "/owner")
    for name in os.listdir(path + "/owner"):
        os.remove(path + "/owner/" + name)
    return path


def _put(folder, owner):
    open(folder + "/owner/" + owner, "wb").close()


def _owners(folder):
    return os.listdir(folder + "/owner") if exists(folder + "/owner") else []


def _start(process):
    with open("/proc/%s/stat" % process, "rb") as f:
        stat = f.read()
    return str(stat[stat.rfind(b")") + 2 :].split()[19], "utf-8")


def _boot():
    with open("/proc/sys/kernel/random/boot_id") as f:
        return f.read()[:8]


def test_take_and_release():
    folder = _folder()
    lock = Lock(folder)
    for _ in range(3):
        lock.take()
        (owner,) = _owners(folder)
        assert owner.split("-")[1:] == [_start("self"), _boot()]
        lock.release()
        assert _owners(folder) == []
    lock.release()
    assert sorted(os.listdir(folder)) in ([], ["lock"])


def test_a_living_process_keeps_it():
    for boot in (_boot(), ""):  # not every sandbox shows which boot it is
        folder = _folder()
        owner = "1-%s-%s" % (_start(1), boot)
        _put(folder, owner)
        lock = Lock(folder)
        for _ in range(2):
            error = raises(Locked, lock.take)
            assert str(error) == "process 1 owns %s/lock" % folder
            lock.release()
        assert _owners(folder) == [owner]
        assert sorted(os.listdir(folder)) in (["owner"], ["lock", "owner"])


def test_neither_the_dead_nor_another_process_with_their_id_keeps_it():
    dead = "999999999-5-" + _boot()
    reused = "1-5-" + _boot()
    rebooted = "1-%s-00000000" % _start(1)
    for owners in ([], [dead], [reused], [rebooted], ["nonsense"], [dead, reused]):
        folder = _folder()
        for owner in owners:
            _put(folder, owner)
        lock = Lock(folder)
        lock.take()
        (owner,) = _owners(folder)
        assert owner not in owners
        lock.release()
        assert _owners(folder) == []


def test_a_process_that_began_anew_in_place_takes_it_again():
    folder = _folder()
    lock = Lock(folder)
    lock.take()
    (owner,) = _owners(folder)
    lock.release()
    make_folders(folder + "/owner")
    _put(folder, owner)
    lock.take()
    assert _owners(folder) == [owner]
    lock.release()
    assert _owners(folder) == []


def test_a_folder_that_is_absent_is_no_other_process():
    folder = _folder() + "/absent"
    error = raises(OSError, Lock(folder).take)
    assert error.args[0] == 2
