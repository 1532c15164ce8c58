"""ObserverMasterPort: a follower's port for observers: their connections, the core, and what they pass on."""

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from zktw.net.listener import Listener
from zktw.net.quorumcnxn import LearnerHandlerCnxn, QuorumPort
from zktw.node.driver import Driver
from zktw.node.logreading import LogReading
from zktw.node.means import Means
from zktw.pipeline.following import Following
from zktw.pipeline.relay import Relay
from zktw.storage.logtail import Tail
from zktw.wire.effects import CloseLearner, Effect, ReadLog, Send, SendBytes, SendTree
from zktw.wire.peers import QuorumPacket
from zktw.zab.committedlog import Entry
from zktw.zab.observermaster import ObserverMaster

log = Logger()


class ObserverMasterPort:
    """Open while its server follows and serves. Observers that take too little of what they are told are dropped."""

    def __init__(self, means: Means, epoch: int, following: Following) -> None:
        config, ensemble = means.config, means.ensemble
        self._means = means
        self._core = ObserverMaster(
            epoch,
            means.timing,
            means.keeper.committed,
            Relay(following, self._write),
            self._write,
            rules=means.sync_rules,
            config_text=ensemble.text(),
            config_version=ensemble.version,
        )
        self._driver = Driver(means.clock, self._core, self._carry_out)
        self._cnxns: dict[int, LearnerHandlerCnxn] = {}
        self._logs = LogReading(means, self._log_read)
        self._port = QuorumPort(
            means.data_bytes_max,
            means.clock.soon,
            nodelay=config.leader_nodelay,
            user_timeout_ms=int(means.timing.sync_ms),
        )
        hosts = [address.host for address in ensemble.members[config.my_sid].quorum_addresses]
        hosts = [""] if config.listen_on_all_ips else hosts
        port = config.replication.observer_master_port
        addresses = [(host, port) for host in dict.fromkeys(hosts)]
        self._listener = Listener(means.reactor, "observer master", addresses, self._port)

    @property
    def synced(self) -> int:
        """How many observers hold our history."""
        return self._core.synced

    def start(self) -> None:
        """Let observers come. A port that cannot be had is tried again and again: they have others to go to."""
        self._driver.do(self._core.start(self._means.clock.now_ms()))
        self._port.lead(self)
        self._listener.open(0).addErrback(
            lambda failure: log.error("no observers are served: {reason}", reason=failure.getErrorMessage())
        )

    def stop(self) -> Deferred[None]:
        """The leader is lost: observers look for another; fires when the port is free."""
        self._driver.stop()
        self._port.drop()
        cnxns, self._cnxns = self._cnxns, {}
        for cnxn in cnxns.values():
            cnxn.abort()
        return self._listener.close()

    def on_committed(self, entries: list[Entry]) -> None:
        """These have happened here."""
        self._core.informs.tell(entries)

    def on_activation(self, zxid: int, designated: int) -> None:
        """The transaction of this zxid, which is about to happen, is a reconfiguration that names its leader."""
        self._core.informs.activation = (zxid, designated)

    def on_reconfigured(self) -> None:
        """It has happened."""
        ensemble = self._means.ensemble
        self._core.use(ensemble.text(), ensemble.version)

    # -- the connections' events -------------------------------------------------------------------------------------

    def on_learner(self, cnxn: LearnerHandlerCnxn) -> None:
        """An observer's connection is there."""
        self._cnxns[cnxn.number] = cnxn
        self._driver.do(self._core.on_connected(cnxn.number, self._means.clock.now_ms()))

    def on_learner_packet(self, cnxn: LearnerHandlerCnxn, packet: QuorumPacket) -> None:
        """An observer said this."""
        self._driver.do(self._core.on_packet(cnxn.number, packet, self._means.clock.now_ms()))

    def broken(self, failure: Failure) -> None:
        """See LeaderEvents."""
        self._means.broken(failure)

    def on_learner_batch_end(self, cnxn: LearnerHandlerCnxn) -> None:
        """That was all for now: let the leader hear of it."""
        data = self._means.server.data
        if data is not None:
            data.flush()

    def on_learner_lost(self, cnxn: LearnerHandlerCnxn, reason: str) -> None:
        """An observer's connection ended."""
        self._cnxns.pop(cnxn.number, None)
        self._logs.forget(cnxn.number)
        log.info("connection of observer {peer} ended: {reason}", peer=cnxn.peer, reason=reason)
        self._driver.do(self._core.on_closed(cnxn.number))

    def _write(self, connection: int, data: bytes) -> None:
        cnxn = self._cnxns.get(connection)
        if cnxn is None:
            return
        cnxn.write(data)
        if cnxn.backlog > self._means.config.replication.observer_master_bytes_max:
            self._means.clock.soon(lambda: self._driver.do(self._core.on_overrun(connection, cnxn.backlog)))

    def _log_read(self, connection: int, tail: Tail | None) -> None:
        self._driver.do(self._core.on_log_read(connection, tail))

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Send(number, packet) if number in self._cnxns:
                self._cnxns[number].send(packet)
            case SendBytes(number, data):
                self._write(number, data)
            case SendTree(number) if number in self._cnxns:
                self._cnxns[number].stream(self._means.keeper.database.image().pieces())
            case ReadLog(number, zxid, first):
                self._logs.read(number, zxid, first)
            case CloseLearner(number, reason) if number in self._cnxns:
                cnxn = self._cnxns.pop(number)
                self._logs.forget(number)
                log.warn("closing connection of observer {peer}: {reason}", peer=cnxn.peer, reason=reason)
                cnxn.abort()
