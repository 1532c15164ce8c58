"""Both ends of the quorum port: packets in, packets out; the conversation is the cores' (zab/)."""

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any
from typing import Protocol as Interface

from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from zktw.net.dialler import tune
from zktw.net.eager import eager_write
from zktw.net.outbox import Outbox
from zktw.terms.errors import ProtocolError, WireError
from zktw.terms.limits import EARLY_LEARNERS_MAX
from zktw.tree.image import ImageParser
from zktw.wire.peers import TREE_SIGNATURE, PacketParser, QuorumPacket, encode_packet

log = Logger()


class LearnerEvents(Interface):
    """What a learner's connection to its leader tells its role."""

    def on_packet(self, packet: QuorumPacket) -> None:
        """The leader said this."""

    def on_tree(self) -> None:
        """The tree that read_tree() asked for is whole: its parser has had all of it."""

    def on_batch_end(self) -> None:
        """All packets that arrived together have been told."""

    def on_stream_error(self, reason: str) -> None:
        """The stream makes no sense any more, or has ended."""

    def broken(self, failure: Failure) -> None:
        """An invariant of ours does not hold."""


class LearnerCnxn(Protocol):
    """A learner's end."""

    # Declared wider than Twisted's: a TCP transport, real or simulated.
    transport: Any

    def __init__(self, data_bytes_max: int, made: Callable[["LearnerCnxn"], None]) -> None:
        self.events: LearnerEvents | None = None
        self._packets = PacketParser(data_bytes_max)
        self._tree: _TreeStream | None = None
        self._made = made

    def connectionMade(self) -> None:
        self._write = eager_write(self.transport)
        self._made(self)

    def send(self, packet: QuorumPacket) -> None:
        """Say this to the leader."""
        self._write(encode_packet(packet))

    def write(self, data: bytes) -> None:
        """Say these packets to the leader; they are encoded already."""
        self._write(data)

    def read_tree(self, parser: ImageParser) -> None:
        """What follows the packet that is just being told is a tree: it is for this parser."""
        self._tree = _TreeStream(parser)

    def abort(self) -> None:
        """End the connection at once; nothing of it is told any more."""
        self.events = None
        self.transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        events = self.events
        if events is None:
            return
        try:
            self._take_batch(events, data)
        except Exception:
            # Twisted would end the connection, and the server would go on with half of what was to happen.
            events.broken(Failure())

    def _take_batch(self, events: LearnerEvents, data: bytes) -> None:
        try:
            self._take(events, data)
        except (WireError, ProtocolError) as error:
            self._tell_end(str(error))
        # The role may have ended meanwhile.
        if self.events is not None:
            events.on_batch_end()

    def _take(self, events: LearnerEvents, data: bytes) -> None:
        packets = self._packets
        if self._tree is None:
            if self._hand_over(events, packets.feed(data)):
                return
            data = packets.rest()
        while self._tree is not None and self._tree.feed(data):
            packets.put_back(self._tree.rest)
            self._tree = None
            events.on_tree()
            if self.events is None or self._hand_over(events, packets.packets()):
                return
            data = packets.rest()

    def _hand_over(self, events: LearnerEvents, packets: Iterator[QuorumPacket]) -> bool:
        """Tell of the packets; false where a tree follows the last one told."""
        for packet in packets:
            events.on_packet(packet)
            if self.events is None:
                return True
            if self._tree is not None:
                return False
        return True

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._tell_end(f"connection to the leader ended: {reason.getErrorMessage()}")

    def _tell_end(self, reason: str) -> None:
        events, self.events = self.events, None
        if events is not None:
            self.transport.abortConnection()
            events.on_stream_error(reason)


class _TreeStream:
    """The tree behind a SNAP packet, and its signature; when feed() has returned true, rest is what came behind."""

    def __init__(self, parser: ImageParser) -> None:
        self.rest = b""
        self._parser: ImageParser | None = parser

    def feed(self, data: bytes) -> bool:
        """Take what has arrived; whether all is there. WireError: it is no tree, or not one that ends as they do."""
        if self._parser is not None:
            if not self._parser.feed(data):
                return False
            data, self._parser = self._parser.rest, None
        self.rest += data
        signature = self.rest[: len(TREE_SIGNATURE)]
        if not TREE_SIGNATURE.startswith(signature):
            raise WireError(f"the tree ends with {signature!r} instead of its signature")
        if len(signature) < len(TREE_SIGNATURE):
            return False
        self.rest = self.rest[len(TREE_SIGNATURE) :]
        return True


