"""Keeper: the database of a server, its log and its snapshots, through all roles that the server plays."""

from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from zktw.admin.stats import ServerStats
from zktw.config import Config
from zktw.net.quiet import Quiet
from zktw.node.clock import Clock, Random
from zktw.pipeline.copied import read_copied
from zktw.storage.journal import Journal
from zktw.storage.recovery import Recovered
from zktw.storage.snapshots import Snapshotter
from zktw.terms.errors import StorageError
from zktw.tree.database import Database
from zktw.zab.committedlog import CommittedLog, Entry

log = Logger()

QUIET_MS = 10_000
# The exit status of a server that has found a bug in itself (EX_SOFTWARE).
EXIT_BROKEN = 70


class Keeper:
    """fail(status, reason) ends the process: nothing may be acknowledged then.

    on_persisted(zxid) is told to whoever works with the log at the time.
    """

    def __init__(
        self,
        config: Config,
        clock: Clock,
        random: Random,
        journal: Journal,
        snapshotter: Snapshotter,
        stats: ServerStats,
        fail: Callable[[int, str], None],
        recovered: Recovered,
        committed: CommittedLog,
    ) -> None:
        self.database: Database = recovered.database
        self.committed = committed
        self.journal = journal
        self.on_persisted: Callable[[int], None] = _nobody
        # An observer may keep all in memory only, and begin from nothing each time.
        self.is_logging = logs(config)
        self._config = config
        self._clock = clock
        self._random = random
        self._snapshotter = snapshotter
        self._stats = stats
        self._fail = fail
        self._stopping = False
        self._slow_syncs = Quiet(QUIET_MS)
        # What had to be replayed would have to be again.
        self._txns_since_roll = recovered.txns_replayed
        self._bytes_since_roll = 0
        self._choose_roll()
        if recovered.snapshot_wanted:
            self._txns_since_roll = self._roll_at_txns + 1
        journal.on_persisted = self._on_persisted
        journal.on_failed = self._on_failed
        journal.on_synced = self._on_synced
        stats.add("startup_txns_loaded", self._txns_since_roll)
        stats.count("digest_mismatches_count", self.database.digest_mismatches)

    def stop(self) -> Deferred[None]:
        """Take no more snapshots; fires when what was queued is on disk and told."""
        self._stopping = True
        self._snapshotter.abandon()
        return self.journal.drained()

    # -- the log -----------------------------------------------------------------------------------------------------

    def append(self, zxid: int, payload: bytes) -> None:
        """Queue an entry of the log."""
        self.journal.append(zxid, payload)

    def flush(self) -> None:
        """Let what is queued be written."""
        self.journal.flush()

    def _on_persisted(self, zxid: int) -> None:
        self.on_persisted(zxid)

    def _on_failed(self, failure: Failure) -> None:
        if failure.check(StorageError):
            self._fail(1, failure.getErrorMessage())
        else:
            self.broken(failure)

    def broken(self, failure: Failure) -> None:
        """An invariant of ours does not hold: the process ends, and recovers from disk."""
        log.failure("this is a bug", failure)
        self._fail(EXIT_BROKEN, f"a bug: {failure.value!r}")

    def _on_synced(self, took_ms: float, entries: int, size: int) -> None:
        self._stats.add("fsynctime", int(took_ms))
        self._stats.add("sync_processor_batch_size", entries)
        self._txns_since_roll += entries
        self._bytes_since_roll += size
        if took_ms > self._config.data.fsync_warning_ms and self._slow_syncs.due(self._clock.now_ms()):
            log.warn("writing {size} bytes to the log took {took:.0f} ms", size=size, took=took_ms)

    # -- roles begin and end -----------------------------------------------------------------------------------------

    def settle(self, entries: Iterable[Entry]) -> Deferred[None]:
        """A role is over, and these are logged but not committed: memory follows the log (bug 2845)."""
        self.on_persisted = _nobody
        return self.journal.drained().addCallback(lambda _: self.apply(entries))

    def apply(self, entries: Iterable[Entry]) -> None:
        """Let these happen to the database, where nobody is served."""
        database = self.database
        for zxid, payload in entries:
            copied = read_copied(payload)
            if copied is None or copied.apply(database) is None:
                database.replay(payload)
            self.committed.append(zxid, payload)

    def replace(self, database: Database) -> Deferred[None]:
        """Another history is ours from now on: its tree becomes the newest on disk. Fires when it is."""
        zxid = database.last_zxid
        if not self.is_logging:
            self.reset(database)
            return succeed(None)
        self._snapshotter.abandon()
        done = self._when_snapshotter_is_free()
        done.addCallback(lambda _: self.journal.forget_after(zxid))
        done.addCallback(lambda _: self._snapshotter.take(database.image()))
        return done.addCallback(lambda path: self._replaced(path, database))

    def _when_snapshotter_is_free(self) -> Deferred[Any]:
        free: Deferred[Any] = Deferred()

        def look() -> None:
            if self._snapshotter.busy:
                alarm.set(self._clock.now_ms() + 1)
            else:
                free.callback(None)

        if not self._snapshotter.busy:
            return succeed(None)
        alarm = self._clock.alarm(look)
        look()
        return free

    def _replaced(self, path: str | None, database: Database) -> None:
        # Only a server that stops gives up a snapshot, and it waits for its role first.
        assert path is not None
        self.reset(database)
        self._txns_since_roll = self._bytes_since_roll = 0

    def reset(self, database: Database) -> None:
        """Another history is ours from now on, and the disk knows."""
        self.database = database
        self.committed.reset(database.last_zxid)

    # -- snapshots ---------------------------------------------------------------------------------------------------

    def _choose_roll(self) -> None:
        """When the next snapshot is due: not at the same moment on all servers of an ensemble."""
        data = self._config.data
        half = data.snap_count // 2
        self._roll_at_txns = half + self._random.randrange(half)
        limit = data.snap_size_limit_kb * 1024 // 2
        self._roll_at_bytes = limit + self._random.randrange(limit) if limit > 0 else None

    def maybe_snapshot(self) -> None:
        """Take one if it is due."""
        due = self._txns_since_roll > self._roll_at_txns or (
            self._roll_at_bytes is not None and self._bytes_since_roll > self._roll_at_bytes
        )
        if not due or self._stopping:
            return
        self._txns_since_roll = self._bytes_since_roll = 0
        self._choose_roll()
        self.journal.roll()
        if self._snapshotter.busy:
            log.warn("a snapshot is due, and the one before it is not written yet: it is left out")
            return
        begin_ms = self._clock.now_ms()
        image = self.database.image()
        self._snapshotter.take(image).addCallbacks(
            lambda path: self._snapshot_taken(path, begin_ms), lambda failure: self._fail(10, failure.getErrorMessage())
        )

    def _snapshot_taken(self, path: str | None, begin_ms: float) -> None:
        if path is not None:
            took_ms = self._clock.now_ms() - begin_ms
            self._stats.add("snapshottime", int(took_ms))
            log.info("snapshot {path} written in {took:.0f} ms", path=path, took=took_ms)


def logs(config: Config) -> bool:
    """Whether a server of this configuration keeps anything on disk but the epoch that it has accepted."""
    return config.replication.observer_logs or not config.is_observer


def _nobody(zxid: int) -> None:
    """Between two roles nobody asks how far the log is."""
