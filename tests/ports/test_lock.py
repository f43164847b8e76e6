"""One process owns a state folder."""

import os

from mote_ports.files import exists, make_folders
from mote_ports.lock import Lock, Locked


def _folder(name):
    path = "%s/lock-%s" % (os.getenv("MOTE_TEST_TMP") or "/tmp", name)
    make_folders(path)
    if exists(path + "/lock"):
        os.remove(path + "/lock")
    return path


def _owner(folder, text):
    with open(folder + "/lock", "w") as f:
        f.write(text)


def test_take_and_release():
    folder = _folder("own")
    lock = Lock(folder)
    lock.take()
    assert exists(folder + "/lock")
    Lock(folder).take()  # the same process may take it again, after a restart within
    lock.release()
    assert not exists(folder + "/lock")


def test_a_living_process_keeps_it():
    folder = _folder("living")
    with open("/proc/1/stat") as f:
        stat = f.read()
    _owner(folder, "1 " + stat[stat.rfind(")") + 2 :].split()[19])
    try:
        Lock(folder).take()
    except Locked as e:
        assert "process 1 " in str(e)
    else:
        raise AssertionError("taken from a living process")
    Lock(folder).release()
    assert exists(folder + "/lock")


def test_a_dead_process_or_a_reused_id_does_not():
    for owner in ("999999999 5", "1 5"):
        folder = _folder("dead")
        _owner(folder, owner)
        Lock(folder).take()
        Lock(folder).release()
        assert not exists(folder + "/lock")
