"""LookingRole, FollowingRole (observers too) and LeadingRole: what a server owns while it plays a role.

A role owns all it starts and ends it in stop(); a write under way is not cancelled but waited for, since the next role
may want the same file.
"""

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from zktw.net.dialler import Dial, DialError, tune
from zktw.net.quorumcnxn import LearnerCnxn, LearnerHandlerCnxn
from zktw.node.chronicle import Connected
from zktw.node.driver import Driver
from zktw.node.means import Means
from zktw.quorum.peerstate import PeerEvent
from zktw.terms.vote import Notification, Vote
from zktw.wire.effects import (
    CloseLearner,
    Effect,
    Elected,
    EpochName,
    LeaderLost,
    PersistEpoch,
    PersistTree,
    QuorumLost,
    ReadTree,
    Send,
    SendTree,
    Serving,
)
from zktw.wire.peers import QuorumPacket
from zktw.wire.snapstream import SnapStreamParser, fresh_snapshot_stream
from zktw.zab.leader import Leader
from zktw.zab.learner import Learner

log = Logger()

# An Apache leader binds its quorum port only after its own finalize wait, which ours may have cut short.
LEADER_PATIENCE_MS = 2500
READ_ONLY_GRACE_MS = 2000


class LookingRole:
    """Takes part in an election, and serves readers meanwhile where that is allowed."""

    def __init__(self, means: Means, pause_ms: float = 0.0) -> None:
        self._means = means
        self._pause_ms = pause_ms
        self._over = False
        self._begin = means.clock.alarm(self._look)
        self._read_only = means.clock.alarm(self._serve_read_only)

    def start(self) -> None:
        means = self._means
        now_ms = means.clock.now_ms()
        means.quorum_port.hold()
        if means.config.is_observer:
            # Many observers lose their leader at the same time; they need not all ask at the same time.
            self._pause_ms += means.random.random() * means.config.observer_election_delay_ms
            self._look_soon()
        else:
            # A learner may have decided before we have: let it connect, and hold it. Until it can, we seek no votes: a
            # leader that nobody can reach would be elected again and again (bug 4203).
            opened = means.quorum_listener.open(means.config.election_bind_retries)
            opened.addCallbacks(
                lambda _: self._look_soon(),
                lambda failure: means.fail(1, f"cannot bind the quorum port: {failure.getErrorMessage()}"),
            )
            opened.addErrback(means.broken)
        if means.config.read_only_mode:
            self._read_only.set(now_ms + max(READ_ONLY_GRACE_MS, means.config.tick_ms))

    def _look_soon(self) -> None:
        if self._over:
            return
        if self._pause_ms:
            self._begin.set(self._means.clock.now_ms() + self._pause_ms)
        else:
            self._look()

    def _look(self) -> None:
        means = self._means
        history = means.history
        vote = Vote(history.current_epoch, history.last_zxid, means.config.my_sid)
        means.manager.hurry(True)
        means.elections.do(means.election.look(vote, means.clock.now_ms()))

    def _serve_read_only(self) -> None:
        self._means.server.serve_read_only()

    def stop(self) -> Deferred[Any]:
        self._over = True
        self._begin.set(None)
        self._read_only.set(None)
        self._means.manager.hurry(False)
        return succeed(None)

    def on_notification(self, notification: Notification) -> None:
        """The election has heard it already."""

    def on_disconnected(self, sid: int) -> None:
        """The election has heard it already."""


