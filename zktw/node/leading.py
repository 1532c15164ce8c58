"""LeadingRole: what a server owns while it leads: its learners' connections, the core, the service of clients."""

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from zktw.net.quorumcnxn import LearnerHandlerCnxn
from zktw.node.datahost import DataHost
from zktw.node.driver import Driver
from zktw.node.logreading import LogReading
from zktw.node.means import Means
from zktw.node.reconfigleading import ReconfigLeading
from zktw.pipeline.primary import Primary
from zktw.pipeline.remote import RemoteRequests
from zktw.quorum.peerstate import PeerEvent
from zktw.storage.logtail import Tail
from zktw.terms.limits import LEARNER_BACKLOG_BYTES_MAX
from zktw.terms.vote import Notification
from zktw.wire.effects import (
    CloseLearner,
    Effect,
    Elected,
    EpochAgreed,
    EpochName,
    PersistEpoch,
    QuorumLost,
    ReadLog,
    Send,
    SendBytes,
    SendTree,
    Serving,
)
from zktw.wire.peers import QuorumPacket
from zktw.zab.leader import Leader

log = Logger()


class LeadingRole:
    """Leads: hands the learners' connections to the Leader core and carries out what it says.

    It is the Outlet of the core's broadcast, and the Way of the data service.
    """

    is_primary = True

    def __init__(self, means: Means, elected: Elected) -> None:
        self._means = means
        self._keeper = means.keeper
        self._core = Leader(
            means.config.my_sid,
            means.ensemble.verifier(),
            means.history,
            means.timing,
            self._keeper.committed,
            self,
            rules=means.sync_rules,
            config_text=means.ensemble.text(),
            config_version=means.ensemble.version,
            members=tuple(means.ensemble.members),
            electors=elected.electors,
            round_=elected.round,
            epoch_wait_ms=means.config.max_time_to_wait_for_epoch_ms,
        )
        self._driver = Driver(means.clock, self._core, self._carry_out)
        self._over = self._is_resigning = False
        self._reconfig = ReconfigLeading(means, self._core, self._resign, self._recount)
        self._cnxns: dict[int, LearnerHandlerCnxn] = {}
        self._logs = LogReading(means, self._log_read)
        # Whether packets that came together are being taken, and since when.
        self._in_batch = False
        self._now_ms = 0.0
        self._host: DataHost | None = None
        self._primary: Primary | None = None
        self._remote: RemoteRequests | None = None

    @property
    def core(self) -> Leader:
        """For the figures of the four-letter words."""
        return self._core

    def start(self) -> None:
        self._driver.do(self._core.start(self._means.clock.now_ms()))
        # Open already, unless a reconfiguration has named us.
        opened = self._means.quorum_listener.open(self._means.config.election_bind_retries)
        opened.addCallbacks(
            lambda _: self._lead(),
            lambda failure: self._resign(f"cannot bind the quorum port: {failure.getErrorMessage()}"),
        )
        opened.addErrback(self._means.broken)

    def _lead(self) -> None:
        if not self._over:
            self._means.quorum_port.lead(self)

    def deafen(self) -> None:
        """See resigning.Ending."""
        self._is_resigning = True
        if self._remote is not None:
            self._remote.is_deaf = True

    @property
    def is_quiet(self) -> bool:
        """See resigning.Ending."""
        return self._over or not self._core.broadcast.outstanding

    def stop(self) -> Deferred[None]:
        self._over = True
        self._driver.stop()
        self._reconfig.stop()
        self._means.quorum_port.hold()
        if self._host is not None:
            self._host.close()
        cnxns, self._cnxns = self._cnxns, {}
        for cnxn in cnxns.values():
            if self._is_resigning and not cnxn.backlog:
                cnxn.finish()
            else:
                cnxn.abort()
        return self._keeper.settle(self._core.broadcast.outstanding).addCallback(lambda _: self._note_history())

    def _note_history(self) -> None:
        # All that we have logged counts in the next vote, committed or not.
        history = self._means.history
        history.last_zxid = max(history.last_zxid, self._keeper.committed.last)

    def on_notification(self, notification: Notification) -> None:
        """A voter that wants another leader may never come."""
        self._driver.do(self._core.on_vote(notification, self._means.clock.now_ms()))

    def on_disconnected(self, sid: int) -> None:
        """What counts is the learner's connection; but who is gone for good will never make one."""
        gone = [voter for voter in self._means.ensemble.voters if self._means.election.is_gone(voter)]
        self._driver.do(self._core.on_gone(gone))

    # -- the connections' events -------------------------------------------------------------------------------------

    def on_learner(self, cnxn: LearnerHandlerCnxn) -> None:
        """A learner's connection is there."""
        self._cnxns[cnxn.number] = cnxn
        self._driver.do(self._core.on_connected(cnxn.number, self._means.clock.now_ms()))

    def on_learner_packet(self, cnxn: LearnerHandlerCnxn, packet: QuorumPacket) -> None:
        """A learner said this."""
        if not self._in_batch:
            self._in_batch = True
            self._now_ms = self._means.clock.now_ms()
            if self._host is not None:
                self._host.enter()
        effects = self._core.on_packet(cnxn.number, packet, self._now_ms)
        if effects:
            self._driver.do(effects)

    def broken(self, failure: Failure) -> None:
        """See LeaderEvents."""
        self._means.broken(failure)

    def on_learner_batch_end(self, cnxn: LearnerHandlerCnxn) -> None:
        """That was all for now."""
        self._in_batch = False
        if self._host is not None:
            self._host.flush()

    def on_learner_lost(self, cnxn: LearnerHandlerCnxn, reason: str) -> None:
        """A learner's connection ended."""
        self._cnxns.pop(cnxn.number, None)
        self._logs.forget(cnxn.number)
        handler = self._core.learners.get(cnxn.number)
        if handler is not None:
            log.info("connection of learner {sid} ended: {reason}", sid=handler.sid or cnxn.peer, reason=reason)
        self._driver.do(self._core.on_closed(cnxn.number))

    # -- what the broadcast asks for ---------------------------------------------------------------------------------

    def persist(self, zxid: int, payload: bytes) -> None:
        """See broadcast.Outlet."""
        self._keeper.append(zxid, payload)

    def commit(self, zxid: int) -> None:
        """See broadcast.Outlet."""
        assert self._primary is not None
        self._primary.on_committed(zxid)
        self._reconfig.on_committed(zxid)

    def write(self, connection: int, data: bytes) -> None:
        """See broadcast.Outlet."""
        cnxn = self._cnxns.get(connection)
        if cnxn is None:
            return
        cnxn.write(data)
        if cnxn.backlog > LEARNER_BACKLOG_BYTES_MAX:
            self._means.clock.soon(lambda: self._driver.do(self._core.on_overrun(connection, cnxn.backlog)))

    # -- the way of what clients write -------------------------------------------------------------------------------

    def on_persisted(self, zxid: int) -> None:
        """See datahost.Way."""
        self._core.broadcast.on_persisted(zxid)

    def flush(self) -> None:
        """See datahost.Way."""
        self._core.broadcast.flush()

    def _serve(self) -> None:
        means, keeper = self._means, self._keeper
        self._reconfig.on_serving()
        means.show_config()
        keeper.database.last_zxid = self._core.history.last_zxid
        host = self._host = DataHost(means.config, means.clock, means.random, keeper, means.server.stats)
        self._primary = Primary(
            host.service,
            host.prep,
            self._core.broadcast.propose,
            digest_enabled=means.config.data.digest_enabled,
            exhausted=self._exhausted,
            answers_all=True,
        )
        host.prep.reconfigurer = self._reconfig.make_reconfigurer()
        self._remote = self._core.requests = RemoteRequests(host.service, self._primary, self._core.broadcast.answer)
        host.renew, host.lease_ms = self._renew, 0
        host.start(self)

    def _renew(self, now_ms: float) -> float:
        """See DataHost.renew."""
        self._driver.do(self._core.on_deadline(now_ms))
        return self._core.lease_ms

    def _resign(self, reason: str) -> None:
        self._driver.do(self._core.resign(reason))

    def _recount(self) -> None:
        """The rule of quorums has changed: what waited for the old one may be committed by now."""
        if self._host is not None:
            self._host.enter()
            self._host.flush()

    def _exhausted(self) -> None:
        # Not now: whoever asked is in the middle of something.
        self._means.clock.soon(lambda: self._driver.do(self._core.on_counter_used_up()))

    # -- effects -----------------------------------------------------------------------------------------------------

    def _carry_out(self, effect: Effect) -> None:
        means = self._means
        means.chronicle.tell(effect)
        match effect:
            case Send(number, packet) if number in self._cnxns:
                self._cnxns[number].send(packet)
            case SendBytes(number, data):
                self.write(number, data)
            case SendTree(number) if number in self._cnxns:
                self._cnxns[number].stream(self._keeper.database.image().pieces())
            case ReadLog(number, zxid, first):
                self._logs.read(number, zxid, first)
            case CloseLearner(number, reason) if number in self._cnxns:
                cnxn = self._cnxns.pop(number)
                self._logs.forget(number)
                log.warn("closing quorum connection of {peer}: {reason}", peer=cnxn.peer, reason=reason)
                cnxn.abort()
            case PersistEpoch(name, epoch):
                written = means.journal.write_epoch(name, epoch)
                written.addCallbacks(lambda _: self._epoch_persisted(name, epoch), means.disk_failed)
                written.addErrback(means.broken)
            case EpochAgreed(epoch):
                self._reconfig.on_epoch(epoch)
            case Serving(epoch):
                means.election.adopt_epoch(epoch)
                self._serve()
                assert self._host is not None
                means.server.lead(epoch, self._core, self._host)
            case QuorumLost(reason):
                means.end(PeerEvent.QUORUM_LOST, reason)

    def _epoch_persisted(self, name: EpochName, epoch: int) -> None:
        self._driver.do(self._core.on_epoch_persisted(name, epoch, self._means.clock.now_ms()))

    def _log_read(self, connection: int, tail: Tail | None) -> None:
        self._driver.do(self._core.on_log_read(connection, tail))
