"""LogReading: what learners lack is read from our log, in parts, in a thread of its own."""

from collections.abc import Callable

from twisted.logger import Logger
from twisted.python.failure import Failure

from zktw.node.means import Means
from zktw.storage.logtail import LogTail, Tail

log = Logger()


class LogReading:
    """Learners by the number of their connection. told(connection, tail) is called with what was found.

    None stands for a log that does not reach back so far, or that costs more to read than the tree.
    """

    def __init__(self, means: Means, told: Callable[[int, Tail | None], None]) -> None:
        self._means = means
        self._told = told
        self._tails: dict[int, LogTail] = {}

    def read(self, connection: int, zxid: int, first: bool) -> None:
        """What is behind zxid."""
        tail = self._tails.get(connection)
        if tail is None:
            tail = self._tails[connection] = self._means.make_log_tail()
        factor = self._means.config.replication.snapshot_size_factor
        reading = self._means.reader.run(_read, tail, zxid, factor if first else 0.0)
        reading.addCallbacks(
            lambda found: self._told(connection, found), lambda failure: self._failed(connection, failure)
        )
        reading.addErrback(self._means.broken)

    def _failed(self, connection: int, failure: Failure) -> None:
        log.warn("the log cannot be read for a learner: {reason}", reason=failure.getErrorMessage())
        self._told(connection, None)

    def forget(self, connection: int) -> None:
        """The learner is gone."""
        self._tails.pop(connection, None)


def _read(tail: LogTail, zxid: int, factor: float) -> Tail | None:
    """In the thread. factor: see ReplicationConfig; a part that follows another is asked for with 0."""
    size = tail.reach(zxid)
    newest = tail.newest_snapshot_bytes()
    if size < 0 or factor < 0 or (factor > 0 and newest > 0 and size > factor * newest):
        return None
    return tail.read(zxid)
