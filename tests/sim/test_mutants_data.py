"""The checkers of the data service can fail: servers broken on purpose are caught, each within a few dozen seeds."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from seeded import acknowledge_before_the_write, caught_as

from zktw.pipeline.handshakes import Handshakes
from zktw.pipeline.request import Client, Request
from zktw.pipeline.service import DataService
from zktw.sim.data_faults import DataFaults
from zktw.sim.data_run import DataOutcome, data_shape_of, run_data_seed
from zktw.sim.disk import SimDisk
from zktw.storage.datadir import DataDir, zxid_of_name
from zktw.storage.journal import Journal
from zktw.storage.logformat import LogReader
from zktw.storage.snapshots import _SnapshotFile
from zktw.storage.txnlog import TxnLog
from zktw.terms.errors import StorageError
from zktw.tree.database import Database
from zktw.tree.datatree import DataTree
from zktw.tree.image import Image
from zktw.tree.node import children_of
from zktw.tree.watches import WatchManager
from zktw.wire.txn import ErrorTxn

SEEDS = range(1, 61)


def caught(*words: str, faults: DataFaults | None = None) -> DataOutcome:
    """The first finding in the seeds; it must be of an expected kind."""
    return caught_as(words, lambda seed: run_data_seed(seed, data_shape_of(seed, faults=faults)), SEEDS)


# -- the disk ----------------------------------------------------------------------------------------------------------


def test_acknowledged_before_the_log_is_synced(monkeypatch: pytest.MonkeyPatch) -> None:
    begin = TxnLog.__init__

    def __init__(self: TxnLog, *args: Any, **kwargs: Any) -> None:
        begin(self, *args, **kwargs | {"sync": False})

    monkeypatch.setattr(TxnLog, "__init__", __init__)
    caught("durable", "session")


def test_acknowledged_when_the_write_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    acknowledge_before_the_write(monkeypatch, Journal)
    caught("durable", "session", "AssertionError", "logged")


def test_log_without_a_durable_name(monkeypatch: pytest.MonkeyPatch) -> None:
    sync_directory = SimDisk.sync_directory

    def only_snapshots(self: SimDisk, path: str) -> None:
        if not path.startswith("/logs/"):
            sync_directory(self, path)

    monkeypatch.setattr(SimDisk, "sync_directory", only_snapshots)
    caught("durable", "session")


def test_torn_entry_taken_for_a_whole_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tail that is only left where it is does no harm: the next file goes on from there, as Apache's do."""
    monkeypatch.setattr(LogReader, "_defect_of", lambda self, payload, checksum, trailer: "")
    caught("status 3", "durable")


def test_what_recovery_reads_is_not_made_durable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SimDisk, "sync", lambda self, path: None)
    caught("durable", "refuse", "status 3")


def test_snapshot_without_a_durable_name(monkeypatch: pytest.MonkeyPatch) -> None:
    finish = _SnapshotFile._finish

    def _finish(self: Any, data: bytes) -> None:
        files = self._files
        self._files = _Without(files, "sync_directory")
        finish(self, data)
        self._files = files

    monkeypatch.setattr(_SnapshotFile, "_finish", _finish)
    caught("durable", "refuse", "status 3", "D5")


class _Without:
    """Files, of which one operation does nothing."""

    def __init__(self, files: Any, operation: str) -> None:
        self._files = files
        self._operation = operation

    def __getattr__(self, name: str) -> Any:
        return (lambda *args: None) if name == self._operation else getattr(self._files, name)


def test_snapshot_without_a_durable_content(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zktw.sim.disk.SimFile.sync", lambda self: None)
    caught("durable", "refuse", "status 3", "D5")


def test_snapshot_named_by_a_zxid_that_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    image = Database.image

    def later(self: Database) -> Image:
        taken = image(self)
        taken.zxid += 1
        return taken

    monkeypatch.setattr(Database, "image", later)
    caught("D5", "durable", "C2", "session", "digest")


def test_purge_of_a_log_that_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    purge = DataDir.purge

    def eager(self: DataDir, retain: int) -> list[str]:
        removed = purge(self, retain)
        newest = [name for name in self.snapshot_names() if self.is_whole(name)][-1]
        needed = [name for name in self.log_names() if zxid_of_name(name) <= zxid_of_name(newest)]
        for name in needed[-1:]:
            self.files.remove(f"{self.logs}/{name}")
        return removed

    monkeypatch.setattr(DataDir, "purge", eager)
    caught("durable", "D5", "refuse", "status 3", "status 10", "logged")


def test_service_that_goes_on_after_a_write_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    write = TxnLog.write

    def careless(self: TxnLog, zxid: int, data: bytes) -> int:
        try:
            return write(self, zxid, data)
        except StorageError:
            self._failed = ""
            return len(data)

    monkeypatch.setattr(TxnLog, "write", careless)
    caught("durable", "session")


# -- the tree and the sessions -----------------------------------------------------------------------------------------


def test_sequence_number_from_the_count_of_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zktw.pipeline.prep.cversion_of", children_of)
    caught("log", "sequence")


def test_ephemerals_of_an_ended_session_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DataTree, "remove_ephemerals", lambda self, header, paths: None)
    caught("read", "C2", "D5", "digest", "log", "watch")


