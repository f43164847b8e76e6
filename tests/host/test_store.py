"""The store: claims, counters and declarations under two connections to one file."""

import stat
import threading

import pytest
from mote_host import store as store_module
from mote_host.errors import StoreError
from mote_host.store import Store, StoredReply, meet

ID = b"r" * 16


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "gateway.db"


@pytest.fixture
def store(path):
    store = Store(path)
    with store.transaction() as db:
        meet(db, "fern")
    yield store
    store.close()


@pytest.fixture
def twin(store):
    twin = Store(store.path)
    yield twin
    twin.close()


def give_nonce(store):
    with store.transaction() as db:
        db.execute("UPDATE devices SET nonce = ?", (b"n" * 8,))


def test_the_file_is_the_owners_alone_and_safe(store, path):
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with store.reading() as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert db.execute("PRAGMA synchronous").fetchone() == (2,)
        assert db.execute("PRAGMA foreign_keys").fetchone() == (1,)


def test_what_is_stored_outlives_the_process(store, path):
    give_nonce(store)
    assert store.take_counters("fern") == (b"n" * 8, 1)
    store.close()
    again = Store(path)
    assert again.take_counters("fern") == (b"n" * 8, 2)
    again.close()


def test_a_file_that_is_no_store(path):
    path.parent.mkdir()
    path.write_bytes(b"this is not SQLite at all, but long enough to be looked at " * 20)
    with pytest.raises(StoreError, match=r"gateway\.db: .*not a database"):
        Store(path)


def test_a_damaged_store(store, path):
    for n in range(50):
        store.note_unenrolled(f"device-{n}", n)
    store.close()
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xa5" * (len(data) - 4096)
    path.write_bytes(data)
    with pytest.raises(StoreError, match=r"gateway\.db: .*malformed"):
        Store(path).devices()


def test_another_schema(store, path):
    with store.transaction() as db:
        db.execute("PRAGMA user_version = 9")
    with pytest.raises(StoreError, match="schema 9 of another mote"):
        Store(path)


def test_an_older_schema_becomes_the_newest_and_keeps_what_it_holds(store, path):
    give_nonce(store)
    with store.transaction() as db:
        for index in ("gaps_told", "claims"):
            db.execute(f"DROP INDEX {index}")
        db.execute("PRAGMA user_version = 3")
    store.close()
    for _ in range(2):
        again = Store(path)
        assert again.gaps("fern") == []
        assert again.device("fern").nonce == b"n" * 8
        again.close()


def test_a_folder_that_can_not_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"file/gateway\.db"):
        Store(tmp_path / "file" / "gateway.db")


def test_a_failed_transaction_leaves_nothing(store):
    def broken():
        with store.transaction() as db:
            db.execute("UPDATE devices SET epoch = 5")
            raise KeyError

    with pytest.raises(KeyError):
        broken()
    assert store.device("fern").epoch == 0


def test_no_counter_before_a_hello(store):
    assert store.take_counters("fern") is None
    assert store.take_counters("moss") is None


def test_counters_of_two_processes_and_many_threads_are_never_equal(store, twin):
    give_nonce(store)
    taken = []

    def take(which):
        for _ in range(10):
            _, first = which.take_counters("fern", 3)
            taken.extend(range(first, first + 3))

    threads = [threading.Thread(target=take, args=(s,)) for s in (store, twin) * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(1, 181))


def test_one_claim_at_a_time(store, twin):
    assert store.claim("fern", ID, "a", 1000, 500)
    assert not twin.claim("fern", ID, "b", 1499, 500)
    assert not store.claim("fern", ID, "a", 1499, 500)
    store.renew("fern", ID, "a", 3000)
    store.renew("fern", ID, "b", 9000)  # not its own: changes nothing
    assert not twin.claim("fern", ID, "b", 2999, 500)
    assert twin.claim("fern", ID, "b", 3000, 500)
    assert store.owners() == ["b"]


def test_the_first_reply_counts(store, twin):
    assert store.claim("fern", ID, "a", 0, 1)
    assert twin.claim("fern", ID, "b", 1, 1)
    early = StoredReply("done", b"early", 1, 2, 3, "p", "m")
    assert store.reply("fern", ID) is None
    assert store.finish("fern", ID, early) == early
    assert twin.finish("fern", ID, StoredReply("failed", b"late")) == early
    assert twin.reply("fern", ID) == early
    assert not store.claim("fern", ID, "c", 99, 1)


def test_only_what_is_stored_is_sent(store, twin):
    assert store.claim("fern", ID, "a", 0, 9)
    assert twin.release("a") == 1  # taken for dead, perhaps
    assert store.finish("fern", ID, StoredReply("done", b"mine")) is None
    assert store.reply("fern", ID) is None
    assert twin.claim("fern", ID, "b", 0, 9)
    assert twin.finish("fern", ID, StoredReply("done", b"theirs")).body == b"theirs"
    assert store.finish("fern", ID, StoredReply("done", b"mine")).body == b"theirs"


def test_release(store):
    other = b"o" * 16
    store.claim("fern", ID, "a", 0, 9)
    store.claim("fern", other, "a", 0, 9)
    assert store.release("b") == 0
    assert store.release("a", "fern", ID) == 1
    assert store.claim("fern", ID, "b", 0, 9)
    assert store.release("a") == 1
    store.finish("fern", ID, StoredReply("done", b""))
    assert store.release("b") == 0
    assert store.reply("fern", ID) is not None


def test_unenrolled_devices_are_bounded(store, monkeypatch):
    monkeypatch.setattr(store_module, "MAX_UNENROLLED", 5)
    assert store.note_unenrolled("d0", 0)
    for n in range(1, 9):
        store.note_unenrolled(f"d{n}", n)
    assert not store.note_unenrolled("d5", 20)
    found = store.unenrolled()
    assert [row[0] for row in found] == ["d5", "d8", "d7", "d6", "d4"]
    assert found[0] == ("d5", 5, 20, 2)


def test_alarms_and_forgetting(store):
    assert not store.clear_alarm("fern")
    with store.transaction() as db:
        store_module.raise_alarm(db, "fern", "fork at record 3", 7)
        store_module.raise_alarm(db, "fern", "fork at record 3", 8)
        store_module.raise_alarm(db, "fern", "fork at or before record 2", 9)
    assert [(d.alarm, d.alarm_at) for d in store.devices()] == [("fork at record 3", 7)]
    with store.transaction() as db:
        store_module.raise_alarm(db, "fern", "its log lost records 3 to 5", 9)
    assert (store.device("fern").alarm, store.device("fern").alarm_at)[1] == 9
    assert store.clear_alarm("fern")
    assert (store.device("fern").alarm, store.device("fern").alarm_at) == (None, 0)
    store.claim("fern", ID, "a", 0, 9)
    assert store.forget("fern")
    assert not store.forget("fern")
    assert store.owners() == []