class FollowingRole:
    """Follows, or observes, the elected leader: finds it, connects, and lets the Learner core talk."""

    def __init__(self, means: Means, elected: Elected) -> None:
        self._means = means
        self._leader = elected.vote.leader
        self._core = Learner(
            means.config.my_sid,
            means.config.is_observer,
            means.history,
            means.timing,
            config_version=means.ensemble.version,
        )
        self._driver = Driver(means.clock, self._core, self._carry_out)
        self._began_ms = means.clock.now_ms()
        self._again = means.clock.alarm(self._dial)
        self._dialling: Dial | None = None
        self._cnxn: LearnerCnxn | None = None
        self._tree: bytes | None = None
        self._over = False

    def start(self) -> None:
        self._means.quorum_port.drop()
        # Refusing is better than accepting for nothing; but a low port could not be bound again.
        if not self._means.quorum_listener.needs_privileges:
            self._means.quorum_listener.close()
        self._dial()

    def stop(self) -> Deferred[Any]:
        self._over = True
        self._again.set(None)
        self._driver.stop()
        if self._dialling is not None:
            self._dialling.cancel()
        if self._cnxn is not None:
            self._cnxn.abort()
        return self._means.journal.drained()

    # -- finding the leader ------------------------------------------------------------------------------------------

    def _dial(self) -> None:
        means = self._means
        member = means.ensemble.members[self._leader]
        addresses = [(address.host, address.port) for address in member.quorum_addresses]
        limit_ms = means.config.tick_ms * means.config.connect_limit
        self._dialling = Dial(
            means.reactor,
            addresses,
            lambda: LearnerCnxn(means.data_bytes_max, self._tree_parser, self._made),
            max(limit_ms, LEADER_PATIENCE_MS),
        )
        self._dialling.done.addCallbacks(self._connected, self._not_connected)

    def _tree_parser(self) -> SnapStreamParser:
        return SnapStreamParser(self._means.data_bytes_max)

    def _made(self, cnxn: LearnerCnxn) -> None:
        tune(
            cnxn.transport,
            nodelay=self._means.config.follower_nodelay,
            keepalive=True,
            user_timeout_ms=int(self._means.timing.sync_ms),
        )

    def _connected(self, protocol: IProtocol) -> None:
        assert isinstance(protocol, LearnerCnxn)
        self._dialling = None
        self._cnxn = protocol
        protocol.events = self
        self._means.chronicle.tell(Connected(self._leader))
        self._driver.do(self._core.start(self._means.clock.now_ms()))

    def _not_connected(self, failure: Failure) -> None:
        self._dialling = None
        if self._over:
            return
        now_ms = self._means.clock.now_ms()
        waited_ms = now_ms - self._began_ms
        refused = isinstance(failure.value, DialError) and failure.value.refused
        limit_ms = self._means.config.tick_ms * self._means.config.connect_limit
        patience_ms = LEADER_PATIENCE_MS if refused else max(limit_ms, LEADER_PATIENCE_MS)
        if waited_ms >= patience_ms:
            self._give_up(f"leader {self._leader} was not reached in {waited_ms:.0f} ms: {failure.getErrorMessage()}")
            return
        self._again.set(now_ms + self._means.config.leader_connect_delay_ms)

    def on_notification(self, notification: Notification) -> None:
        """While the leader does not answer the door, its vote may tell that it is no leader."""
        waiting = self._cnxn is None and not self._over
        if waiting and notification.sid == self._leader and notification.vote.leader != self._leader:
            self._give_up(f"server {self._leader} votes for {notification.vote.leader}")

    def on_disconnected(self, sid: int) -> None:
        """While the leader does not answer the door, the end of its election connection tells that it is gone."""
        if self._cnxn is None and not self._over and sid == self._leader:
            self._give_up(f"the election connection of server {sid} ended")

    def _give_up(self, reason: str) -> None:
        self._carry_out(LeaderLost(reason))

    # -- the connection's events -------------------------------------------------------------------------------------

    def on_packet(self, packet: QuorumPacket) -> None:
        """The leader said this."""
        self._driver.do(self._core.on_packet(packet, self._means.clock.now_ms()))

    def on_tree(self, body: bytes) -> None:
        """The leader's tree."""
        self._tree = body
        self._driver.do(self._core.on_tree(self._means.clock.now_ms()))

    def on_stream_error(self, reason: str) -> None:
        """The conversation is over."""
        self._driver.do(self._core.on_stream_error(reason))

    # -- effects -----------------------------------------------------------------------------------------------------

    def _carry_out(self, effect: Effect) -> None:
        means = self._means
        means.chronicle.tell(effect)
        match effect:
            case Send(_, packet) if self._cnxn is not None:
                self._cnxn.send(packet)
            case ReadTree() if self._cnxn is not None:
                self._cnxn.read_tree()
            case PersistEpoch(name, epoch):
                written = means.journal.write_epoch(name, epoch)
                written.addCallbacks(lambda _: self._epoch_persisted(name, epoch), means.disk_failed)
                written.addErrback(means.broken)
            case PersistTree(zxid):
                assert self._tree is not None
                tree, self._tree = self._tree, None
                written = means.journal.write_snapshot(zxid, tree)
                written.addCallbacks(lambda _: self._driver.do(self._core.on_tree_persisted(zxid)), means.disk_failed)
                written.addErrback(means.broken)
            case Serving(epoch):
                means.election.adopt_epoch(epoch)
                means.server.follow(epoch, self._leader)
            case LeaderLost(reason):
                means.end(PeerEvent.LEADER_LOST, reason)

    def _epoch_persisted(self, name: EpochName, epoch: int) -> None:
        # The core notes what is on disk even where the role is over by now.
        self._driver.do(self._core.on_epoch_persisted(name, epoch, self._means.clock.now_ms()))


