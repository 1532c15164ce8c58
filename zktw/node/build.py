"""build: from a Config to a Node, the service that twistd runs. Imports no reactor: it is an argument like all else."""

from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from zktw.config import Config
from zktw.config.clientport import SYSTEMD
from zktw.net.clientfactory import ClientCnxnFactory
from zktw.net.listener import BOTH, Listener
from zktw.node.alone import Alone
from zktw.node.chronicle import Chronicle
from zktw.node.clock import Clock, Random
from zktw.node.collector import Collector
from zktw.node.configfiles import ConfigFiles
from zktw.node.datahost import DataHost
from zktw.node.dataparts import log_recovery, make_database
from zktw.node.keeper import EXIT_BROKEN, Keeper, logs
from zktw.node.peer import QuorumPeer
from zktw.node.server import ZooKeeperServer
from zktw.node.systemd import Systemd
from zktw.storage.datadir import DataDir
from zktw.storage.files import IFiles, IWorker
from zktw.storage.journal import Journal
from zktw.storage.logformat import ENTRY_SLACK_BYTES
from zktw.storage.logtail import LogTail
from zktw.storage.recovery import Recovered, Rules, begin_anew, recover, reload
from zktw.storage.snapshots import Snapshotter
from zktw.storage.txnlog import TxnLog
from zktw.terms.errors import StorageError
from zktw.tree.database import Database
from zktw.zab.committedlog import CommittedLog
from zktw.zab.office import History

log = Logger()

HOUR_MS = 3_600_000
KILOBYTE = 1024
ANY_IPV4 = "0.0.0.0"


