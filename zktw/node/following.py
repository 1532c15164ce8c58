"""FollowingRole (observers too): what a server owns while another leads: the connection, the core, the service."""

from collections import deque
from functools import partial
from math import inf

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from zktw.net.quorumcnxn import LearnerCnxn
from zktw.node.chronicle import Connected
from zktw.node.datahost import DataHost
from zktw.node.dataparts import make_database
from zktw.node.driver import Driver
from zktw.node.means import Means
from zktw.node.observermaster import ObserverMasterPort
from zktw.node.probing import Probing
from zktw.node.reconfigfollowing import ReconfigFollowing
from zktw.node.search import Search
from zktw.pipeline.copied import read_copied
from zktw.pipeline.following import Following
from zktw.quorum.peerstate import PeerEvent
from zktw.terms.codes import PacketType
from zktw.terms.errors import NotHeldError, ProtocolError, StorageError, WireError
from zktw.terms.vote import Notification
from zktw.terms.zxid import make_zxid
from zktw.tree.database import Database
from zktw.wire.effects import (
    Effect,
    Elected,
    EpochName,
    LeaderLost,
    PersistEpoch,
    PersistTree,
    PersistTxns,
    ReadTree,
    Send,
    Serving,
    Truncate,
)
from zktw.wire.peers import QuorumPacket, encode_bare_run
from zktw.wire.txn import decode_txn
from zktw.zab.committedlog import Entry
from zktw.zab.follower import Follower
from zktw.zab.learner import Learner, LearnerStage

log = Logger()

_LENGTH_MAX = 2**31 - 1
# Transactions that are applied in one turn.
_SLICE = 500


