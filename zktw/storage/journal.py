"""Journal: what must be durable, written in order by a thread of its own."""

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from zktw.storage.datadir import DataDir
from zktw.storage.files import IWorker
from zktw.storage.logformat import BATCH_BYTES_MAX, ENTRY_AROUND_BYTES
from zktw.storage.txnlog import TxnLog
from zktw.terms.errors import NotHeldError, StorageError
from zktw.wire.effects import EpochName

Entries = list[tuple[int, bytes]]
# So many entries are few; writes that take less are fast; and so many in a row tell of a fast disk.
_FEW = 2
_FAST_MS = 1.0
_FAST_MIN = 100


class Journal:
    """Hands writes to the journal thread. A write is never cancelled; drained() tells when none is under way.

    Group commit: of the log's batches one is in flight, and all that is appended meanwhile is the next. After a write
    that failed nothing is written and nothing acknowledged any more.

    on_persisted(zxid): all entries up to it are durable. on_failed(failure): a batch could not be written.
    on_synced(ms, entries, bytes): what one batch took, in the thread. now_ms is called in the thread.

    soon(call) calls in the reactor's next turn. Where it is given, an entry or two are written by the reactor itself as
    long as the disk is fast: handing them over and back costs more than such a write, a third of what a lone write of
    an ensemble takes. One write that is slow sends all to the thread again, until it has been fast for a while.
    """

    def __init__(
        self,
        datadir: DataDir,
        worker: IWorker,
        txn_log: TxnLog,
        now_ms: Callable[[], float],
        soon: Callable[[Callable[[], None]], None] | None = None,
    ) -> None:
        self.on_persisted: Callable[[int], None] = lambda zxid: None
        self.on_failed: Callable[[Failure], None] = lambda failure: None
        self.on_synced: Callable[[float, int, int], None] = lambda ms, entries, size: None
        self._datadir = datadir
        self._worker = worker
        self._log = txn_log
        self._now_ms = now_ms
        self._soon = soon
        # How many writes in a row were fast.
        self._fast = 0
        self._failed = False
        # What is to be appended; each but the first after a roll.
        self._queue: deque[Entries] = deque([[]])
        self._batch: Entries = self._queue[0]
        self._writing = False
        self._under_way = 0
        self._waiting: list[Deferred[None]] = []

    # -- the log -----------------------------------------------------------------------------------------------------

    def append(self, zxid: int, payload: bytes) -> None:
        """Queue an entry of the log; flush() lets it be written."""
        self._batch.append((zxid, payload))

    @property
    def queued(self) -> int:
        """Entries that wait to be written."""
        return len(self._batch)

    def flush(self) -> None:
        """Let all that is queued be written: now, or as soon as the batch in flight has ended."""
        if self._failed:
            self._batch.clear()
        elif not self._writing and (self._batch or len(self._queue) > 1):
            self._write_next()

    def roll(self) -> None:
        """Let what is appended from now on go into another file."""
        if self._batch or len(self._queue) == 1:
            self._batch = []
            self._queue.append(self._batch)

    def truncate(self, zxid: int) -> Deferred[None]:
        """Forget what follows this transaction, on disk. Nothing may be queued. Fires when it is durable."""
        assert not self._batch
        assert len(self._queue) == 1
        return self._run(self._log.truncate, zxid)

    def forget_after(self, zxid: int) -> Deferred[None]:
        """Make room for a leader's tree of this zxid, which is to be the next snapshot. Nothing may be queued.

        Entries of later zxids are forgotten; the next one begins a new file. Fires when that is durable.
        """
        assert not self._batch
        assert len(self._queue) == 1
        return self._run(self._log.forget_after, zxid)

    def close(self) -> Deferred[None]:
        """Write what is queued, then close the file."""
        return self.drained().addCallback(lambda _: self._run(self._log.close))

    def _write_next(self) -> None:
        rolls = False
        while len(self._queue) > 1 and not self._queue[0]:
            self._queue.popleft()
            rolls = True
        entries = self._queue[0]
        count = _count_of_batch(entries)
        self._queue[0] = entries[count:]
        del entries[count:]
        if len(self._queue) == 1:
            self._batch = self._queue[0]
        self._writing = True
        self._under_way += 1
        try:
            # Here and not in the thread, which would only take turns with the reactor at it.
            data = self._log.encode(entries)
        except StorageError:
            self._not_written(Failure())
            return
        first, last = (entries[0][0], entries[-1][0]) if entries else (-1, -1)
        if self._soon is not None and self._is_quick(len(entries), rolls):
            self._write_here(self._soon, first, last, len(entries), data)
            return
        writing = self._worker.run(self._write, rolls, first, data).addCallbacks(
            lambda took_ms: self._written(last, len(entries), len(data), took_ms), self._not_written
        )
        # What is told that its entries are durable has failed: nothing that follows can be relied on either.
        writing.addErrback(self._broken)

    def _is_quick(self, count: int, rolls: bool) -> bool:
        return 0 < count <= _FEW and not rolls and self._fast >= _FAST_MIN and self._under_way == 1

    def _write_here(
        self, soon: Callable[[Callable[[], None]], None], first: int, last: int, count: int, data: bytes
    ) -> None:
        try:
            took_ms = self._write(False, first, data)
        except Exception:
            failure = Failure()
            soon(lambda: self._not_written(failure))
        else:
            soon(lambda: self._written_here(last, count, len(data), took_ms))

    def _written_here(self, zxid: int, count: int, size: int, took_ms: float) -> None:
        try:
            self._written(zxid, count, size, took_ms)
        except Exception:
            self._broken(Failure())

    def _write(self, rolls: bool, zxid: int, data: bytes) -> float:
        """In the thread."""
        begin_ms = self._now_ms()
        if rolls:
            self._log.roll()
        self._log.write(zxid, data)
        return self._now_ms() - begin_ms

    def _written(self, zxid: int, count: int, size: int, took_ms: float) -> None:
        self._writing = False
        self._fast = self._fast + 1 if took_ms < _FAST_MS else 0
        # The next batch first: it is then under way while the reactor sees to this one.
        self.flush()
        try:
            if count and not self._failed:
                # Whoever waits for it first, figures afterwards.
                self.on_persisted(zxid)
                self.on_synced(took_ms, count, size)
        finally:
            self._ended()

    def _not_written(self, failure: Failure) -> None:
        self._writing = False
        self._fail()
        try:
            self.on_failed(failure)
        finally:
            self._ended()

    def _broken(self, failure: Failure) -> None:
        self._fail()
        self.on_failed(failure)

    # -- whole files -------------------------------------------------------------------------------------------------

    def write_epoch(self, name: EpochName, epoch: int) -> Deferred[None]:
        """Fires when the epoch is on disk."""
        return self._run(self._datadir.write_epoch, name, epoch)

    def expect_good(self) -> None:
        """All that was drained is on disk, then: or a StorageError."""
        if self._failed:
            raise StorageError("nothing more is written, since a write has failed")

    def drained(self) -> Deferred[None]:
        """Write what is queued; fires when every write has ended, and what waited for it has been told."""
        self.flush()
        if not self._under_way:
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        return waiting

    def _run(self, function: Callable[..., None], *args: Any) -> Deferred[None]:
        if self._failed:
            return fail(StorageError("nothing more is written, since a write has failed"))
        self._under_way += 1
        told: Deferred[None] = Deferred()
        self._worker.run(function, *args).addBoth(self._done, told)
        return told

    def _done(self, result: Any, told: Deferred[None]) -> None:
        if isinstance(result, Failure) and not result.check(NotHeldError):
            self._fail()
        told.callback(result)
        self._ended()

    def _fail(self) -> None:
        self._failed = True
        self._batch = []
        self._queue = deque([self._batch])

    def _ended(self) -> None:
        self._under_way -= 1
        if not self._under_way:
            waiting, self._waiting = self._waiting, []
            for deferred in waiting:
                deferred.callback(None)


def _count_of_batch(entries: Entries) -> int:
    """How many of these are one write; one at least, if there are any."""
    if sum([len(payload) for _, payload in entries]) + ENTRY_AROUND_BYTES * len(entries) <= BATCH_BYTES_MAX:
        return len(entries)
    size = 0
    for count, (_, payload) in enumerate(entries):
        size += len(payload) + ENTRY_AROUND_BYTES
        if size > BATCH_BYTES_MAX and count:
            return count
    return len(entries)
