"""Journal: group commit; what is said once a write is durable, and when none is under way. The test is the thread."""

import itertools
from typing import Any

import pytest
from heldworker import HeldWorker

from zktw.storage.datadir import DataDir
from zktw.storage.journal import Journal
from zktw.storage.txnlog import TxnLog
from zktw.terms.errors import StorageError


class WrittenDown(DataDir):
    """Notes what is to be written; fails where told."""

    def __init__(self) -> None:
        self.written: list[tuple[Any, ...]] = []
        self.fails = False

    def write_epoch(self, name: str, epoch: int) -> None:
        self._note(name, epoch)

    def _note(self, *what: Any) -> None:
        if self.fails:
            raise StorageError("/data/version-2/currentEpoch: cannot be written: No space left on device")
        self.written.append(what)


class LogWrittenDown(TxnLog):
    """Notes what is to be done to the log; fails where told."""

    def __init__(self) -> None:
        self.done: list[Any] = []
        self.fails = False

    def encode(self, entries: list[tuple[int, bytes]]) -> bytes:
        return b"".join(zxid.to_bytes(len(payload), "big") for zxid, payload in entries)

    def write(self, zxid: int, data: bytes) -> int:
        if self.fails:
            raise StorageError("/data/version-2/log.1: cannot be written: Input/output error")
        size = len(b"payload")
        zxids = [int.from_bytes(data[start : start + size], "big") for start in range(0, len(data), size)]
        assert zxids[:1] in ([], [zxid])
        if zxids:
            self.done.append(zxids)
        return len(data)

    def roll(self) -> None:
        self.done.append("roll")

    def truncate(self, zxid: int) -> None:
        self.done.append(("truncate", zxid))

    def forget_after(self, zxid: int) -> None:
        self.done.append(("forget", zxid))

    def close(self) -> None:
        self.done.append("close")


@pytest.fixture
def worker() -> HeldWorker:
    return HeldWorker(StorageError)


@pytest.fixture
def datadir() -> WrittenDown:
    return WrittenDown()


@pytest.fixture
def log() -> LogWrittenDown:
    return LogWrittenDown()


@pytest.fixture
def told() -> list[Any]:
    """What the journal has said of its batches, in order."""
    return []


@pytest.fixture
def journal(datadir: WrittenDown, worker: HeldWorker, log: LogWrittenDown, told: list[Any]) -> Journal:
    ticks = itertools.count(1000.0, 7.0)
    journal = Journal(datadir, worker, log, lambda: next(ticks))
    journal.on_persisted = told.append
    journal.on_failed = lambda failure: told.append(failure.getErrorMessage())
    return journal


def append(journal: Journal, *zxids: int) -> None:
    for zxid in zxids:
        journal.append(zxid, b"payload")


def test_writes_go_to_the_thread_in_order(journal: Journal, datadir: WrittenDown, worker: HeldWorker) -> None:
    order: list[str] = []
    journal.write_epoch("acceptedEpoch", 2).addCallback(lambda _: order.append("accepted"))
    journal.write_epoch("currentEpoch", 1).addCallback(lambda _: order.append("epoch"))
    assert datadir.written == []
    worker.let()
    assert order == ["accepted"]
    worker.let()
    assert order == ["accepted", "epoch"]
    assert datadir.written == [("acceptedEpoch", 2), ("currentEpoch", 1)]


def test_a_failed_write_is_told(journal: Journal, datadir: WrittenDown, worker: HeldWorker) -> None:
    told: list[str] = []
    datadir.fails = True
    journal.write_epoch("currentEpoch", 1).addErrback(lambda failure: told.append(failure.getErrorMessage()))
    drained: list[None] = []
    journal.drained().addCallback(drained.append)
    worker.let()
    assert told == ["/data/version-2/currentEpoch: cannot be written: No space left on device"]
    assert drained == [None], "a write that failed is under way no more"


def test_drained_at_once_where_nothing_is_under_way(journal: Journal) -> None:
    drained: list[None] = []
    journal.drained().addCallback(drained.append)
    assert drained == [None]


def test_drained_comes_after_the_last_write_was_told(journal: Journal, worker: HeldWorker) -> None:
    order: list[str] = []
    journal.write_epoch("acceptedEpoch", 1).addCallback(lambda _: order.append("accepted"))
    journal.drained().addCallback(lambda _: order.append("drained"))
    journal.write_epoch("currentEpoch", 1).addCallback(lambda _: order.append("current"))
    worker.let()
    assert order == ["accepted"], "one is still under way"
    worker.let()
    assert order == ["accepted", "current", "drained"]


def test_a_write_asked_for_by_one_just_told_is_waited_for_too(journal: Journal, worker: HeldWorker) -> None:
    order: list[str] = []

    def next_write(_: None) -> None:
        order.append("accepted")
        journal.write_epoch("currentEpoch", 1).addCallback(lambda _: order.append("epoch"))

    journal.write_epoch("acceptedEpoch", 1).addCallback(next_write)
    journal.drained().addCallback(lambda _: order.append("drained"))
    worker.let()
    assert order == ["accepted"]
    worker.let()
    assert order == ["accepted", "epoch", "drained"]


