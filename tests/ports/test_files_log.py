"""A log on the file medium: what was synced survives power cuts and failures at any operation."""

# not on boards: their log has a flash to itself

import disk as d
from disk import Disk
from helpers import PowerCut, Random, opened, raises
from mote_ports.files import FileMedium

RECORDS = 90


def _open(disk):
    return opened(FileMedium("log", 5, 1024, 1, disk))


def _work(disk, safe):
    """Append through several rounds of the ring; `safe` gets (number, hash) of what was synced."""
    log = _open(disk)
    for n in range(RECORDS):
        log.acked = max(0, log.synced - 5)
        log.append(2, b"%d" % n * (1 + n % 37))
        if n % 3 == 0:
            log.sync()
            safe.append((log.seq, log.head))
            log.tidy()


def _check(disk, safe):
    """A new life has all that was synced, and can go on."""
    log = _open(disk)
    if safe:
        assert log.seq >= safe[-1][0]
        assert log.hash_at(safe[-1][0]) == safe[-1][1]
    log.append(2, b"next")
    log.sync()
    assert _open(disk).head == log.head


def _whole():
    """(the disk after all the work, what was synced)"""
    disk, safe = Disk(1), []
    _work(disk, safe)
    assert disk.folder_syncs > 4
    return disk, safe


def test_a_power_cut_in_any_operation():
    random = Random(5)
    for operation, size in enumerate(_whole()[0].sizes):
        disk, safe = Disk(1), []
        disk.cut_at(operation, random.below(size + 1))
        raises(PowerCut, _work, disk, safe)
        for kind in d.KINDS:
            _check(disk.crash(kind, random), safe)


def test_an_operation_that_fails_costs_nothing_that_is_synced_later():
    random = Random(6)
    whole, everything = _whole()
    for operation in range(len(whole.sizes)):
        disk, safe = Disk(1), []
        disk.fail(operation, (5, 28)[operation % 2])
        _work(disk, safe)
        assert safe == everything
        for kind in (d.OLD, d.SECTORS, d.REORDERED):
            _check(disk.crash(kind, random), safe)
