"""Keeper: what happens to memory and disk, and in which order, where roles begin and end. The test is the thread."""

import errno
from dataclasses import replace
from typing import Any

import pytest
from dataport import CONFIG
from heldworker import HeldWorker
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock as Reactor
from twisted.python.failure import Failure

from zktw.admin.stats import ServerStats
from zktw.node.clock import Clock, Random
from zktw.node.dataparts import make_database
from zktw.node.keeper import EXIT_BROKEN, Keeper
from zktw.sim.disk import SimDisk
from zktw.storage.datadir import DataDir
from zktw.storage.journal import Journal
from zktw.storage.recovery import Recovered, Rules, recover
from zktw.storage.snapshots import Snapshotter
from zktw.storage.txnlog import TxnLog
from zktw.terms.codes import OpCode
from zktw.tree.database import Database
from zktw.wire.records import OPEN_ACL
from zktw.wire.txn import CreateTxn, DeleteTxn, SetDataTxn, Txn, TxnHeader, encode_txn
from zktw.zab.committedlog import CommittedLog, Entry

DIRECTORY = "/d/version-2"
# More than rounding makes of the present moment.
TURN_S = 0.002
SNAP_COUNT = 20


def entry(zxid: int, type_: int, txn: Txn, digest: int | None = None) -> Entry:
    return zxid, encode_txn(TxnHeader(1, zxid, zxid, zxid, type_), txn, digest)


def create(zxid: int, data: bytes = b"x") -> Entry:
    """The node /nZXID."""
    return entry(zxid, OpCode.CREATE, CreateTxn(f"/n{zxid}", data, OPEN_ACL, False, zxid))


def replayed(entries: list[Entry]) -> Database:
    """What a start makes of these."""
    database = make_database(CONFIG)
    for _, payload in entries:
        database.replay(payload)
    return database


class Bench:
    """A keeper on a simulated disk, whose thread the test plays; log says what was asked of journal and snapshots."""

    def __init__(self, **options: Any) -> None:
        observer_logs = options.pop("observer_logs", True)
        self.config = replace(
            CONFIG,
            data=replace(CONFIG.data, snap_count=SNAP_COUNT, **options),
            replication=replace(CONFIG.replication, observer_logs=observer_logs),
            is_observer=not observer_logs,
        )
        self.disk = SimDisk(Random(1))
        self.datadir = DataDir(self.disk, "/d", "/d")
        self.datadir.prepare(True)
        self.worker = HeldWorker()
        self.reactor: Any = Reactor()
        self.failures: list[tuple[int, str]] = []
        self.persisted: list[int] = []
        committed = CommittedLog()
        recovered = self.recovered(self.disk, committed)
        committed.finish(recovered.database.last_zxid)
        clock = Clock(self.reactor)
        self.journal = Journal(self.datadir, self.worker, TxnLog(self.datadir), clock.now_ms)
        self.snapshotter = Snapshotter(self.datadir, self.worker, clock)
        self.keeper = Keeper(
            self.config,
            clock,
            Random(1),
            self.journal,
            self.snapshotter,
            ServerStats(),
            lambda status, reason: self.failures.append((status, reason)),
            recovered,
            committed,
        )
        self.keeper.on_persisted = self.persisted.append

    def recovered(self, disk: SimDisk, committed: CommittedLog) -> Recovered:
        """What a start finds on a disk."""
        datadir = DataDir(disk, "/d", "/d")
        return recover(datadir, lambda: make_database(self.config), Rules(epochs=False), committed.append)

    def found(self) -> Database:
        """What a start finds if the power goes now, and takes all that it may."""
        return self.recovered(self.disk.after_worst(Random(1)), CommittedLog()).database

    def append(self, *entries: Entry) -> None:
        for zxid, payload in entries:
            self.keeper.append(zxid, payload)
        self.keeper.flush()

    def run(self) -> None:
        """Let thread and reactor do all there is."""
        while self.worker.held or self.reactor.getDelayedCalls():
            if self.worker.held:
                self.worker.let()
            self.reactor.advance(TURN_S)

    def write(self, *entries: Entry) -> None:
        """These are on disk, and have happened."""
        self.append(*entries)
        self.run()
        self.keeper.apply(entries)

    def names(self, prefix: str) -> list[str]:
        return [name for name in self.disk.list(DIRECTORY) if name.startswith(prefix)]


def nodes_of(database: Database) -> dict[str, bytes]:
    return {path: record[8:] for path, record in database.tree.nodes.items()}


# -- roles end -------------------------------------------------------------------------------------------------------


def test_what_is_logged_happens_once_it_is_on_disk_and_nobody_is_told() -> None:
    bench = Bench()
    bench.append(create(1))
    bench.append(create(2))
    done = bench.keeper.settle([create(1), create(2)])
    # The first is with the thread, the second behind it.
    assert len(bench.worker.held) == 1
    assert not done.called
    bench.worker.let()
    assert not done.called
    assert bench.keeper.database.last_zxid == 0
    bench.worker.let()
    assert done.called
    assert bench.keeper.database.last_zxid == 2
    assert [zxid for zxid, _ in bench.keeper.committed] == [1, 2]
    assert bench.persisted == []
    assert nodes_of(bench.found()) == nodes_of(bench.keeper.database)