class FollowingRole:
    """Follows, or observes, the elected leader: finds it, connects, and lets the cores talk: Learner, then Follower.

    It is the Outlet of the Follower core, and the Way of the data service.
    """

    is_primary = False

    def __init__(self, means: Means, elected: Elected) -> None:
        self._means = means
        self._keeper = means.keeper
        self._leader = elected.vote.leader
        # A reconfiguration that is told of in this role may change it.
        self._observer = means.config.is_observer
        self._core = Learner(
            means.config.my_sid,
            means.config.is_observer,
            means.history,
            means.timing,
            config_version=means.ensemble.version,
        )
        self._driver = Driver(means.clock, self._core, self._carry_out)
        self._search = Search(means, self._leader, self._connected, self._give_up)
        self._probing = Probing(means, self._give_up)
        # Whom we learn from: the leader, or, an observer, a follower of it.
        self._master = self._leader
        self._observer_master: ObserverMasterPort | None = None
        self._cnxn: LearnerCnxn | None = None
        # The leader's tree as it comes; ours as before, until the leader's is whole and on disk.
        self._tree: Database | None = None
        self._busy: Deferred[None] = succeed(None)
        self._host: DataHost | None = None
        self._following: Following | None = None
        self._follower: Follower | None = None
        # What we have logged, or are about to, and not acknowledged.
        self._unacked: deque[int] = deque()
        self._out: list[bytes] = []
        self._over = False
        self._reconfig = ReconfigFollowing(means, self._leader, lambda: self._over)

    def start(self) -> None:
        self._means.quorum_port.drop()
        # Refusing is better than accepting for nothing; but a low port could not be bound again.
        if not self._means.quorum_listener.needs_privileges:
            self._means.quorum_listener.close()
        self._search.start()

    def deafen(self) -> None:
        """See resigning.Ending: clients are not heard, and nobody else asks us for anything."""

    @property
    def is_quiet(self) -> bool:
        """See resigning.Ending."""
        return self._over or self._host is None or not self._host.service.outstanding

    def stop(self) -> Deferred[None]:
        self._over = True
        self._search.stop()
        self._probing.stop()
        self._driver.stop()
        if self._host is not None:
            self._host.close()
        if self._cnxn is not None:
            self._cnxn.abort()
        in_flight = () if self._follower is None else self._follower.in_flight
        if self._follower is not None:
            self._follower.flush()
        # What is being written, and what memory is being brought to, comes to its end first.
        settled: Deferred[None] = Deferred()
        self._busy.addBoth(lambda _: self._keeper.settle(in_flight))
        self._busy.addCallback(lambda _: self._note_history())
        if self._observer_master is not None:
            closed = self._observer_master.stop()
            self._busy.addBoth(lambda _: closed)
        self._busy.addBoth(settled.callback)
        return settled

    def _note_history(self) -> None:
        if self._follower is not None:
            self._means.history.last_zxid = max(self._keeper.committed.last, self._means.history.last_zxid)

    # -- finding the leader ------------------------------------------------------------------------------------------

    def _connected(self, cnxn: LearnerCnxn, sid: int) -> None:
        self._cnxn, self._master = cnxn, sid
        cnxn.events = self
        self._means.chronicle.tell(Connected(sid))
        self._probing.start(sid)
        self._driver.do(self._core.start(self._means.clock.now_ms()))

    def on_notification(self, notification: Notification) -> None:
        """It may tell that who is searched for is no leader."""
        self._search.on_notification(notification)
        self._probing.heard(notification.sid)

    def on_disconnected(self, sid: int) -> None:
        """It may tell that who is searched for is gone."""
        self._search.on_disconnected(sid)

    def _give_up(self, reason: str) -> None:
        self._carry_out(LeaderLost(reason))

    # -- the connection's events -------------------------------------------------------------------------------------

    def on_packet(self, packet: QuorumPacket) -> None:
        """The leader said this."""
        if self._follower is None:
            self._probing.heard(self._master)
            self._driver.do(self._core.on_packet(packet, self._means.clock.now_ms()))
            return
        try:
            self._on_serving(self._follower, packet)
        except (ProtocolError, WireError) as error:
            self._driver.do(self._core.on_stream_error(str(error)))

    def _on_serving(self, follower: Follower, packet: QuorumPacket) -> None:
        kind = packet.type
        if kind == PacketType.PROPOSAL and not self._observer:
            follower.on_proposal(packet.zxid, packet.data)
            return
        if kind == PacketType.COMMIT and not self._observer:
            follower.on_commit(packet.zxid)
            return
        assert self._host is not None
        assert self._following is not None
        self._host.enter()
        if self._over:
            return  # a stopped process that goes on finds that its time was over long ago
        if kind == PacketType.INFORM and self._observer:
            follower.on_inform(packet.zxid, packet.data)
        elif kind == PacketType.PING:
            touched = self._following.touched()
            self._core.heard(self._means.clock.now_ms())
            self._driver.do([Send(0, QuorumPacket(PacketType.PING, packet.zxid, touched, packet.authinfo))])
        elif kind == PacketType.SYNC:
            follower.flush()
            self._following.on_sync()
        elif kind == PacketType.REVALIDATE:
            self._following.on_revalidated(packet.data)
        elif kind in (PacketType.COMMITANDACTIVATE, PacketType.INFORMANDACTIVATE):
            self._reconfig.on_activation(follower, packet, self._observer_master, observer=self._observer)
        else:
            raise ProtocolError(f"{kind.name} while serving")

    def on_batch_end(self) -> None:
        """That was all for now."""
        if self._core.stage is LearnerStage.TREE:
            # A large tree is no silence.
            self._core.heard(self._means.clock.now_ms())
        if self._host is not None and not self._over:
            self._host.enter()
            if self._over:
                return
            self._core.heard(self._means.clock.now_ms())
            self._host.flush()

    def broken(self, failure: Failure) -> None:
        """See LearnerEvents."""
        self._means.broken(failure)

    def on_tree(self) -> None:
        """The leader's tree has come."""
        self._driver.do(self._core.on_tree(self._means.clock.now_ms()))

    def on_stream_error(self, reason: str) -> None:
        """The conversation is over."""
        self._driver.do(self._core.on_stream_error(reason))

    # -- what the follower asks for ----------------------------------------------------------------------------------

    def persist(self, zxid: int, payload: bytes) -> None:
        """See follower.Outlet."""
        assert self._following is not None
        self._following.on_proposed(payload)
        self._reconfig.on_proposed(payload)
        if self._keeper.is_logging:
            self._keeper.append(zxid, payload)
            if not self._observer:
                self._unacked.append(zxid)

    def commit(self, entries: list[Entry]) -> None:
        """See follower.Outlet."""
        assert self._following is not None
        self._following.on_committed(len(entries))
        if self._observer_master is not None:
            self._observer_master.on_committed(entries)

    # -- the way of what clients write -------------------------------------------------------------------------------

    def on_persisted(self, zxid: int) -> None:
        """See datahost.Way: acknowledged one by one, since Apache's leaders count so."""
        unacked = self._unacked
        run = []
        while unacked and unacked[0] <= zxid:
            run.append(unacked.popleft())
        if run:
            self._out.append(encode_bare_run(PacketType.ACK, run))

    def flush(self) -> None:
        """See datahost.Way."""
        if self._follower is not None and not self._over:
            self._follower.flush()
        if self._out:
            data = b"".join(self._out)
            self._out.clear()
            if self._cnxn is not None:
                self._cnxn.write(data)

    def _serve(self, epoch: int) -> None:
        means, keeper = self._means, self._keeper
        keeper.database.be_whole(self._core.last_zxid)
        self._probing.stop()
        self._reconfig.adopt(self._core.config_text)
        means.show_config()
        # A client may have seen the leader say that the epoch has begun.
        keeper.database.last_zxid = max(keeper.database.last_zxid, make_zxid(epoch, 0))
        host = self._host = DataHost(means.config, means.clock, means.random, keeper, means.server.stats)
        self._following = Following(host.service, self._out.append, means.data_bytes_max)
        # What was proposed meanwhile is told to it as the first that comes.
        self._follower = Follower(epoch, keeper.committed, means.history.last_zxid, self)
        host.renew, host.lease_ms = self._renew, 0
        host.start(self)
        if means.config.replication.observer_master_port and not self._observer and means.is_member:
            self._observer_master = ObserverMasterPort(means, epoch, self._following)
        means.server.follow(epoch, self._leader, host, self._master, self._observer_master)
        try:
            self._follower.begin(self._core.proposals, self._core.commits)
            for _, designated in self._core.activations[-1:]:
                self._reconfig.activate(designated)
        except (ProtocolError, WireError) as error:
            self._driver.do(self._core.on_stream_error(str(error)))
        host.flush()
        if self._observer_master is not None:
            self._observer_master.start()

    def _renew(self, now_ms: float) -> float:
        """See DataHost.renew."""
        self._driver.do(self._core.on_deadline(now_ms))
        return inf if self._core.deadline_ms is None else self._core.deadline_ms

    # -- effects -----------------------------------------------------------------------------------------------------

    def _carry_out(self, effect: Effect) -> None:
        means = self._means
        means.chronicle.tell(effect)
        match effect:
            case Send(_, packet) if self._cnxn is not None:
                self._cnxn.send(packet)
            case ReadTree(zxid) if self._cnxn is not None:
                self._tree = make_database(means.config)
                self._cnxn.read_tree(self._tree.parser(means.data_bytes_max))
            case PersistEpoch(name, epoch):
                written = means.write_epoch(name, epoch)
                written.addCallbacks(lambda _: self._epoch_persisted(name, epoch), means.disk_failed)
                written.addErrback(means.broken)
            case PersistTree(zxid):
                self._persist_tree(zxid)
            case Truncate(zxid):
                self._truncate(zxid)
            case PersistTxns(txns):
                self._persist_txns(txns)
            case Serving(epoch):
                means.election.adopt_epoch(epoch)
                self._serve(epoch)
            case LeaderLost(reason):
                means.end(PeerEvent.LEADER_LOST, reason)

    def _epoch_persisted(self, name: EpochName, epoch: int) -> None:
        # The core notes what is on disk even where the role is over by now.
        self._driver.do(self._core.on_epoch_persisted(name, epoch, self._means.clock.now_ms()))

    def _then(self, work: "Deferred[None]", told: "partial[None]") -> None:
        """The role does not end before this work does."""
        self._busy = work
        work.addCallback(lambda _: told())
        work.addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        if failure.check(StorageError):
            self._means.disk_failed(failure)
        else:
            self._means.broken(failure)

    def _persist_tree(self, zxid: int) -> None:
        assert self._tree is not None
        tree, self._tree = self._tree, None
        tree.settle(zxid)
        tree.take_for_fuzzy()
        self._then(self._keeper.replace(tree), partial(self._tree_persisted, zxid))

    def _tree_persisted(self, zxid: int) -> None:
        self._driver.do(self._core.on_tree_persisted(zxid))

    def _truncate(self, zxid: int) -> None:
        work = self._means.truncate(zxid).addCallbacks(self._keeper.reset, self._not_truncated)
        self._then(work, partial(self._truncated, zxid))

    def _not_truncated(self, failure: Failure) -> None:
        failure.trap(NotHeldError)
        self._driver.do(self._core.on_truncate_refused(failure.getErrorMessage()))

    def _truncated(self, zxid: int) -> None:
        if not self._core.history.needs_tree:
            self._driver.do(self._core.on_truncated(self._means.clock.now_ms()))

    def _persist_txns(self, txns: tuple[Entry, ...]) -> None:
        keeper = self._keeper
        try:
            for _, payload in txns:
                if read_copied(payload) is None:
                    decode_txn(payload, _LENGTH_MAX)
        except WireError as error:
            # Nothing doubtful reaches the log.
            self._driver.do(self._core.on_stream_error(str(error)))
            return
        for zxid, payload in txns if keeper.is_logging else ():
            keeper.append(zxid, payload)
        written = keeper.journal.drained()
        applied = self._apply(txns)
        written.addCallback(lambda _: keeper.journal.expect_good())
        work = written.addCallback(lambda _: applied)
        self._then(work, partial(self._txns_persisted, txns[-1][0]))

    def _apply(self, txns: tuple[Entry, ...]) -> Deferred[None]:
        """In slices: there may be a hundred thousand."""
        done: Deferred[None] = Deferred()

        def some(start: int) -> None:
            try:
                self._keeper.apply(txns[start : start + _SLICE])
            except Exception:
                done.errback(Failure())
                return
            if start + _SLICE < len(txns):
                self._means.clock.soon(partial(some, start + _SLICE))
            else:
                done.callback(None)

        some(0)
        return done

    def _txns_persisted(self, zxid: int) -> None:
        self._driver.do(self._core.on_txns_persisted(zxid))
