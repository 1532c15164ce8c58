"""Both ends of the quorum port: packets in, packets out; the conversation is the cores' (zab/)."""

from collections.abc import Callable, Iterator
from typing import Any
from typing import Protocol as Interface

from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from zktw.net.dialler import tune
from zktw.terms.errors import ProtocolError, WireError
from zktw.terms.limits import EARLY_LEARNERS_MAX
from zktw.wire.jute import ByteFeed
from zktw.wire.peers import PacketParser, QuorumPacket, encode_packet
from zktw.wire.snapstream import SnapStreamParser

log = Logger()


class LearnerEvents(Interface):
    """What a learner's connection to its leader tells its role."""

    def on_packet(self, packet: QuorumPacket) -> None:
        """The leader said this."""

    def on_tree(self, body: bytes) -> None:
        """The tree that read_tree() asked for, as it stood on the stream."""

    def on_stream_error(self, reason: str) -> None:
        """The stream makes no sense any more, or has ended."""


class LearnerCnxn(Protocol):
    """A learner's end. tree_parser makes the parser of a tree that follows SNAP."""

    # Declared wider than Twisted's: a TCP transport, real or simulated.
    transport: Any

    def __init__(
        self, data_bytes_max: int, tree_parser: Callable[[], SnapStreamParser], made: Callable[["LearnerCnxn"], None]
    ) -> None:
        self.events: LearnerEvents | None = None
        self._packets = PacketParser(data_bytes_max)
        self._tree_parser = tree_parser
        self._tree: SnapStreamParser | None = None
        self._stream = ByteFeed()
        self._made = made

    def connectionMade(self) -> None:
        self._made(self)

    def send(self, packet: QuorumPacket) -> None:
        """Say this to the leader."""
        self.transport.write(encode_packet(packet))

    def read_tree(self) -> None:
        """What follows on the stream is a tree: give it to on_tree when it has ended."""
        self._tree = self._tree_parser()

    def abort(self) -> None:
        """End the connection at once; nothing of it is told any more."""
        self.events = None
        self.transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        try:
            if self._tree is None:
                packets = self._packets.feed(data)
            else:
                packets = iter(())
                self._stream.feed(data)
            while self.events is not None and self._advance(self.events, packets):
                packets = self._packets.packets()
        except (WireError, ProtocolError) as error:
            self._tell_end(str(error))

    def _advance(self, events: LearnerEvents, packets: Iterator[QuorumPacket]) -> bool:
        """Take what is whole; true where the stream has changed its kind and there may be more to take."""
        if self._tree is not None:
            body = self._tree.advance(self._stream)
            if body is None:
                return False
            self._tree = None
            self._packets.put_back(self._stream.rest())
            events.on_tree(body)
            return True
        for packet in packets:
            events.on_packet(packet)
            if self._tree is not None or self.events is None:
                self._stream.feed(self._packets.rest())
                return True
        return False

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._tell_end(f"connection to the leader ended: {reason.getErrorMessage()}")

    def _tell_end(self, reason: str) -> None:
        events, self.events = self.events, None
        if events is not None:
            self.transport.abortConnection()
            events.on_stream_error(reason)


class LeaderEvents(Interface):
    """What the learners' connections tell the leading role."""

    def on_learner(self, cnxn: "LearnerHandlerCnxn") -> None:
        """A learner's connection is there."""

    def on_learner_packet(self, cnxn: "LearnerHandlerCnxn", packet: QuorumPacket) -> None:
        """A learner said this."""

    def on_learner_lost(self, cnxn: "LearnerHandlerCnxn", reason: str) -> None:
        """A learner's connection ended."""


