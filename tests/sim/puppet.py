"""Puppet: a peer that says what a scenario tells it, and is as wrong, old or slow as that wants it to be."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from freshtree import FRESH_STREAM
from twisted.internet.protocol import ClientFactory, Factory, Protocol

from zktw.sim.reactor import SimReactor
from zktw.sim.schedule import Process
from zktw.sim.world import ELECTION_PORT, QUORUM_PORT, World
from zktw.terms.codes import PacketType
from zktw.terms.limits import JUTE_MAXBUFFER, NOTIFICATION_BYTES_MAX
from zktw.terms.vote import Notification
from zktw.terms.zxid import epoch_of, make_zxid
from zktw.wire.framing import FrameSplitter
from zktw.wire.jute import ByteFeed, Parsing
from zktw.wire.peers import (
    PROTOCOL_VERSION,
    LearnerInfo,
    PacketParser,
    QuorumPacket,
    encode_current_epoch,
    encode_learner_info,
    encode_packet,
    encode_protocol_version,
)
from zktw.wire.votes import Opening, decode_notification, encode_opening, read_opening


class Puppet:
    """One scripted peer on the host of a configured server that is not started. It keeps the rule on who dials."""

    def __init__(self, world: World, sid: int) -> None:
        self.sid = sid
        self.host = world.servers[sid].host
        # What the servers told it: by whom, and what.
        self.heard: list[Notification] = []
        self.process = Process(f"puppet {sid}")
        self.opening = encode_opening(sid, [f"{self.host}:{ELECTION_PORT}"], multi_address=False)
        self._world = world
        self._reactor = SimReactor(world.schedule, world.network, self.process, self.host, names={})
        self._cnxns: dict[int, _ElectionEnd] = {}
        self._reactor.listenTCP(ELECTION_PORT, _serving(lambda: _ElectionEnd(self, None)))

    def dial(self, sid: int) -> None:
        """Knock at a server's election port."""
        self._connect(sid, ELECTION_PORT, lambda: _ElectionEnd(self, sid))

    def tell(self, sid: int, data: bytes) -> None:
        """Send these bytes on the election connection with a server; there must be one."""
        assert sid in self._cnxns, f"puppet {self.sid} has no connection with {sid}"
        self._cnxns[sid].transport.write(data)

    def hang_up(self, sid: int) -> None:
        """End the election connection with a server."""
        self._cnxns.pop(sid).transport.abortConnection()

    def connected(self) -> list[int]:
        """The servers it has an election connection with."""
        return sorted(self._cnxns)

    def stop_reading(self) -> None:
        """Take nothing more from any election connection, and leave them open."""
        for cnxn in self._cnxns.values():
            cnxn.transport.pauseProducing()

    def follow(self, leader: int, holding: "Holding") -> None:
        """Dial a leader's quorum port and behave like a follower that holds this."""
        self._connect(leader, QUORUM_PORT, lambda: _FollowerEnd(self.sid, holding))

    def lead(self, epoch: int, mode: PacketType) -> None:
        """Listen on the quorum port and synchronise whoever comes, without asking for a quorum."""
        self._reactor.listenTCP(QUORUM_PORT, _serving(lambda: _LeaderEnd(epoch, mode)))

    def die(self) -> None:
        """Be gone, as a process that was killed."""
        self.process.alive = False
        self._world.network.process_died(self.process)

    def _connect(self, sid: int, port: int, make: Callable[[], Protocol]) -> None:
        self._reactor.connectTCP(self._world.servers[sid].host, port, _dialling(make), 5)

    def keep(self, sid: int, cnxn: "_ElectionEnd") -> None:
        """This is the connection with sid from now on."""
        self._cnxns[sid] = cnxn

    def lost(self, cnxn: "_ElectionEnd") -> None:
        """It is over."""
        self._cnxns = {sid: other for sid, other in self._cnxns.items() if other is not cnxn}


def _serving(make: Callable[[], Protocol]) -> Any:
    factory = Factory.forProtocol(make)
    factory.noisy = False
    return factory


def _dialling(make: Callable[[], Protocol]) -> Any:
    factory = ClientFactory.forProtocol(make)
    factory.noisy = False
    return factory


