"""Checkers: invariants of election, epochs and establishment, held against a run from outside (wire document, h.1).

They read the wire with a tap and the disks as a crash would leave them; the servers' own word is used for roles only.
"""

from collections import defaultdict

from zktw.node.chronicle import RoleChange
from zktw.sim.pipe import Pipe
from zktw.sim.quorumwire import QuorumWire
from zktw.sim.world import DATA, ELECTION_PORT, QUORUM_PORT, Moment, Server, World
from zktw.storage.datadir import VERSION_DIRECTORY
from zktw.terms.codes import PacketType
from zktw.terms.limits import NOTIFICATION_BYTES_MAX
from zktw.terms.vote import PeerState, Vote
from zktw.terms.zxid import counter_of, epoch_of, make_zxid
from zktw.wire.effects import Elected, EpochAcked, RoundStarted
from zktw.wire.framing import FrameSplitter
from zktw.wire.peers import QuorumPacket, decode_i32, decode_learner_info
from zktw.wire.votes import decode_notification

# What is said so often that the epochs are not looked at each time.
_BROADCAST = frozenset(
    {
        PacketType.REQUEST,
        PacketType.PROPOSAL,
        PacketType.COMMIT,
        PacketType.INFORM,
        PacketType.PING,
        PacketType.REVALIDATE,
        PacketType.SYNC,
    }
)