def test_multi_that_keeps_what_came_before_its_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    multi = DataTree._multi

    def half(self: DataTree, header: Any, txns: Any) -> Any:
        whole = multi(self, header, txns)
        if not any(isinstance(txn, ErrorTxn) for _, txn in txns):
            return whole
        outcome = multi(self, header, [(type_, txn) for type_, txn in txns if not isinstance(txn, ErrorTxn)])
        whole.parts[: len(outcome.parts)] = outcome.parts
        return whole

    monkeypatch.setattr(DataTree, "_multi", half)
    caught("multi", "read", "D5", "log", "watch")


def test_session_acknowledged_before_it_is_durable(monkeypatch: pytest.MonkeyPatch) -> None:
    begin = Handshakes._begin_session

    def hasty(self: Handshakes, client: Client, timeout_ms: int) -> None:
        begin(self, client, timeout_ms)
        assert client.session is not None
        self.welcome(client, client.session)

    monkeypatch.setattr(Handshakes, "_begin_session", hasty)
    caught("session")


def test_session_ids_that_begin_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zktw.pipeline.sessions.first_session_id", lambda sid, wall_ms: 1 << 56)
    caught("session")


def test_sessions_judged_by_a_stall_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zktw.pipeline.sessions.STALL_MS", 1e9)
    caught("session", faults=replace(DataFaults.none(), pause_every_ms=3000))


# -- what clients are told ---------------------------------------------------------------------------------------------


def test_reads_that_overtake_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    on_frame = DataService.on_frame

    def hasty(self: DataService, client: Client, frame: bytes) -> None:
        waiting = client.waiting
        client.waiting = type(waiting)()
        on_frame(self, client, frame)
        waiting.extend(client.waiting)
        client.waiting = waiting

    monkeypatch.setattr(DataService, "on_frame", hasty)
    caught("C1")


def _late_events(monkeypatch: pytest.MonkeyPatch, when: Callable[[DataService, Callable[[], None]], None]) -> None:
    deliver = DataService._deliver

    def _deliver(self: DataService, events: Any, zxid: int) -> None:
        when(self, partial(deliver, self, events, zxid))

    monkeypatch.setattr(DataService, "_deliver", _deliver)


def test_events_behind_the_replies_that_show_them(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting: list[Callable[[], None]] = []
    commit = DataService.commit

    def late(self: DataService, *args: Any) -> Any:
        applied = commit(self, *args)
        while waiting:
            waiting.pop()()
        return applied

    monkeypatch.setattr(DataService, "commit", late)
    _late_events(monkeypatch, lambda service, deliver: waiting.append(deliver))
    caught("watch")


def test_events_that_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    _late_events(monkeypatch, lambda service, deliver: None)
    caught("watch")


def test_watch_that_fires_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    fire = WatchManager._fire

    def again(self: WatchManager, mode: int, path: str, told: dict[int, None]) -> None:
        before = set(told)
        fire(self, mode, path, told)
        for watcher in set(told) - before:
            self.add(watcher, path, mode)

    monkeypatch.setattr(WatchManager, "_fire", again)
    caught("watch")


def test_who_comes_back_is_not_told_what_he_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zktw.pipeline.reads.stat_of", lambda record: _Old())
    caught("watch")


class _Old:
    mzxid = pzxid = 0


def test_write_answered_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = DataService._answer

    def twice(self: DataService, client: Client, request: Request, applied: Any) -> None:
        answer(self, client, request, applied)
        if client.out and not client.closing and request.cxid % 50 == 7:
            self.tell(client, client.out[-1])

    monkeypatch.setattr(DataService, "_answer", twice)
    caught("C1")