class LeaderEvents(Interface):
    """What the learners' connections tell the leading role."""

    def on_learner(self, cnxn: "LearnerHandlerCnxn") -> None:
        """A learner's connection is there."""

    def on_learner_packet(self, cnxn: "LearnerHandlerCnxn", packet: QuorumPacket) -> None:
        """A learner said this."""

    def broken(self, failure: Failure) -> None:
        """An invariant of ours does not hold."""

    def on_learner_batch_end(self, cnxn: "LearnerHandlerCnxn") -> None:
        """All packets that arrived together have been told, or as many as the role wanted."""

    def on_learner_lost(self, cnxn: "LearnerHandlerCnxn", reason: str) -> None:
        """A learner's connection ended."""


class LearnerHandlerCnxn(Protocol):
    """The leader's end of one learner's connection."""

    # Declared wider than Twisted's: a TCP transport, real or simulated.
    transport: Any
    _outbox: Outbox

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
        self._outbox = Outbox(self.transport, self._port.soon)
        self._port.made(self)

    @property
    def backlog(self) -> int:
        """Bytes that the learner has not taken, beyond what the transport holds; a tree's are not among them."""
        return self._outbox.backlog

    def send(self, packet: QuorumPacket) -> None:
        """Say this to the learner."""
        self.write(encode_packet(packet))

    def write(self, data: bytes) -> None:
        """Say these packets to the learner; they are encoded already."""
        self._outbox.write(data)

    def stream(self, pieces: Iterator[bytes]) -> None:
        """Put a tree on the stream, behind the SNAP packet that was sent; its signature is put behind it."""
        self._outbox.stream(chain(pieces, (TREE_SIGNATURE,)))

    def abort(self) -> None:
        """End the connection at once; nothing of it is told any more."""
        self.events = None
        self._end()

    def finish(self) -> None:
        """End it when all that was said has left; nothing of it is told any more."""
        self.events = None
        self._outbox.close()
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def _end(self) -> None:
        self._outbox.close()
        self.transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        events = self.events
        if events is None:
            return
        try:
            self._take(events, data)
        except Exception:
            # Twisted would end the connection, and the server would go on with half of what was to happen.
            events.broken(Failure())

    def _take(self, events: LeaderEvents, data: bytes) -> None:
        try:
            for packet in self._packets.feed(data):
                events.on_learner_packet(self, packet)
                if self.events is None:
                    break
        except WireError as error:
            self._refuse(error)
        # Of this connection or not: what was told may have moved others. A role that is over moves nobody.
        if self._port.is_led_by(events):
            events.on_learner_batch_end(self)

    def _refuse(self, error: WireError) -> None:
        log.warn("closing quorum connection of {peer}: {error}", peer=self.peer, error=error)
        events, self.events = self.events, None
        self._end()
        if events is not None:
            events.on_learner_lost(self, str(error))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._outbox.close()
        self._port.lost(self)
        events, self.events = self.events, None
        if events is not None:
            events.on_learner_lost(self, reason.getErrorMessage())


class QuorumPort(Factory):
    """Accepts learners. Before the election is decided they are held; then the leading role gets them, or they go.

    An Apache learner that is accepted and closed can stay away for a whole initLimit, so nobody is accepted for
    nothing: the port is closed while another server leads (node/roles.py). soon calls something in the reactor's next
    turn.
    """

    noisy = False

    def __init__(
        self,
        data_bytes_max: int,
        soon: Callable[[Callable[[], None]], None],
        *,
        nodelay: bool = True,
        user_timeout_ms: int = 0,
    ) -> None:
        self.soon = soon
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

    def is_led_by(self, events: LeaderEvents) -> bool:
        """Whether this is the role that leads."""
        return self._leader is events

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
