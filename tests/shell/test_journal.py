"""Journal: what is said once a write is durable, and when none is under way. The test is the worker's thread."""

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from zktw.storage.datadir import DataDir
from zktw.storage.files import IWorker
from zktw.storage.journal import Journal
from zktw.terms.errors import StorageError


@implementer(IWorker)
class HeldWorker:
    """Keeps what it is given to run until the test lets it."""

    def __init__(self) -> None:
        self.held: list[tuple[Deferred[Any], Callable[..., Any], tuple[Any, ...]]] = []

    def start(self) -> None:
        """See IWorker."""

    def stop(self) -> Deferred[None]:
        """See IWorker."""
        return succeed(None)

    def run(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """See IWorker."""
        done: Deferred[Any] = Deferred()
        self.held.append((done, function, args))
        return done

    def let(self) -> None:
        """Run the oldest."""
        done, function, args = self.held.pop(0)
        try:
            result = function(*args)
        except StorageError as error:
            done.errback(error)
        else:
            done.callback(result)


class WrittenDown(DataDir):
    """Notes what is to be written; fails where told."""

    def __init__(self) -> None:
        self.written: list[tuple[Any, ...]] = []
        self.fails = False

    def write_epoch(self, name: str, epoch: int) -> None:
        self._note(name, epoch)

    def write_snapshot(self, zxid: int, body: bytes) -> None:
        self._note("snapshot", zxid, body)

    def _note(self, *what: Any) -> None:
        if self.fails:
            raise StorageError("/data/version-2/currentEpoch: cannot be written: No space left on device")
        self.written.append(what)


@pytest.fixture
def worker() -> HeldWorker:
    return HeldWorker()


@pytest.fixture
def datadir() -> WrittenDown:
    return WrittenDown()


@pytest.fixture
def journal(datadir: WrittenDown, worker: HeldWorker) -> Journal:
    return Journal(datadir, worker)


def test_writes_go_to_the_thread_in_order(journal: Journal, datadir: WrittenDown, worker: HeldWorker) -> None:
    order: list[str] = []
    journal.write_snapshot(1 << 32, b"tree").addCallback(lambda _: order.append("tree"))
    journal.write_epoch("currentEpoch", 1).addCallback(lambda _: order.append("epoch"))
    assert datadir.written == []
    worker.let()
    assert order == ["tree"]
    worker.let()
    assert order == ["tree", "epoch"]
    assert datadir.written == [("snapshot", 1 << 32, b"tree"), ("currentEpoch", 1)]


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
        order.append("tree")
        journal.write_epoch("currentEpoch", 1).addCallback(lambda _: order.append("epoch"))

    journal.write_snapshot(1 << 32, b"tree").addCallback(next_write)
    journal.drained().addCallback(lambda _: order.append("drained"))
    worker.let()
    assert order == ["tree"]
    worker.let()
    assert order == ["tree", "epoch", "drained"]