class _ElectionEnd(Protocol):
    """One end of an election connection; sid is whom it dials, None where it was dialled."""

    transport: Any

    def __init__(self, puppet: Puppet, sid: int | None) -> None:
        self._puppet = puppet
        self._sid = sid
        self._frames = FrameSplitter(1, NOTIFICATION_BYTES_MAX)
        self._feed = ByteFeed()
        self._reading: Parsing[Opening] | None = None if sid is not None else read_opening(self._feed)

    def connectionMade(self) -> None:
        if self._sid is not None:
            self.transport.write(self._puppet.opening)
            if self._sid < self._puppet.sid:
                self._puppet.keep(self._sid, self)

    def dataReceived(self, data: bytes) -> None:
        if self._reading is not None:
            self._feed.feed(data)
            try:
                next(self._reading)
            except StopIteration as done:
                self._reading = None
                self._opened(done.value.sid)
                data = self._feed.rest()
            else:
                return
        for frame in self._frames.feed(data):
            assert self._sid is not None
            self._puppet.heard.append(decode_notification(self._sid, frame))

    def _opened(self, sid: int) -> None:
        self._sid = sid
        if sid > self._puppet.sid:
            self._puppet.keep(sid, self)
        else:
            self.transport.loseConnection()
            self._puppet.dial(sid)

    def connectionLost(self, reason: object = None) -> None:
        self._puppet.lost(self)


@dataclass(frozen=True, slots=True)
class Holding:
    """What a scripted follower says that it has."""

    accepted_epoch: int
    current_epoch: int
    zxid: int


class _FollowerEnd(Protocol):
    """A follower as the wire document has it, with a disk that it only claims to have."""

    transport: Any

    def __init__(self, sid: int, holding: Holding) -> None:
        self._sid = sid
        self._holding = holding
        self._epoch_zxid = 0
        self._parser = PacketParser(JUTE_MAXBUFFER)

    def connectionMade(self) -> None:
        info = encode_learner_info(LearnerInfo(self._sid, PROTOCOL_VERSION, 0))
        self._send(QuorumPacket(PacketType.FOLLOWERINFO, make_zxid(self._holding.accepted_epoch, 0), info))

    def dataReceived(self, data: bytes) -> None:
        for packet in self._parser.feed(data):
            match packet.type:
                case PacketType.LEADERINFO:
                    held = encode_current_epoch(self._holding.current_epoch)
                    self._send(QuorumPacket(PacketType.ACKEPOCH, self._holding.zxid, held))
                case PacketType.NEWLEADER:
                    self._epoch_zxid = packet.zxid
                    self._send(QuorumPacket(PacketType.ACK, self._epoch_zxid))
                case PacketType.UPTODATE:
                    self._send(QuorumPacket(PacketType.ACK, self._epoch_zxid))
                case PacketType.PING:
                    self._send(packet)

    def _send(self, packet: QuorumPacket) -> None:
        self.transport.write(encode_packet(packet))


class _LeaderEnd(Protocol):
    """A leader's end that brings one learner to UPTODATE; the history before its epoch is empty."""

    transport: Any

    def __init__(self, epoch: int, mode: PacketType) -> None:
        self._zxid = make_zxid(epoch, 0)
        self._mode = mode
        self._parser = PacketParser(JUTE_MAXBUFFER)
        self._acks = 0

    def dataReceived(self, data: bytes) -> None:
        for packet in self._parser.feed(data):
            match packet.type:
                case PacketType.FOLLOWERINFO | PacketType.OBSERVERINFO:
                    version = encode_protocol_version(PROTOCOL_VERSION)
                    self._send(QuorumPacket(PacketType.LEADERINFO, self._zxid, version))
                case PacketType.ACKEPOCH:
                    self._send(QuorumPacket(self._mode, make_zxid(epoch_of(self._zxid) - 1, 0)))
                    if self._mode == PacketType.SNAP:
                        self.transport.write(FRESH_STREAM)
                    self._send(QuorumPacket(PacketType.NEWLEADER, self._zxid, b""))
                case PacketType.ACK:
                    self._acks += 1
                    if self._acks == 1:
                        self._send(QuorumPacket(PacketType.UPTODATE, -1))

    def _send(self, packet: QuorumPacket) -> None:
        self.transport.write(encode_packet(packet))