def test_where_nothing_is_under_way_it_happens_at_once() -> None:
    bench = Bench()
    bench.write(create(1))
    assert bench.persisted == [1]
    assert bench.keeper.settle([]).called
    assert bench.keeper.database.last_zxid == 1


def test_what_is_applied_is_what_would_be_replayed() -> None:
    """Plain setData, others that only look so, and what is none; digests and the memory for learners included."""
    entries = [create(1), create(2)]
    config = ("/zookeeper/config", b"server.1=a:1:2")
    for zxid, (path, data) in enumerate((("/n1", b"abc"), ("/n2", b""), ("/n1", None), ("/gone", b"x"), config), 3):
        entries.append(entry(zxid, OpCode.SET_DATA, SetDataTxn(path, data, 1)))
    entries.append(entry(8, OpCode.DELETE, DeleteTxn("/n2")))
    digest = replayed(entries).tree.digest
    # One that its maker had another tree for is counted, and happens.
    entries.append(entry(9, OpCode.SET_DATA, SetDataTxn("/n1", b"last", 3), digest ^ 1))
    # What changes nothing has happened too.
    entries.append(entry(10, OpCode.SET_DATA, SetDataTxn("/gone", b"x", 1)))
    bench = Bench()
    bench.keeper.apply(entries)
    ours, theirs = bench.keeper.database, replayed(entries)
    assert ours.tree.nodes == theirs.tree.nodes
    assert (ours.tree.digest, ours.tree.data_bytes) == (theirs.tree.digest, theirs.tree.data_bytes)
    assert (ours.last_zxid, ours.digest_mismatches) == (theirs.last_zxid, theirs.digest_mismatches) == (10, 1)
    assert list(bench.keeper.committed) == entries


# -- another history -------------------------------------------------------------------------------------------------


