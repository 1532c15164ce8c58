"""DataHost: the data service on a reactor: its clock, its journal, its snapshots, and what its clients are told."""

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from zktw.admin.stats import ServerStats
from zktw.config import Config
from zktw.net.quiet import Quiet
from zktw.node.clock import Clock, Random, wall_ms
from zktw.node.dataparts import make_authentication, make_throttle
from zktw.pipeline.prep import PrepRequestProcessor
from zktw.pipeline.request import Client
from zktw.pipeline.service import DataService
from zktw.pipeline.sessions import SessionTracker
from zktw.pipeline.standalone import Standalone
from zktw.storage.journal import Journal
from zktw.storage.recovery import Recovered
from zktw.storage.snapshots import Snapshotter
from zktw.terms.errors import StorageError
from zktw.wire.client import ConnectRequest

log = Logger()

QUIET_MS = 10_000
# Entries of the log that are worth a write of their own before the turn is over.
BATCH_MIN = 16
# The exit status of a server that has found a bug in itself (EX_SOFTWARE).
EXIT_BROKEN = 70
MINUTE_MS = 60_000
# A server alone counts as number 1 in the ids of its sessions.
STANDALONE_SID = 1


class DataHost:
    """Serves clients from one database. fail(status, reason) ends the process: nothing may be acknowledged then."""

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
    ) -> None:
        self._config = config
        self._clock = clock
        self._random = random
        self._journal = journal
        self._snapshotter = snapshotter
        self._stats = stats
        self._fail = fail
        self.database = recovered.database
        data = config.data
        length_max = min(config.jute_maxbuffer + config.jute_extra, 2**31 - 1)
        auth = make_authentication(config)
        tracker = SessionTracker(config.my_sid or STANDALONE_SID, config.tick_ms, clock.now_ms(), wall_ms())
        self.service = DataService(
            self.database,
            tracker,
            auth,
            stats,
            length_max=length_max,
            timeout_min_ms=config.min_session_timeout_ms,
            timeout_max_ms=config.max_session_timeout_ms,
            enforced_schemes=data.enforce_auth_schemes if data.enforce_auth else None,
            large_bytes=data.large_request_threshold,
        )
        self._prep = PrepRequestProcessor(
            self.database,
            auth,
            length_max,
            digest_enabled=data.digest_enabled,
            close_session_txn=data.close_session_txn,
            enforce_quota=data.enforce_quota,
            reconfig_enabled=config.reconfig_enabled,
        )
        self._standalone = Standalone(self.service, self._prep, journal.append, digest_enabled=data.digest_enabled)
        journal.on_persisted = self._on_persisted
        journal.on_failed = self._on_failed
        journal.on_synced = self._on_synced
        # See Pipeline. The service's own method: one call less a request.
        self.on_frame = self.service.on_frame
        self.large_from = data.large_request_threshold if data.large_request_threshold >= 0 else 2**31
        self._limit = data.global_outstanding_limit
        self._throttled: dict[Client, None] = {}
        self._stopping = False
        # Whether the end of this turn is waited for.
        self._turn_ends = False
        # How often clients were heard in this turn, and whom last; who alone was heard in the last one.
        self._arrivals = 0
        self._last: Client | None = None
        self._alone: Client | None = None
        self._sessions_alarm = clock.alarm(self._on_sessions)
        self._reaper_alarm = clock.alarm(self._on_reaper)
        self._quotas = Quiet(QUIET_MS)
        self._slow_syncs = Quiet(QUIET_MS)
        # What had to be replayed would have to be again.
        self._txns_since_roll = recovered.txns_replayed
        self._bytes_since_roll = 0
        self._choose_roll()
        self.throttle = make_throttle(config, random, clock.now_ms())
        if recovered.snapshot_wanted:
            self._txns_since_roll = self._roll_at_txns + 1

    def start(self) -> None:
        """From now on sessions expire, and containers go."""
        self._stats.add("startup_txns_loaded", self._txns_since_roll)
        self._stats.count("digest_mismatches_count", self.database.digest_mismatches)
        self._arm()
        self._reaper_alarm.set(self._clock.now_ms() + self._config.data.container_check_interval_ms)
        if self._txns_since_roll:
            self._maybe_snapshot()

    def stop(self) -> Deferred[None]:
        """Take nothing more; fires when what was taken is on disk and answered."""
        self._sessions_alarm.set(None)
        self._reaper_alarm.set(None)
        self._stopping = True
        self._snapshotter.abandon()
        self.flush()
        return self._journal.drained()

    # -- what the client port calls ----------------------------------------------------------------------------------

    @property
    def room(self) -> int:
        """See Pipeline."""
        return self._limit - self.service.outstanding

    def enter(self) -> None:
        """See Pipeline."""
        service = self.service
        service.now_ms = self._clock.now_ms()
        service.wall_ms = wall_ms()

    def leave(self, client: Client) -> None:
        """See Pipeline.

        Written at the end of the turn, back to back, replies cost a third less: a client that has been woken stays
        awake for the next. And what all clients of a turn have written is one batch of the log. But who talks alone,
        turn after turn, is answered at once.
        """
        if client is self._alone:
            self.flush()
            return
        self._alone = None
        self._arrivals += 1
        self._last = client
        if not self._turn_ends:
            self._turn_ends = True
            self._clock.soon(self._end_turn)
        if self._journal.queued >= BATCH_MIN:
            # Worth a write of its own: the disk works while the rest of the turn is taken.
            self._journal.flush()

    def _end_turn(self) -> None:
        self._turn_ends = False
        if self._arrivals == 1:
            self._alone = self._last
        self._arrivals = 0
        try:
            self.flush()
        except Exception:
            self.broken(Failure())

    def flush(self) -> None:
        """See Pipeline."""
        service = self.service
        while service.dirty:
            dirty, service.dirty = service.dirty, []
            for client in dirty:
                client.dirty = False
                if client.out_bytes:
                    self._stats.note_replies(client.out, client.out_bytes)
                client.shell.flush()
        if service.apart_bytes:
            self._stats.count("response_bytes", -service.apart_bytes)
            service.apart_bytes = 0
        if service.reads or service.write_latencies:
            self._note_latencies()
        self._journal.flush()

    def _note_latencies(self) -> None:
        service, stats = self.service, self._stats
        if service.reads:
            stats.note_latency(0, service.reads, write=False)
            service.reads = 0
        if not service.read_latencies and not service.write_latencies:
            return
        for latencies, write in ((service.read_latencies, False), (service.write_latencies, True)):
            for latency_ms, count in latencies.items():
                stats.note_latency(latency_ms, count, write=write)
            latencies.clear()

    def opened(self, client: Client) -> None:
        """See Pipeline."""
        self._stats.count("connection_request_count")
        self.service.opened(client)

    def closed(self, client: Client) -> None:
        """See Pipeline."""
        self._throttled.pop(client, None)
        if client is self._last:
            self._last = self._alone = None
        self.service.closed(client)

    def connect(self, client: Client, asked: ConnectRequest) -> str:
        """See Pipeline."""
        self._stats.add("connection_token_deficit", self.throttle.deficit)
        if not self.throttle.admits(self._clock.now_ms()):
            self._stats.count("connection_drop_count")
            self.service.end(client)
            return "too many handshakes at once (connection_throttle_tokens)"
        return self.service.connect(client, asked)

    def heard(self, client: Client) -> None:
        """See Pipeline."""
        if client.session is not None:
            client.session.heard_ms = self._clock.now_ms()

    def has_room_for(self, size: int) -> bool:
        """See Pipeline."""
        if self.service.large_bytes + size <= self._config.data.large_request_max_bytes:
            return True
        self._stats.count("large_requests_rejected")
        return False

    def end(self, client: Client) -> None:
        """See Pipeline."""
        self.service.end(client)

    def throttled(self, client: Client) -> None:
        """See Pipeline."""
        self._throttled[client] = None

    # -- what the journal says ---------------------------------------------------------------------------------------

    def _on_persisted(self, zxid: int) -> None:
        self.enter()
        self._standalone.on_persisted(zxid)
        self.flush()
        if self._throttled:
            self._take_again()
        if self._prep.over_quota:
            self._warn_of_quotas()
        self._maybe_snapshot()

    def _take_again(self) -> None:
        """Clients whose requests were left unread."""
        clients, self._throttled = self._throttled, {}
        for client in clients:
            if client.number in self.service.clients and not client.closing:
                client.shell.take()

    def _on_failed(self, failure: Failure) -> None:
        if failure.check(StorageError):
            self._fail(1, failure.getErrorMessage())
        else:
            self.broken(failure)

    def broken(self, failure: Failure) -> None:
        """See Pipeline: the process ends, and recovers from disk."""
        log.failure("this is a bug", failure)
        self._fail(EXIT_BROKEN, f"a bug: {failure.value!r}")

    def _on_synced(self, took_ms: float, entries: int, size: int) -> None:
        self._stats.add("fsynctime", int(took_ms))
        self._stats.add("sync_processor_batch_size", entries)
        self._txns_since_roll += entries
        self._bytes_since_roll += size
        if took_ms > self._config.data.fsync_warning_ms and self._slow_syncs.due(self._clock.now_ms()):
            log.warn("writing {size} bytes to the log took {took:.0f} ms", size=size, took=took_ms)

    def _warn_of_quotas(self) -> None:
        over, self._prep.over_quota = self._prep.over_quota, []
        if self._quotas.due(self._clock.now_ms()):
            path, what = over[-1]
            log.warn("quota of {path} exceeded: {what}", path=path, what=what)

    # -- snapshots ---------------------------------------------------------------------------------------------------

    def _choose_roll(self) -> None:
        """When the next snapshot is due: not at the same moment on all servers of an ensemble."""
        data = self._config.data
        half = data.snap_count // 2
        self._roll_at_txns = half + self._random.randrange(half)
        limit = data.snap_size_limit_kb * 1024 // 2
        self._roll_at_bytes = limit + self._random.randrange(limit) if limit > 0 else None

    def _maybe_snapshot(self) -> None:
        due = self._txns_since_roll > self._roll_at_txns or (
            self._roll_at_bytes is not None and self._bytes_since_roll > self._roll_at_bytes
        )
        if not due or self._stopping:
            return
        self._txns_since_roll = self._bytes_since_roll = 0
        self._choose_roll()
        self._journal.roll()
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

    # -- time --------------------------------------------------------------------------------------------------------

    def _arm(self) -> None:
        self._sessions_alarm.set(self.service.deadline_ms)

    def _on_sessions(self) -> None:
        try:
            self._expire()
        except Exception:
            self.broken(Failure())

    def _expire(self) -> None:
        self.enter()
        for client in self._throttled:
            # What it says is left unread by us: its silence is none.
            if client.session is not None:
                client.session.heard_ms = self.service.now_ms
        for session in self.service.on_clock():
            log.info("session 0x{id:x} has expired", id=session.id & 2**64 - 1)
            self._stats.count("stale_sessions_expired")
        self.flush()
        self._arm()

    def _on_reaper(self) -> None:
        try:
            self._reap()
        except Exception:
            self.broken(Failure())

    def _reap(self) -> None:
        data = self._config.data
        self.enter()
        share = data.container_max_per_minute * data.container_check_interval_ms // MINUTE_MS
        gone = self.service.reap(data.container_max_never_used_ms, max(1, share))
        self.flush()
        if gone:
            log.debug("{count} containers and nodes with a time to live are over", count=len(gone))
        self._reaper_alarm.set(self._clock.now_ms() + data.container_check_interval_ms)
