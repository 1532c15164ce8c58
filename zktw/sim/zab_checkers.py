"""ZabCheckers: what replication promises, held against the quorum port and the disks (wire document, h.1).

What a leader serves with is committed, and so is what it says COMMIT of; each has to be on the disks of a quorum then.
"""

from collections import deque
from functools import partial

from zktw.node.chronicle import RoleChange
from zktw.sim.checkers import Checkers, Learner
from zktw.sim.ensemble import EnsembleWorld
from zktw.sim.ledger import Ledger
from zktw.sim.pipe import Pipe
from zktw.sim.platter import Platter
from zktw.sim.world import DATA, QUORUM_PORT, Moment, Server
from zktw.storage.datadir import VERSION_DIRECTORY
from zktw.terms.codes import PacketType
from zktw.terms.vote import PeerState
from zktw.terms.zxid import counter_of, epoch_of, format_zxid, make_zxid
from zktw.wire.effects import PersistEpoch, Serving
from zktw.wire.peers import QuorumPacket

_TXNS = (PacketType.PROPOSAL, PacketType.INFORM)
_COMMITS = (PacketType.COMMIT, PacketType.INFORM)
_OPS = (PacketType.DIFF, PacketType.TRUNC, PacketType.SNAP)


class _Feed:
    """What a learner was told on one connection."""

    def __init__(self, held: int) -> None:
        # What it holds before all that follows; the last proposal.
        self.base = self.last = held
        # Proposals that it was told no commit of; those that it has not acknowledged.
        self.proposals: deque[int] = deque()
        self.unacknowledged: deque[int] = deque()
        # What NEWLEADER's acknowledgement promises; whether NEWLEADER has come, and was acknowledged.
        self.promised: list[int] = []
        self.op: PacketType | None = None
        self.newleader = False
        self.acknowledged = False