class Noted:
    """Says in which order a keeper works on its disk."""

    def __init__(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps: list[Any] = []
        for owner, name in (
            (bench.journal, "forget_after"),
            (bench.journal, "append"),
            (bench.snapshotter, "take"),
            (bench.keeper, "reset"),
        ):
            monkeypatch.setattr(owner, name, self._noting(name, getattr(owner, name)))

    def _noting(self, name: str, real: Any) -> Any:
        def noting(*args: Any) -> Any:
            self.steps.append(name)
            result = real(*args)
            if isinstance(result, Deferred):
                result.addCallback(self._ended, name)
            return result

        return noting

    def _ended(self, result: Any, name: str) -> Any:
        self.steps.append(f"{name} is done")
        return result


def test_another_history_is_ours_when_its_tree_is_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    bench.write(*(create(zxid) for zxid in range(1, 6)))
    former = bench.keeper.database
    leaders = replayed([create(1), create(2), create(3, b"the leader's")])
    noted = Noted(bench, monkeypatch)
    done: list[None] = []
    bench.keeper.replace(leaders).addCallback(done.append)
    assert bench.keeper.database is former
    whole = [nodes_of(former), nodes_of(replayed([create(1), create(2), create(3)])), nodes_of(leaders)]
    while bench.worker.held or bench.reactor.getDelayedCalls():
        # Whenever the server dies on the way, it finds one history or the other, or what they share; no mixture.
        assert not done
        assert bench.keeper.database is former
        assert list(bench.keeper.committed)
        assert nodes_of(bench.found()) in whole
        if bench.worker.held:
            bench.worker.let()
        bench.reactor.advance(TURN_S)
    assert done
    assert noted.steps == ["forget_after", "forget_after is done", "take", "take is done", "reset"]
    assert bench.keeper.database is leaders
    assert (list(bench.keeper.committed), bench.keeper.committed.first) == ([], 3)
    assert nodes_of(bench.found()) == nodes_of(leaders)
    assert "snapshot.3" in bench.names("snapshot.")


def test_what_follows_another_history_goes_behind_it() -> None:
    bench = Bench()
    bench.write(*(create(zxid) for zxid in range(1, 6)))
    leaders = [create(1), create(2), create(3, b"the leader's")]
    bench.keeper.replace(replayed(leaders))
    bench.run()
    bench.write(create(4, b"the leader's too"))
    assert nodes_of(bench.found()) == nodes_of(replayed([*leaders, create(4, b"the leader's too")]))
    assert "log.4" in bench.names("log.")


def test_another_history_is_a_snapshot_and_makes_none_due() -> None:
    bench = Bench()
    bench.write(*(create(zxid) for zxid in range(1, SNAP_COUNT + 2)))
    bench.keeper.replace(replayed([create(1)]))
    bench.run()
    bench.keeper.maybe_snapshot()
    assert not bench.snapshotter.busy


def test_a_snapshot_of_the_former_history_is_given_up_first(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    bench.write(create(1), create(2))
    snapshot: list[Any] = []
    bench.snapshotter.take(bench.keeper.database.image()).addBoth(snapshot.append)
    assert bench.snapshotter.busy
    noted = Noted(bench, monkeypatch)
    done: list[None] = []
    bench.keeper.replace(replayed([create(1)])).addCallback(done.append)
    # Two at a time there are none, and the log is left alone meanwhile.
    assert noted.steps == []
    bench.run()
    assert snapshot == [None]
    assert done
    assert bench.keeper.database.last_zxid == 1
    assert not [name for name in bench.names("snapshot.") if name.endswith(".2")]


def test_an_observer_that_keeps_nothing_has_another_history_at_once() -> None:
    bench = Bench(observer_logs=False)
    assert not bench.keeper.is_logging
    leaders = replayed([create(1)])
    before = bench.disk.list(DIRECTORY)
    assert bench.keeper.replace(leaders).called
    assert bench.keeper.database is leaders
    assert not bench.worker.held
    assert bench.disk.list(DIRECTORY) == before


# -- snapshots -------------------------------------------------------------------------------------------------------


def due(bench: Bench, first: int = 1) -> int:
    """One transaction after the other, until a snapshot is taken; the last zxid."""
    for zxid in range(first, first + SNAP_COUNT + 1):
        bench.write(create(zxid))
        bench.keeper.maybe_snapshot()
        if bench.snapshotter.busy:
            return zxid
    raise AssertionError("no snapshot")


def test_a_snapshot_is_taken_when_it_is_due_and_the_log_begins_a_new_file() -> None:
    bench = Bench()
    before = bench.names("snapshot.")
    last = due(bench)
    assert SNAP_COUNT // 2 < last <= SNAP_COUNT
    bench.run()
    assert bench.names("snapshot.") == sorted([*before, f"snapshot.{last:x}"])
    # It is counted anew from there.
    bench.keeper.maybe_snapshot()
    assert not bench.snapshotter.busy
    again = due(bench, last + 1)
    assert again - last > SNAP_COUNT // 2
    bench.run()
    assert bench.names("log.") == sorted(["log.1", f"log.{last + 1:x}"])
    assert nodes_of(bench.found()) == nodes_of(bench.keeper.database)


def test_bytes_make_one_due_too() -> None:
    bench = Bench(snap_size_limit_kb=4)
    bench.write(create(1, bytes(1000)))
    bench.keeper.maybe_snapshot()
    assert not bench.snapshotter.busy
    bench.write(create(2, bytes(4000)))
    bench.keeper.maybe_snapshot()
    assert bench.snapshotter.busy
    bench.run()


def test_one_that_is_due_while_another_is_written_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    bench.append(*(create(zxid) for zxid in range(1, SNAP_COUNT + 2)))
    bench.worker.let()
    bench.keeper.maybe_snapshot()
    assert bench.snapshotter.busy
    noted = Noted(bench, monkeypatch)
    bench.keeper._txns_since_roll = SNAP_COUNT + 1
    bench.keeper.maybe_snapshot()
    assert "take" not in noted.steps
    # It is left out, not put off.
    bench.run()
    bench.keeper.maybe_snapshot()
    assert "take" not in noted.steps


def test_a_server_that_stops_takes_none() -> None:
    bench = Bench()
    bench.append(*(create(zxid) for zxid in range(1, SNAP_COUNT + 2)))
    done = bench.keeper.stop()
    assert not done.called
    bench.worker.let()
    assert done.called
    bench.keeper.maybe_snapshot()
    assert not bench.snapshotter.busy


def test_a_snapshot_that_cannot_be_written_ends_the_server() -> None:
    bench = Bench()
    due(bench)

    def refuse(name: str, path: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", path)

    bench.disk.before = refuse
    bench.run()
    ((status, reason),) = bench.failures
    assert status == 10
    assert "No space left on device" in reason


# -- failures --------------------------------------------------------------------------------------------------------


def test_a_log_that_cannot_be_written_ends_the_server_and_nothing_is_acknowledged() -> None:
    bench = Bench()

    def refuse(name: str, path: str) -> None:
        raise OSError(errno.EIO, "Input/output error", path)

    bench.append(create(1))
    bench.disk.before = refuse
    bench.run()
    ((status, reason),) = bench.failures
    assert status == 1
    assert "Input/output error" in reason
    assert bench.persisted == []


def test_a_bug_ends_the_server_with_a_status_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    told: list[Failure] = []
    monkeypatch.setattr("zktw.node.keeper.log.failure", lambda text, failure: told.append(failure))

    def fails(zxid: int) -> None:
        raise KeyError(zxid)

    bench.keeper.on_persisted = fails
    bench.append(create(1))
    bench.run()
    assert bench.failures == [(EXIT_BROKEN, "a bug: KeyError(1)")]
    assert len(told) == 1
