"""DataHost: the data service on a reactor: its clock, its journal, its snapshots, and what its clients are told."""

from collections.abc import Callable
from math import inf
from typing import Protocol

from twisted.logger import Logger
from twisted.python.failure import Failure

from zktw.admin.stats import ServerStats
from zktw.config import Config
from zktw.net.quiet import Quiet
from zktw.node.clock import Clock, Random, wall_ms
from zktw.node.dataparts import make_authentication, make_throttle
from zktw.node.keeper import Keeper
from zktw.pipeline.localsessions import LocalSessions
from zktw.pipeline.prep import PrepRequestProcessor
from zktw.pipeline.request import Client
from zktw.pipeline.service import DataService
from zktw.pipeline.sessions import SessionTracker
from zktw.wire.client import ConnectRequest

log = Logger()

QUIET_MS = 10_000
# Entries of the log that are worth a write of their own before the turn is over.
BATCH_MIN = 16
MINUTE_MS = 60_000
# A server alone counts as number 1 in the ids of its sessions.
STANDALONE_SID = 1


class Way(Protocol):
    """Where writes go: what a role does with them."""

    # Whether zxids are given here.
    is_primary: bool

    def on_persisted(self, zxid: int) -> None:
        """All up to zxid is in our own log."""

    def flush(self) -> None:
        """Let other servers be told what gathered for them, and let happen what they have said."""


class DataHost:
    """Serves clients from the keeper's database, for as long as one role lasts."""

    def __init__(
        self,
        config: Config,
        clock: Clock,
        random: Random,
        keeper: Keeper,
        stats: ServerStats,
        *,
        read_only: bool = False,
    ) -> None:
        self._config = config
        self._clock = clock
        self.keeper = keeper
        self._journal = keeper.journal
        self._stats = stats
        self.database = keeper.database
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
        self.prep = PrepRequestProcessor(
            self.database,
            auth,
            length_max,
            digest_enabled=data.digest_enabled,
            close_session_txn=data.close_session_txn,
            enforce_quota=data.enforce_quota,
            reconfig_enabled=config.reconfig_enabled,
            has_peers=config.ensemble is not None,
        )
        if read_only or (config.ensemble is not None and config.replication.local_sessions):
            self._keep_local_sessions(read_only, length_max)
        self.way: Way
        # See Pipeline. The service's own method: one call less a request.
        self.on_frame = self.service.on_frame
        self.large_from = data.large_request_threshold if data.large_request_threshold >= 0 else 2**31
        self._limit = data.global_outstanding_limit
        self._throttled: dict[Client, None] = {}
        self._settled = 0
        # Whether the end of this turn is waited for.
        self._turn_ends = False
        # How often clients were heard in this turn, and whom last; who alone was heard in the last one.
        self._arrivals = 0
        self._last: Client | None = None
        self._alone: Client | None = None
        # Until when clients may be served, as renew(now_ms) said last; it ends the role where that is over. A process
        # that was stopped and goes on meets requests before alarms.
        self.lease_ms = inf
        self.renew: Callable[[float], float] = lambda now_ms: inf
        self._closed = False
        self._sessions_alarm = clock.alarm(self._on_sessions)
        self._reaper_alarm = clock.alarm(self._on_reaper)
        self._quotas = Quiet(QUIET_MS)
        self.throttle = make_throttle(config, random, clock.now_ms())
        self.enter()

    def _keep_local_sessions(self, read_only: bool, length_max: int) -> None:
        config, service = self._config, self.service
        sid = config.my_sid or STANDALONE_SID
        tracker = SessionTracker(sid, config.tick_ms, self._clock.now_ms(), wall_ms())
        upgrades = config.replication.local_sessions_upgrade
        service.local = LocalSessions(service, tracker, sid, length_max, upgrades=upgrades)
        service.read_only = read_only
        self.prep.may_own = service.tracker.sessions.__contains__

    def start(self, way: "Way") -> None:
        """From now on clients are served; where the order is given, sessions expire and containers go."""
        self.way = way
        self.keeper.on_persisted = self._on_persisted
        self._arm()
        if way.is_primary:
            self._reaper_alarm.set(self._clock.now_ms() + self._config.data.container_check_interval_ms)

    def stop(self) -> None:
        """Take nothing more from clients; what was taken goes on its way."""
        self._sessions_alarm.set(None)
        self._reaper_alarm.set(None)
        self.flush()

    def close(self) -> None:
        """The role is over: all clients are let go."""
        self._closed = True
        self._sessions_alarm.set(None)
        self._reaper_alarm.set(None)
        for client in list(self.service.clients.values()):
            self.service.end(client)
        self._tell_clients()

    # -- what the client port calls ----------------------------------------------------------------------------------

    @property
    def room(self) -> int:
        """See Pipeline."""
        return self._limit - self.service.outstanding

    def enter(self) -> None:
        """See Pipeline."""
        service = self.service
        now_ms = service.now_ms = self._clock.now_ms()
        service.wall_ms = wall_ms()
        if now_ms > self.lease_ms and not self._closed:
            self.lease_ms = self.renew(now_ms)

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
        if self._closed:
            return
        self.way.flush()
        self._tell_clients()
        self._journal.flush()
        if self._throttled and self.service.settled != self._settled and self.room > 0:
            # Once for all that has been answered since: what nothing has changed for would only be left again.
            self._settled = self.service.settled
            self._clock.soon(self._take_again)

    def _tell_clients(self) -> None:
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
        if self._closed:
            return
        self.way.on_persisted(zxid)
        self.flush()
        if self.prep.over_quota:
            self._warn_of_quotas()
        self.keeper.maybe_snapshot()

    def _take_again(self) -> None:
        """Clients whose requests were left unread."""
        clients, self._throttled = self._throttled, {}
        for client in clients:
            if client.number in self.service.clients and not client.closing:
                client.shell.take()

    def broken(self, failure: Failure) -> None:
        """See Pipeline: the process ends, and recovers from disk."""
        self.keeper.broken(failure)

    def _warn_of_quotas(self) -> None:
        over, self.prep.over_quota = self.prep.over_quota, []
        if self._quotas.due(self._clock.now_ms()):
            path, what = over[-1]
            log.warn("quota of {path} exceeded: {what}", path=path, what=what)

    # -- time --------------------------------------------------------------------------------------------------------

    def _arm(self) -> None:
        """Where the order is given the ensemble's sessions end, and those of this server alone end here."""
        local, service = self.service.local, self.service
        deadlines = [service.deadline_ms] if self.way.is_primary else []
        deadlines += [local.deadline_ms] if local is not None else []
        self._sessions_alarm.set(min(deadlines, default=None))

    def _on_sessions(self) -> None:
        try:
            self._expire()
        except Exception:
            self.broken(Failure())

    def _expire(self) -> None:
        self.enter()
        if self._closed:
            return
        for client in self._throttled:
            # What it says is left unread by us: its silence is none.
            if client.session is not None:
                client.session.heard_ms = self.service.now_ms
        expired = self.service.on_clock() if self.way.is_primary else []
        if self.service.local is not None:
            expired += self.service.local.on_clock()
        for session in expired:
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
        if self._closed:
            return
        share = data.container_max_per_minute * data.container_check_interval_ms // MINUTE_MS
        gone = self.service.reap(data.container_max_never_used_ms, max(1, share))
        self.flush()
        if gone:
            log.debug("{count} containers and nodes with a time to live are over", count=len(gone))
        self._reaper_alarm.set(self._clock.now_ms() + data.container_check_interval_ms)