class LeadingRole:
    """Leads: hands the learners' connections to the Leader core and carries out what it says."""

    def __init__(self, means: Means, elected: Elected) -> None:
        self._means = means
        self._core = Leader(
            means.config.my_sid,
            means.ensemble.verifier(),
            means.history,
            means.timing,
            config_text=means.ensemble.text(),
            config_version=means.ensemble.version,
            members=tuple(means.ensemble.members),
            electors=elected.electors,
            round_=elected.round,
            epoch_wait_ms=means.config.max_time_to_wait_for_epoch_ms,
        )
        self._driver = Driver(means.clock, self._core, self._carry_out)
        self._cnxns: dict[int, LearnerHandlerCnxn] = {}

    @property
    def core(self) -> Leader:
        """For the figures of the four-letter words."""
        return self._core

    def start(self) -> None:
        self._driver.do(self._core.start(self._means.clock.now_ms()))
        self._means.quorum_port.lead(self)

    def stop(self) -> Deferred[Any]:
        self._driver.stop()
        self._means.quorum_port.hold()
        cnxns, self._cnxns = self._cnxns, {}
        for cnxn in cnxns.values():
            cnxn.abort()
        return self._means.journal.drained()

    def on_notification(self, notification: Notification) -> None:
        """A voter that wants another leader may never come."""
        self._driver.do(self._core.on_vote(notification, self._means.clock.now_ms()))

    def on_disconnected(self, sid: int) -> None:
        """What counts is the learner's connection."""

    # -- the connections' events -------------------------------------------------------------------------------------

    def on_learner(self, cnxn: LearnerHandlerCnxn) -> None:
        """A learner's connection is there."""
        self._cnxns[cnxn.number] = cnxn
        self._driver.do(self._core.on_connected(cnxn.number, self._means.clock.now_ms()))

    def on_learner_packet(self, cnxn: LearnerHandlerCnxn, packet: QuorumPacket) -> None:
        """A learner said this."""
        self._driver.do(self._core.on_packet(cnxn.number, packet, self._means.clock.now_ms()))

    def on_learner_lost(self, cnxn: LearnerHandlerCnxn, reason: str) -> None:
        """A learner's connection ended."""
        self._cnxns.pop(cnxn.number, None)
        handler = self._core.learners.get(cnxn.number)
        if handler is not None:
            log.info("connection of learner {sid} ended: {reason}", sid=handler.sid or cnxn.peer, reason=reason)
        self._driver.do(self._core.on_closed(cnxn.number))

    # -- effects -----------------------------------------------------------------------------------------------------

    def _carry_out(self, effect: Effect) -> None:
        means = self._means
        means.chronicle.tell(effect)
        match effect:
            case Send(number, packet) if number in self._cnxns:
                self._cnxns[number].send(packet)
            case SendTree(number) if number in self._cnxns:
                self._cnxns[number].send_bytes(fresh_snapshot_stream())
            case CloseLearner(number, reason) if number in self._cnxns:
                cnxn = self._cnxns.pop(number)
                log.warn("closing quorum connection of {peer}: {reason}", peer=cnxn.peer, reason=reason)
                cnxn.abort()
            case PersistEpoch(name, epoch):
                written = means.journal.write_epoch(name, epoch)
                written.addCallbacks(lambda _: self._epoch_persisted(name, epoch), means.disk_failed)
                written.addErrback(means.broken)
            case Serving(epoch):
                means.election.adopt_epoch(epoch)
                means.server.lead(epoch, self._core)
            case QuorumLost(reason):
                means.end(PeerEvent.QUORUM_LOST, reason)

    def _epoch_persisted(self, name: EpochName, epoch: int) -> None:
        self._driver.do(self._core.on_epoch_persisted(name, epoch, self._means.clock.now_ms()))