class Node(Service):
    """One server: storage, client ports, and, in an ensemble, the peer. Stops listeners, role, journal, in that order.

    fail(code, reason) ends the process; the simulator and tests give their own.
    """

    def __init__(
        self,
        config: Config,
        reactor: Any,
        files: IFiles,
        workers: Callable[[str], IWorker],
        random: Random,
        fail: Callable[[int, str], None],
        systemd: Systemd | None = None,
        *,
        quick_writes: bool = False,
    ) -> None:
        self.config = config
        self.clock = Clock(reactor)
        self.clock.on_failure = self._broken
        self.chronicle = Chronicle(self.clock, config.my_sid)
        self._is_failing = False
        self._fail = fail = self._noting(fail)
        self._systemd = systemd
        self._worker = workers("journal")
        self._housekeeper = workers("snapshots")
        self._datadir = DataDir(files, config.data_dir, config.data_log_dir)
        self._random = random
        self.journal = Journal(
            self._datadir, self._worker, self._txn_log(), self.clock.now_ms, self.clock.soon if quick_writes else None
        )
        self.keeper: Keeper | None = None
        self._committed = CommittedLog(count_max=config.replication.commit_log_count)
        self._rules = Rules()
        # Of a process of its own; a simulated server leaves garbage to its simulator.
        self.collector: Collector | None = None
        self.server = ZooKeeperServer(config, self.clock, self.chronicle)
        self._clients = ClientCnxnFactory(
            self.server,
            reactor,
            max_client_cnxns=config.max_client_cnxns,
            max_cnxns=config.max_cnxns,
            sessionless_timeout_ms=config.sessionless_timeout_ms,
            frame_bytes_max=config.jute_maxbuffer,
            keepalive=config.client_tcp_keepalive,
        )
        self.server.clients = self._clients
        self.server.look_at_sizes = self._look_at_sizes
        self._looking_at_sizes = False
        self._client_listener = Listener(
            reactor, "client", _client_bindings(config), self._clients, config.client_backlog
        )
        self._purge_alarm = self.clock.alarm(self._purge)
        self.peer: QuorumPeer | None = None
        if config.ensemble is not None:
            self.peer = QuorumPeer(
                config,
                reactor,
                self.clock,
                random,
                self._housekeeper,
                lambda: LogTail(self._datadir, entry_bytes_max(config)),
                self.chronicle,
                self.server,
                fail,
                ConfigFiles(files, self._worker, config.path) if config.reconfig_enabled and config.path else None,
            )
            self.peer.reconfiguring.move_clients = self._move_clients
        if systemd is not None:
            self.chronicle.listen(lambda _now_ms, _happening: systemd.status(self.server.status_line()))

    def _txn_log(self) -> TxnLog:
        data = self.config.data
        return TxnLog(
            self._datadir,
            preallocate_bytes=data.prealloc_kb * KILOBYTE,
            size_limit_bytes=data.log_size_limit_kb * KILOBYTE if data.log_size_limit_kb > 0 else -1,
            sync=data.force_sync,
            entry_bytes_max=entry_bytes_max(self.config),
        )

    def _noting(self, fail: Callable[[int, str], None]) -> Callable[[int, str], None]:
        def noted(code: int, reason: str) -> None:
            self._is_failing = True
            fail(code, reason)

        return noted

    def privilegedStartService(self) -> None:
        """Bind the low ports, as long as that is allowed."""
        Service.privilegedStartService(self)
        if self._client_listener.needs_privileges:
            self._client_listener.bind()
        if self.peer is not None:
            self.peer.bind()

    def startService(self) -> None:
        """Read what is on disk, then open the ports. No thread is started before this, since twistd forks."""
        Service.startService(self)
        self._worker.start()
        self._housekeeper.start()
        self._worker.run(self._read_disk).addCallbacks(self._recovered, self._not_recovered)

    def _read_disk(self) -> Recovered:
        config = self.config
        self._datadir.prepare(config.datadir_autocreate)
        rules = Rules(
            db_autocreate=config.db_autocreate,
            trust_empty=config.snapshot_trust_empty,
            epochs=config.ensemble is not None,
            length_max=config.jute_maxbuffer + config.jute_extra,
            entry_bytes_max=entry_bytes_max(config),
            digest=config.data.digest_enabled,
            serialize_last_zxid=config.data.serialize_last_zxid,
            compression=config.data.compression,
        )
        self._rules = rules
        if not logs(config):
            return begin_anew(self._datadir, lambda: make_database(config))
        return recover(self._datadir, lambda: make_database(config), rules, self._committed.append)

    def _reload(self) -> Database:
        """What is on disk, once more."""
        return reload(self._datadir, lambda: make_database(self.config), self._rules)

    def _recovered(self, recovered: Recovered) -> None:
        if not self.running:
            return
        history = History(recovered.accepted_epoch, recovered.current_epoch, recovered.last_zxid)
        self._committed.finish(recovered.database.last_zxid)
        log_recovery(recovered)
        keeper = self.keeper = self._make_keeper(recovered)
        self.server.history = history
        self.server.keeper = keeper
        self._client_listener.open(1).addErrback(
            lambda failure: self._fail(1, f"cannot bind the client port: {failure.getErrorMessage()}")
        )
        if self.config.purge_interval_hours > 0:
            self._purge()
        if self.peer is None:
            self._serve_standalone(keeper)
            self._ready(None)
        else:
            self.peer.reconfiguring.recover(keeper.database)
            self.peer.start(history, keeper, self._reload).addCallback(self._ready)

    def _make_keeper(self, recovered: Recovered) -> Keeper:
        data = self.config.data
        snapshotter = Snapshotter(
            self._datadir,
            self._housekeeper,
            self.clock,
            digest=data.digest_enabled,
            serialize_last_zxid=data.serialize_last_zxid,
            compression=data.compression,
        )
        return Keeper(
            self.config,
            self.clock,
            self._random,
            self.journal,
            snapshotter,
            self.server.stats,
            self._fail,
            recovered,
            self._committed,
        )

    def _move_clients(self, host: str, port: int) -> None:
        """A reconfiguration lets clients connect elsewhere; a socket that systemd has opened stays what it is."""
        if not self.config.client_address.startswith(SYSTEMD):
            self._client_listener.readdress([(BOTH if host == ANY_IPV4 else host, port)])

    def _serve_standalone(self, keeper: Keeper) -> None:
        host = DataHost(self.config, self.clock, self._random, keeper, self.server.stats)
        host.start(Alone(self.config, host))
        self.server.serve_standalone(host)
        keeper.maybe_snapshot()

    def _broken(self, failure: Failure) -> None:
        log.failure("this is a bug", failure)
        self._fail(EXIT_BROKEN, f"a bug: {failure.value!r}")

    def _not_recovered(self, failure: Failure) -> None:
        self._fail(3, failure.getErrorMessage())

    @property
    def is_quiet(self) -> bool:
        """Whether no client waits for anything."""
        return self.server.data is None or not self.server.data.service.outstanding

    def _ready(self, _: None) -> None:
        if self.collector is not None and self.running:
            self.collector.start()
        if self._systemd is not None and self.running:
            self._systemd.ready()
            self._systemd.status(self.server.status_line())

    def _purge(self) -> None:
        self._purge_alarm.set(self.clock.now_ms() + self.config.purge_interval_hours * HOUR_MS)
        self._housekeeper.run(self._datadir.purge, self.config.purge_retain).addCallbacks(
            self._purged,
            lambda failure: log.error("purge failed: {reason}", reason=failure.getErrorMessage()),
        )

    def _purged(self, names: list[str]) -> None:
        if names:
            log.info("purged {names}", names=", ".join(names))

    def _look_at_sizes(self) -> None:
        if not self._looking_at_sizes and self.running:
            self._looking_at_sizes = True
            self._housekeeper.run(self._datadir.sizes).addCallbacks(self.server.on_sizes, lambda _: None).addBoth(
                self._looked_at_sizes
            )

    def _looked_at_sizes(self, _: None) -> None:
        self._looking_at_sizes = False

    def stopService(self) -> Deferred[Any]:
        """Resign and close the ports at once, then let the writes under way come to their end."""
        if self._systemd is not None:
            self._systemd.stopping()
        self._purge_alarm.set(None)
        if self.collector is not None:
            self.collector.stop()
        closed = self._client_listener.close()
        resigned = self._stop_data() if self.peer is None else self._resign(self.peer)
        if self.peer is not None and self.keeper is not None:
            # Snapshots that are under way are given up.
            resigned.addCallback(lambda _: self.keeper.stop() if self.keeper is not None else None)
        resigned.addCallback(lambda _: self._clients.close_all())
        resigned.addCallback(lambda _: closed)
        # After a write that failed the journal refuses this as well; why the process ends has been told by then.
        resigned.addCallback(lambda _: self.journal.close().addErrback(lambda failure: failure.trap(StorageError)))
        resigned.addCallback(lambda _: self._worker.stop())
        resigned.addCallback(lambda _: self._housekeeper.stop())
        resigned.addCallback(lambda _: maybeDeferred(super(Node, self).stopService))
        return resigned

    def _resign(self, peer: QuorumPeer) -> Deferred[Any]:
        """What was taken is answered first, unless we end because we cannot go on."""
        self._clients.deafen_all()
        self.server.is_stopping = True
        limit_ms = 0 if self._is_failing else self.config.replication.resign_timeout_ms

        def leave(_: None) -> Deferred[Any]:
            self.server.stop_serving()
            return peer.stop()

        return peer.drain(limit_ms).addCallback(leave)

    def _stop_data(self) -> Deferred[None]:
        """What clients were promised is written first; what they ask meanwhile is not taken any more."""
        self.server.stop_serving()
        self._clients.deafen_all()
        if self.server.data is not None:
            self.server.data.stop()
        return succeed(None) if self.keeper is None else self.keeper.stop()


def build(
    config: Config,
    reactor: Any,
    files: IFiles,
    workers: Callable[[str], IWorker],
    random: Random,
    *,
    fail: Callable[[int, str], None],
    systemd: Systemd | None = None,
    quick_writes: bool = False,
) -> Node:
    """Assemble a server; nothing runs before startService. workers(name) makes a thread of that name.

    quick_writes: the reactor may write to the log itself where that is fast; see Journal.
    """
    return Node(config, reactor, files, workers, random, fail, systemd, quick_writes=quick_writes)


def entry_bytes_max(config: Config) -> int:
    """The longest entry of a log: one request, and what the server adds to it."""
    return config.jute_maxbuffer + config.jute_extra + ENTRY_SLACK_BYTES


def _client_bindings(config: Config) -> list[tuple[str, int]]:
    if config.client_port is None:
        return []
    return [(config.client_address or BOTH, config.client_port)]