class ZabCheckers(Checkers):
    """All of the quorum port. The ledger is filled by what it sees."""

    def __init__(self, world: EnsembleWorld, ledger: Ledger) -> None:
        super().__init__(world)
        self.ledger = ledger
        # How often learners were brought up to date, by the first packet.
        self.syncs: dict[str, int] = {}
        self._ensemble = world
        self._feeds: dict[Learner, _Feed] = {}
        # By server: the connection on which it has last acknowledged an epoch.
        self._newest: dict[int, Learner] = {}
        self.platters = {sid: self._make_platter(server) for sid, server in world.servers.items()}
        # By server: a tree that it was sent, and what is in that of which it is not known whether it is committed.
        self._given: dict[int, tuple[int, list[int]]] = {}
        # The leaders that serve, and in which epoch.
        self.primaries: dict[int, int] = {}

    def _make_platter(self, server: Server) -> Platter:
        return Platter(server.disk, f"{DATA}/{VERSION_DIRECTORY}", partial(self._on_disk, server.sid))

    def _forget_epochs(self, sid: int) -> None:
        for name in ("acceptedEpoch", "currentEpoch"):
            self._epochs.pop((sid, name), None)

    def _on_disk(self, sid: int, zxid: int, payload: bytes) -> None:
        self.ledger.note(zxid, payload, f"the disk of server {sid}")

    # -- disks -------------------------------------------------------------------------------------------------------

    def look_at(self, sid: int) -> Platter:
        """What a server's disk holds for certain."""
        platter = self.platters[sid]
        wrong = platter.look()
        if wrong:
            self.fail(f"GPO: server {sid}: {wrong}")
        return platter

    def check_quorum_holds(self, zxid: int) -> None:
        """D4: what is committed is on the disks of a quorum."""
        holders = [sid for sid, platter in self.platters.items() if platter.holds(zxid)]
        if not self._ensemble.verifier.contains_quorum(holders):
            self.fail(f"D4: {format_zxid(zxid)} is committed, and only {holders} have it on their disks")

    def learn(self, zxid: int, who: str) -> None:
        """A server that serves says that all up to zxid is committed."""
        if zxid > self.ledger.last:
            for sid in self.platters:
                self.look_at(sid)
            self.ledger.learn(zxid, who)

    # -- roles -------------------------------------------------------------------------------------------------------

    def _on_moment(self, moment: Moment) -> None:
        super()._on_moment(moment)
        match moment.what:
            case Serving(epoch):
                server = self._ensemble.servers[moment.sid]
                if server.is_leading:
                    self.primaries[moment.sid] = epoch
                    self._take_history(server, epoch)
                self.check_history(server, epoch)
            case "starts" | "crashes" | "loses power":
                self.primaries.pop(moment.sid, None)
                self.platters[moment.sid].forget()
            case "has an empty disk":
                self.platters[moment.sid] = self._make_platter(self._ensemble.servers[moment.sid])
                self._forget_epochs(moment.sid)
            case RoleChange(state, _, _):
                self.primaries.pop(moment.sid, None)
                if state == PeerState.LOOKING:
                    self.check_left(self._ensemble.servers[moment.sid])
            case PersistEpoch("currentEpoch", epoch):
                self.check_before_epoch(moment.sid, epoch)

    def _take_history(self, leader: Server, epoch: int) -> None:
        """PI, D4: who begins to serve holds all that was ever committed; and what else it holds is so from now on."""
        for sid in self.platters:
            self.look_at(sid)
        platter, last = self.platters[leader.sid], self.ledger.last
        if epoch_of(last) > epoch:
            return  # there is a later leader, which has all that this one has
        zxid, given = self._given.get(leader.sid, (0, []))
        more = [other for other in given if last < other <= platter.snapshot] if zxid <= platter.snapshot else []
        # What stands in the log before the newest tree may be of a history that this tree has taken the place of.
        known = max(last, platter.snapshot)
        more += [other for other in platter.zxids if other > known]
        self.ledger.extend(more, f"leader {leader.sid}")

    def check_history(self, server: Server, epoch: int) -> None:
        """PC: who begins to serve has what is committed, up to some place, and nothing else.

        A leader: all of earlier epochs. It may have slept, and be followed by nobody in a moment.
        """
        platter = self.look_at(server.sid)
        upto = self.ledger.last_before(make_zxid(epoch, 0) if server.is_leading else platter.last)
        lost = [zxid for zxid in self.ledger.between(platter.snapshot, upto) if not platter.holds(zxid)]
        if lost:
            told = ", ".join(map(format_zxid, lost[:5]))
            self.fail(f"PC: server {server.sid} serves, and has lost {len(lost)} transactions: {told}")
        if server.is_leading and platter.last < upto:
            self.fail(f"PI: leader {server.sid} serves, and has nothing behind {format_zxid(platter.last)}")
        kept = [zxid for zxid in platter.zxids if platter.snapshot < zxid <= upto and not self.ledger.holds(zxid)]
        if kept:
            self.fail(f"PC: server {server.sid} serves with {format_zxid(kept[0])}, which was never committed")

    def _on_packet(self, pipe: Pipe, from_learner: bool, packet: QuorumPacket) -> None:
        super()._on_packet(pipe, from_learner, packet)
        ends = (self._sids[pipe.dialler], self._sids[pipe.listener])
        sender, receiver = ends if from_learner else reversed(ends)
        for watcher in self._ensemble.packet_watchers:
            watcher(packet.type, sender, receiver)

    def check_left(self, server: Server) -> None:
        """A role that is over has closed its connections: who still counts on it finds out (bug 3240)."""
        for pipe in self._ensemble.network.pipes():
            end = pipe.near
            if pipe.port != QUORUM_PORT or end is None or end.process is not server.process:
                continue
            # One that is being made is closed as soon as it is there.
            if end.protocol is not None and end.connected and not end.disconnecting:
                self.fail(f"V5: server {server.sid} looks for a leader with a connection to one open")

    def check_before_epoch(self, sid: int, epoch: int) -> None:
        """What a new epoch stands for is on the disk before the epoch is: a crash between would claim it (bug 4643)."""
        learner = self._newest.get(sid)
        feed = self._feeds.get(learner) if learner is not None else None
        # After a write that has failed nothing more is written, whatever is tried.
        if learner is None or feed is None or learner.epoch != epoch or sid in self._ensemble.disk_failed:
            return
        if feed.newleader and not feed.acknowledged:
            self.check_promise(sid, feed)

    # -- packets -----------------------------------------------------------------------------------------------------

    def on_learner_packet(self, learner: Learner, packet: QuorumPacket) -> None:
        """See Checkers."""
        super().on_learner_packet(learner, packet)
        sid, zxid = learner.server.sid, packet.zxid
        if packet.type == PacketType.ACKEPOCH:
            self._feeds[learner] = _Feed(zxid)
            self._newest[sid] = learner
            platter = self.look_at(sid)
            if zxid != -1 and counter_of(zxid) and not platter.holds(zxid):
                self.fail(f"D3: server {sid} says that it holds {format_zxid(zxid)}, which is not on its disk")
            if zxid != -1 and platter.last > zxid:
                # Its memory would go on from there, and its log from here.
                self.fail(f"D5: server {sid} says that it ends at {format_zxid(zxid)}, its log at {platter.last:#x}")
        elif packet.type == PacketType.ACK:
            feed = self._feeds.get(learner)
            if feed is None:
                self.fail(f"V4: server {sid} acknowledges {format_zxid(zxid)} before the epoch")
            elif counter_of(zxid):
                self.check_ack(sid, feed, zxid)
            elif not feed.acknowledged:
                feed.acknowledged = True
                self.check_promise(sid, feed)

    def check_promise(self, sid: int, feed: _Feed) -> None:
        """D3: what the synchronisation has committed is on the disk before the epoch and NEWLEADER's ACK."""
        platter = self.look_at(sid)
        if feed.op == PacketType.SNAP and platter.snapshot < feed.base:
            self.fail(
                f"D3: server {sid} acknowledges NEWLEADER, and the tree of {format_zxid(feed.base)} is not on disk"
            )
        for zxid in feed.promised:
            if not platter.holds(zxid):
                self.fail(f"D3: server {sid} takes the epoch, and {format_zxid(zxid)} is not on its disk")
                return

    def check_ack(self, sid: int, feed: _Feed, zxid: int) -> None:
        """V4: an ACK names a proposal, and they grow; D3: it is on the disk, and so is all before it."""
        if not feed.acknowledged:
            self.fail(f"V4: server {sid} acknowledges {format_zxid(zxid)} before NEWLEADER")
        if not feed.unacknowledged or not feed.unacknowledged[0] <= zxid <= feed.last:
            self.fail(f"V4: server {sid} acknowledges {format_zxid(zxid)}, which is no proposal that waits for it")
            return
        platter = self.look_at(sid)
        while feed.unacknowledged and feed.unacknowledged[0] <= zxid:
            told = feed.unacknowledged.popleft()
            if not platter.holds(told):
                self.fail(f"D3: server {sid} acknowledges {format_zxid(told)}, which is not on its disk")

    def on_leader_packet(self, learner: Learner, packet: QuorumPacket) -> None:
        """See Checkers."""
        super().on_leader_packet(learner, packet)
        feed = self._feeds.get(learner)
        if feed is None:
            if packet.type != PacketType.LEADERINFO:
                self.fail(f"V5: {packet.type.name} to server {learner.server.sid}, which has acknowledged no epoch")
            return
        if packet.type in _OPS:
            self._begin_feed(learner, feed, packet)
        elif packet.type == PacketType.NEWLEADER:
            if feed.newleader or feed.op is None:
                self.fail(f"V5: NEWLEADER to server {learner.server.sid} is the second, or comes before the history")
            feed.newleader = True
        if packet.type in _TXNS:
            self.check_proposal(learner, feed, packet)
        if packet.type in _COMMITS:
            self.check_commit(learner, feed, packet.zxid)

    def _begin_feed(self, learner: Learner, feed: _Feed, packet: QuorumPacket) -> None:
        feed.op = packet.type
        self.syncs[packet.type.name] = self.syncs.get(packet.type.name, 0) + 1
        sid, zxid = learner.server.sid, packet.zxid
        if packet.type == PacketType.DIFF:
            return
        held, feed.base, feed.last = feed.base, zxid, zxid
        platter = self.look_at(sid)
        if packet.type == PacketType.TRUNC:
            gone = [other for other in self.ledger.between(zxid, held) if platter.holds(other)]
            if gone:
                self.fail(f"V2: server {sid} is to cut off {format_zxid(gone[0])}, which is committed")
            if zxid > held:
                self.fail(f"V2: server {sid} holds {format_zxid(held)} and is to cut at {format_zxid(zxid)}")
            return
        source = self.look_at(learner.leader.sid)
        before, given = self._given.get(learner.leader.sid, (0, []))
        own = [other for other in source.zxids if other > source.snapshot]
        known = [*(given if before <= source.snapshot else []), *own]
        self._given[sid] = (zxid, sorted({other for other in known if self.ledger.last < other <= zxid}))

    def check_proposal(self, learner: Learner, feed: _Feed, packet: QuorumPacket) -> None:
        """V2, E1: a proposal is the next one, or the first of a later epoch."""
        zxid = packet.zxid
        self.ledger.note(zxid, packet.data or b"", f"leader {learner.leader.sid}")
        if zxid <= feed.base and feed.op == PacketType.SNAP:
            return  # the tree has it
        if not self.ledger.follows(feed.last, zxid) or epoch_of(zxid) > (learner.epoch or 0):
            self.fail(
                f"V2: {packet.type.name} {format_zxid(zxid)} to server {learner.server.sid}, which was told"
                f" {format_zxid(feed.last)} last"
            )
        if epoch_of(zxid) == learner.epoch and feed.newleader and learner.leader.sid not in self.primaries:
            self.fail(f"V1: leader {learner.leader.sid} proposes {format_zxid(zxid)} before it serves")
        feed.last = zxid
        feed.proposals.append(zxid)
        feed.unacknowledged.append(zxid)

    def check_commit(self, learner: Learner, feed: _Feed, zxid: int) -> None:
        """V3: a commit is that of the oldest proposal that waits for one."""
        if zxid <= feed.base and feed.op == PacketType.SNAP:
            return
        if not feed.proposals or feed.proposals[0] != zxid:
            waiting = ", ".join(format_zxid(other) for other in list(feed.proposals)[:3])
            self.fail(f"V3: COMMIT {format_zxid(zxid)} to server {learner.server.sid}, which waits for {waiting}")
            return
        feed.proposals.popleft()
        if not feed.newleader:
            feed.promised.append(zxid)
            # What is committed by then is logged with NEWLEADER, and acknowledged by that.
            feed.unacknowledged = deque(other for other in feed.unacknowledged if other > zxid)
        leader = learner.leader.sid
        if leader in self.primaries and epoch_of(zxid) == self.primaries[leader]:
            self.learn(zxid, f"leader {leader}")
