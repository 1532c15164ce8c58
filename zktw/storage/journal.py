"""Journal: what must be durable, written in order by a thread of its own."""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed

from zktw.storage.datadir import DataDir
from zktw.storage.files import IWorker
from zktw.wire.effects import EpochName


class Journal:
    """Hands writes to the journal thread. A write is never cancelled; drained() tells when none is under way."""

    def __init__(self, datadir: DataDir, worker: IWorker) -> None:
        self._datadir = datadir
        self._worker = worker
        self._under_way = 0
        self._waiting: list[Deferred[None]] = []

    def write_epoch(self, name: EpochName, epoch: int) -> Deferred[None]:
        """Fires when the epoch is on disk."""
        return self._run(self._datadir.write_epoch, name, epoch)

    def write_snapshot(self, zxid: int, body: bytes) -> Deferred[None]:
        """Fires when the tree is on disk as the snapshot of this zxid."""
        return self._run(self._datadir.write_snapshot, zxid, body)

    def drained(self) -> Deferred[None]:
        """Fires when every write has ended, and what waited for it has been told."""
        if not self._under_way:
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        return waiting

    def _run(self, function: Callable[..., None], *args: Any) -> Deferred[None]:
        self._under_way += 1
        told: Deferred[None] = Deferred()
        self._worker.run(function, *args).addBoth(self._done, told)
        return told

    def _done(self, result: Any, told: Deferred[None]) -> None:
        told.callback(result)
        self._under_way -= 1
        if not self._under_way:
            waiting, self._waiting = self._waiting, []
            for deferred in waiting:
                deferred.callback(None)