class LearnerHandlerCnxn(Protocol):
    """The leader's end of one learner's connection."""

    # Declared wider than Twisted's: a TCP transport, real or simulated.
    transport: Any

    def __init__(self, port: "QuorumPort", number: int, data_bytes_max: int) -> None:
        self.number = number
        self.events: LeaderEvents | None = None
        self._port = port
        self._packets = PacketParser(data_bytes_max)

    @property
    def peer(self) -> str:
        """The other end, for the log."""
        address = self.transport.getPeer()
        return f"{getattr(address, 'host', '?')}:{getattr(address, 'port', '?')}"

    def connectionMade(self) -> None:
        self._port.made(self)

    def send(self, packet: QuorumPacket) -> None:
        """Say this to the learner."""
        self.transport.write(encode_packet(packet))

    def send_bytes(self, data: bytes) -> None:
        """Put a tree's bytes on the stream."""
        self.transport.write(data)

    def abort(self) -> None:
        """End the connection at once; nothing of it is told any more."""
        self.events = None
        self.transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        try:
            for packet in self._packets.feed(data):
                if self.events is None:
                    return
                self.events.on_learner_packet(self, packet)
        except WireError as error:
            log.warn("closing quorum connection of {peer}: {error}", peer=self.peer, error=error)
            events, self.events = self.events, None
            self.transport.abortConnection()
            if events is not None:
                events.on_learner_lost(self, str(error))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._port.lost(self)
        events, self.events = self.events, None
        if events is not None:
            events.on_learner_lost(self, reason.getErrorMessage())


class QuorumPort(Factory):
    """Accepts learners. Before the election is decided they are held; then the leading role gets them, or they go.

    An Apache learner that is accepted and closed can stay away for a whole initLimit, so nobody is accepted for
    nothing: the port is closed while another server leads (node/roles.py).
    """

    noisy = False

    def __init__(self, data_bytes_max: int, *, nodelay: bool = True, user_timeout_ms: int = 0) -> None:
        self._data_bytes_max = data_bytes_max
        self._nodelay = nodelay
        self._user_timeout_ms = user_timeout_ms
        self._held: dict[int, LearnerHandlerCnxn] = {}
        self._leader: LeaderEvents | None = None
        self._refusing = False
        self._next = 1

    def buildProtocol(self, addr: Any) -> LearnerHandlerCnxn:
        number = self._next
        self._next += 1
        return LearnerHandlerCnxn(self, number, self._data_bytes_max)

    def made(self, cnxn: LearnerHandlerCnxn) -> None:
        """A connection is there: to the leader with it, or hold it, unread, until there is one."""
        tune(cnxn.transport, nodelay=self._nodelay, keepalive=True, user_timeout_ms=self._user_timeout_ms)
        if self._leader is not None:
            self._hand_over(cnxn, self._leader)
        elif self._refusing:
            cnxn.abort()
        elif len(self._held) < EARLY_LEARNERS_MAX:
            cnxn.transport.pauseProducing()
            self._held[cnxn.number] = cnxn
        else:
            log.warn("closing quorum connection of {peer}: too many wait for a leader", peer=cnxn.peer)
            cnxn.abort()

    def lost(self, cnxn: LearnerHandlerCnxn) -> None:
        """A connection ended."""
        self._held.pop(cnxn.number, None)

    def lead(self, events: LeaderEvents) -> None:
        """We lead: the learners that wait, and those to come, are for this role."""
        self._leader = events
        self._refusing = False
        held, self._held = self._held, {}
        for cnxn in held.values():
            cnxn.transport.resumeProducing()
            self._hand_over(cnxn, events)

    def hold(self) -> None:
        """No election is decided any more: hold those to come."""
        self._leader = None
        self._refusing = False

    def drop(self) -> None:
        """Another server leads: close what was held, and whoever still comes."""
        self._leader = None
        self._refusing = True
        held, self._held = self._held, {}
        for cnxn in held.values():
            cnxn.abort()

    def _hand_over(self, cnxn: LearnerHandlerCnxn, events: LeaderEvents) -> None:
        cnxn.events = events
        events.on_learner(cnxn)