class Checkers:
    """All of them, fed by one world. The first violation ends the run, as World.broken."""

    def __init__(self, world: World) -> None:
        self.packets = 0
        self.elections = 0
        # By epoch: the leader that established it, and the number of its term of office.
        self.established: dict[int, tuple[int, int]] = {}
        self._world = world
        self._wires: dict[tuple[int, bool], QuorumWire] = {}
        self._sids = {server.host: sid for sid, server in world.servers.items()}
        # By connection: who the learner is, what it has said it holds, what it was told.
        self._learners: dict[int, Learner] = {}
        # By leader: the number of its term of office, and what it held when that began.
        self._terms: dict[int, int] = defaultdict(int)
        self._held: dict[int, tuple[int, int]] = {}
        self._epochs: dict[tuple[int, str], int] = defaultdict(int)
        self._first_votes: dict[tuple[int, int], Vote] = {}
        self._frames: dict[tuple[int, bool], FrameSplitter] = {}
        # Those that have not voted since they started.
        self._fresh: dict[int, bool] = {}
        # By server and sender: who has told it, since it started, that he leads.
        self._leading: dict[tuple[int, int], None] = {}
        # By server and round: the leader that it took on its word instead of by votes.
        self._joined: dict[tuple[int, int], int] = {}
        world.network.tap = self._on_bytes
        world.watchers.append(self._on_moment)

    def fail(self, reason: str) -> None:
        """An invariant does not hold."""
        if not self._world.broken:
            self._world.broken = reason
            self._world.tell(0, reason)

    # -- the election ------------------------------------------------------------------------------------------------

    def _on_moment(self, moment: Moment) -> None:
        match moment.what:
            case RoundStarted(round_, vote):
                if vote.leader == moment.sid:
                    self.check_vote(self._world.servers[moment.sid], vote, first=self._fresh.pop(moment.sid, False))
                # A server that has crashed may come to the same round again, with another vote.
                key = (moment.sid, round_)
                self._first_votes[key] = min(vote, self._first_votes.get(key, vote))
            case Elected():
                self.elections += 1
                self.check_e2(moment.sid, moment.what)
            case EpochAcked():
                self.check_held(moment.sid, moment.what)
            case RoleChange(PeerState.LOOKING, _, _):
                # What was said to an older term of office counts no more, unless the connection still waits.
                waiting = {
                    number: learner
                    for number, learner in self._learners.items()
                    if learner.leader.sid != moment.sid or learner.waits
                }
                self._learners = waiting
            case RoleChange(PeerState.LEADING, _, _):
                self._terms[moment.sid] += 1
                node = self._world.servers[moment.sid].node
                assert node is not None
                assert node.peer is not None
                self._held[moment.sid] = (node.peer.history.current_epoch, node.peer.history.last_zxid)
            case "starts":
                self._fresh[moment.sid] = True
                self._leading = {key: None for key in self._leading if key[0] != moment.sid}
            case "crashes" | "loses power":
                self.check_d1(self._world.servers[moment.sid])

    def check_e2(self, sid: int, elected: Elected) -> None:
        """E2: the elected vote is at least every vote with which its electors began; or its leader leads already."""
        vote = elected.vote
        if elected.joined:
            self._joined[(sid, elected.round)] = vote.leader
            if (sid, vote.leader) not in self._leading and vote.leader != sid:
                self.fail(f"E2: {sid} joins {vote.leader}, which has never told it that it leads")
            return
        for elector in elected.electors:
            first = self._first_votes.get((elector, elected.round))
            joined = self._joined.get((elector, elected.round)) == vote.leader
            if first is not None and first > vote and not joined:
                self.fail(
                    f"E2: {sid} takes {vote} by the votes of {elected.electors}, but {elector} began with {first}"
                )

    def _on_election_bytes(self, pipe: Pipe, from_dialler: bool, data: bytes) -> None:
        key = (pipe.number, from_dialler)
        if key not in self._frames:
            self._frames[key] = FrameSplitter(1, NOTIFICATION_BYTES_MAX)
            if from_dialler:
                return  # the opening, in a write of its own
        sender, receiver = self._sids[pipe.dialler], self._sids[pipe.listener]
        if not from_dialler:
            sender, receiver = receiver, sender
        for frame in self._frames[key].feed(data):
            word = decode_notification(sender, frame)
            if word.state == PeerState.LEADING and word.vote.leader == sender:
                self._leading[(receiver, sender)] = None

    # -- the disks ---------------------------------------------------------------------------------------------------

    def _durable_epoch(self, server: Server, name: str) -> int:
        content = server.disk.durable(f"{DATA}/{VERSION_DIRECTORY}/{name}")
        return int(content) if content else 0

    def check_d1(self, server: Server) -> None:
        """D1: on disk, acceptedEpoch is at least currentEpoch; D2, first half: neither ever decreases."""
        accepted, current = (self._durable_epoch(server, name) for name in ("acceptedEpoch", "currentEpoch"))
        if accepted < current:
            self.fail(f"D1: server {server.sid} has currentEpoch {current} above acceptedEpoch {accepted} on disk")
        for name, epoch in (("acceptedEpoch", accepted), ("currentEpoch", current)):
            if epoch < self._epochs[(server.sid, name)]:
                self.fail(f"D2: {name} of server {server.sid} went back to {epoch} on disk")
            self._epochs[(server.sid, name)] = epoch

    def check_vote(self, server: Server, vote: Vote, *, first: bool) -> None:
        """D1, second half: before a server votes, its currentEpoch has caught up with its history, all of it on disk.

        Between the history that a new leader sends and the epoch it belongs to, a crash may leave the one without the
        other; whoever voted then would stand for an epoch that it no longer knows after the next crash. A role that
        ends there leaves the same, and who votes then, with the epoch before, claims less than it has.
        """
        directory = f"{DATA}/{VERSION_DIRECTORY}"
        current = self._durable_epoch(server, "currentEpoch")
        for name in server.disk.durable_names(directory):
            kind, _, zxid = name.partition(".")
            if first and kind == "snapshot" and not zxid.endswith(".tmp") and epoch_of(int(zxid, 16)) > current:
                self.fail(f"D1: server {server.sid} votes with {name} above currentEpoch {current} on disk")
        if vote.peer_epoch != current:
            self.fail(f"D2: server {server.sid} votes for {vote} with currentEpoch {current} on disk")

    # -- the quorum port ---------------------------------------------------------------------------------------------

    def _on_bytes(self, pipe: Pipe, from_dialler: bool, data: bytes) -> None:
        if pipe.port == ELECTION_PORT:
            self._on_election_bytes(pipe, from_dialler, data)
        if pipe.port != QUORUM_PORT:
            return
        wire = self._wires.get((pipe.number, from_dialler))
        if wire is None:
            wire = self._wires[(pipe.number, from_dialler)] = QuorumWire()
        for packet in wire.feed(data):
            self.packets += 1
            self._on_packet(pipe, from_dialler, packet)

    def _on_packet(self, pipe: Pipe, from_learner: bool, packet: QuorumPacket) -> None:
        leader = self._world.servers[self._sids[pipe.listener]]
        learner = self._learners.get(pipe.number)
        if learner is None:
            if packet.type not in (PacketType.FOLLOWERINFO, PacketType.OBSERVERINFO):
                return  # said on a connection that its leader has left
            learner = self._learners[pipe.number] = Learner(pipe, self._world.servers[self._sids[pipe.dialler]], leader)
        if packet.type not in _BROADCAST:
            self.check_d1(learner.server if from_learner else leader)
        if from_learner:
            self.on_learner_packet(learner, packet)
        else:
            self.on_leader_packet(learner, packet)

    def on_learner_packet(self, learner: "Learner", packet: QuorumPacket) -> None:
        """A learner says this."""
        match packet.type:
            case PacketType.FOLLOWERINFO | PacketType.OBSERVERINFO:
                assert decode_learner_info(packet.data).sid == learner.server.sid
                learner.accepted = epoch_of(packet.zxid)
            case PacketType.ACKEPOCH:
                durable = self._durable_epoch(learner.server, "acceptedEpoch")
                if learner.epoch is None or durable != learner.epoch:
                    self.fail(
                        f"D2: {learner.server.sid} acknowledges epoch {learner.epoch}, acceptedEpoch {durable} on disk"
                    )
                learner.acked = (decode_i32(packet.data, "ACKEPOCH"), packet.zxid)
            case PacketType.ACK if not counter_of(packet.zxid):
                self.check_v4(learner, packet)

    def check_v4(self, learner: "Learner", packet: QuorumPacket) -> None:
        """V4: an ACK of NEWLEADER, or UPTODATE, carries the leader's epoch; D2: with currentEpoch on disk."""
        if learner.epoch is None or packet.zxid != make_zxid(learner.epoch, 0) or not learner.newleader:
            self.fail(f"V4: server {learner.server.sid} acknowledges 0x{packet.zxid:x} in epoch {learner.epoch}")
        durable = self._durable_epoch(learner.server, "currentEpoch")
        if durable != learner.epoch:
            self.fail(
                f"D2: {learner.server.sid} acknowledges NEWLEADER {learner.epoch} with currentEpoch {durable} on disk"
            )
        learner.synced = True

    def on_leader_packet(self, learner: "Learner", packet: QuorumPacket) -> None:
        """A leader says this."""
        leader = learner.leader
        match packet.type:
            case PacketType.LEADERINFO:
                learner.epoch = epoch_of(packet.zxid)
                learner.term = self._terms[leader.sid]
                durable = self._durable_epoch(leader, "acceptedEpoch")
                if durable != learner.epoch:
                    self.fail(
                        f"D2: leader {leader.sid} proposes epoch {learner.epoch} with acceptedEpoch {durable} on disk"
                    )
                said = [peer for peer in self._learners.values() if peer.leader is leader]
                self._check_quorum(learner, "LEADERINFO", said)
            case PacketType.DIFF | PacketType.SNAP | PacketType.TRUNC:
                # V1: history flows in synchronisation only, after a quorum has acknowledged the epoch.
                acked = [
                    peer
                    for peer in self._of_leader(learner)
                    if peer.acked is not None and peer.epoch == learner.epoch and peer.acked[0] != -1
                ]
                self._check_quorum(learner, packet.type.name, acked)
            case PacketType.NEWLEADER:
                learner.newleader = True
                self.check_l2(learner, epoch_of(packet.zxid))
            case PacketType.UPTODATE:
                synced = [peer for peer in self._of_leader(learner) if peer.synced and peer.epoch == learner.epoch]
                self._check_quorum(learner, "UPTODATE", synced)

    def _of_leader(self, learner: "Learner") -> list["Learner"]:
        """All that were told the epoch by the same leader in the same term of office."""
        return [peer for peer in self._learners.values() if peer.leader is learner.leader and peer.term == learner.term]

    def _check_quorum(self, learner: "Learner", what: str, peers: list["Learner"]) -> None:
        """V1: the leader goes on to the next phase only with a quorum behind it."""
        sids = [learner.leader.sid, *(peer.server.sid for peer in peers)]
        if not self._world.verifier.contains_quorum(sids):
            self.fail(f"V1: leader {learner.leader.sid} sends {what} with only {sorted({*sids})} behind it")

    def check_held(self, leader: int, acked: EpochAcked) -> None:
        """Nobody in the quorum that acknowledges an epoch may hold more than its leader (the ZAB paper's discovery)."""
        held = self._held[leader]
        if (acked.current_epoch, acked.last_zxid) > held:
            self.fail(f"leader {leader} with {held} counts {acked}, which is ahead of it")

    def check_l2(self, learner: "Learner", epoch: int) -> None:
        """L1 and L2: over the whole run an epoch has at most one leader that synchronises."""
        leader = learner.leader
        durable = self._durable_epoch(leader, "currentEpoch")
        if durable != epoch:
            self.fail(f"D2: leader {leader.sid} sends NEWLEADER {epoch} with currentEpoch {durable} on disk")
        office = (leader.sid, self._terms[leader.sid])
        first = self.established.setdefault(epoch, office)
        if first[0] != leader.sid:
            self.fail(f"L2: epoch {epoch} has the leaders {first[0]} and {leader.sid}")
        elif first != office:
            self.fail(f"L2: leader {leader.sid} establishes epoch {epoch} in two terms of office")


class Learner:
    """What passed over one connection of the quorum port."""

    def __init__(self, pipe: Pipe, server: Server, leader: Server) -> None:
        self.server = server
        self.leader = leader
        self.term = 0
        self.accepted = -1
        self.epoch: int | None = None
        self.acked: tuple[int, int] | None = None
        self.newleader = False
        self.synced = False
        self._pipe = pipe

    @property
    def waits(self) -> bool:
        """Whether the leader's end has not answered yet and is not closed."""
        return self.epoch is None and (self._pipe.far is None or not self._pipe.far.disconnecting)