class TestLog:
    def test_what_comes_while_one_is_written_is_the_next(
        self, journal: Journal, log: LogWrittenDown, worker: HeldWorker, told: list[Any]
    ) -> None:
        append(journal, 1, 2)
        assert worker.held == [], "queued until it is told to write"
        journal.flush()
        append(journal, 3)
        journal.flush()
        append(journal, 4, 5)
        journal.flush()
        journal.flush()
        assert len(worker.held) == 1
        worker.let()
        assert log.done == [[1, 2]]
        assert told == [2]
        assert len(worker.held) == 1, "the next is begun by itself"
        worker.let()
        assert log.done == [[1, 2], [3, 4, 5]]
        assert told == [2, 5]
        journal.flush()
        assert worker.held == []

    def test_what_is_queued_without_a_word_goes_with_the_next(
        self, journal: Journal, worker: HeldWorker, told: list[Any]
    ) -> None:
        append(journal, 1)
        journal.flush()
        append(journal, 2)
        worker.let()
        worker.let()
        assert told == [1, 2]

    def test_the_next_write_is_under_way_before_the_last_is_told(self, journal: Journal, worker: HeldWorker) -> None:
        held: list[int] = []
        journal.on_persisted = lambda zxid: held.append(len(worker.held))
        append(journal, 1)
        journal.flush()
        append(journal, 2)
        worker.let()
        assert held == [1]

    def test_a_batch_is_measured_in_the_thread(self, journal: Journal, worker: HeldWorker) -> None:
        synced: list[tuple[float, int, int]] = []
        journal.on_synced = lambda ms, entries, size: synced.append((ms, entries, size))
        append(journal, 1, 2, 3)
        journal.flush()
        worker.let()
        assert synced == [(7.0, 3, 21)]

    @pytest.mark.parametrize("flushes", [True, False])
    def test_a_roll_is_between_what_is_before_and_behind_it(
        self, journal: Journal, log: LogWrittenDown, worker: HeldWorker, told: list[Any], flushes: bool
    ) -> None:
        append(journal, 1)
        if flushes:
            journal.flush()
        append(journal, 2)
        journal.roll()
        journal.roll()
        append(journal, 3)
        journal.roll()
        append(journal, 4)
        journal.flush()
        while worker.held:
            worker.let()
        steps = [step for batch in log.done for step in (batch if isinstance(batch, list) else [batch])]
        assert steps == [1, 2, "roll", 3, "roll", 4]
        assert told[-1] == 4
        journal.roll()
        journal.flush()
        worker.let()
        assert log.done[-1] == "roll"
        assert told[-1] == 4, "nothing new is durable by a roll"
        append(journal, 5)
        journal.flush()
        worker.let()
        assert log.done[-1] == [5], "a roll is done once"

    def test_after_a_failure_nothing_is_acknowledged(
        self, journal: Journal, log: LogWrittenDown, worker: HeldWorker, told: list[Any]
    ) -> None:
        append(journal, 1)
        journal.flush()
        append(journal, 2)
        log.fails = True
        worker.let()
        log.fails = False
        assert told == ["/data/version-2/log.1: cannot be written: Input/output error"]
        append(journal, 3)
        journal.flush()
        refused: list[str] = []
        for write in (journal.write_epoch("currentEpoch", 1), journal.truncate(1), journal.forget_after(1)):
            write.addErrback(lambda failure: refused.append(failure.getErrorMessage()))
        assert refused == ["nothing more is written, since a write has failed"] * 3
        drained: list[None] = []
        journal.drained().addCallback(drained.append)
        assert drained == [None]
        assert worker.held == []
        assert len(told) == 1

    def test_nor_when_another_write_has_failed(
        self, journal: Journal, datadir: WrittenDown, worker: HeldWorker, told: list[Any]
    ) -> None:
        datadir.fails = True
        failed: list[str] = []
        journal.write_epoch("currentEpoch", 1).addErrback(lambda failure: failed.append(failure.getErrorMessage()))
        append(journal, 1)
        journal.flush()
        append(journal, 2)
        worker.let()
        worker.let()
        assert len(failed) == 1
        assert told == []
        assert worker.held == []

    def test_trouble_of_the_one_who_is_told_ends_it_too(
        self, journal: Journal, worker: HeldWorker, told: list[Any]
    ) -> None:
        def breaks(zxid: int) -> None:
            raise AssertionError("a bug")

        journal.on_persisted = breaks
        append(journal, 1)
        journal.flush()
        drained: list[None] = []
        journal.drained().addCallback(drained.append)
        worker.let()
        assert told == ["a bug"]
        assert drained == [None]

    @pytest.mark.parametrize("what", ["truncate", "forget"])
    def test_truncate_goes_behind_all_that_is_under_way(
        self, journal: Journal, log: LogWrittenDown, worker: HeldWorker, what: str
    ) -> None:
        append(journal, 5)
        journal.flush()
        order: list[str] = []
        journal.on_persisted = lambda zxid: order.append("persisted")
        cut = journal.truncate if what == "truncate" else journal.forget_after
        cut(3).addCallback(lambda _: order.append("cut"))
        journal.drained().addCallback(lambda _: order.append("drained"))
        worker.let()
        worker.let()
        assert log.done == [[5], (what, 3)]
        assert order == ["persisted", "cut", "drained"]

    def test_truncate_is_not_for_what_is_queued(self, journal: Journal) -> None:
        append(journal, 5)
        with pytest.raises(AssertionError):
            journal.truncate(3)

    def test_drained_writes_what_is_queued(
        self, journal: Journal, log: LogWrittenDown, worker: HeldWorker, told: list[Any]
    ) -> None:
        append(journal, 1)
        journal.flush()
        append(journal, 2)
        journal.drained().addCallback(lambda _: told.append("drained"))
        worker.let()
        assert told == [1]
        worker.let()
        assert told == [1, 2, "drained"]
        append(journal, 3)
        journal.close().addCallback(lambda _: told.append("closed"))
        worker.let()
        worker.let()
        assert log.done[-2:] == [[3], "close"]
        assert told[-1] == "closed"
