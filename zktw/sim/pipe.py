"""Pipe: one simulated TCP connection, its two ends, and what is under way between them."""

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost, TimeoutError
from twisted.python.failure import Failure

from zktw.sim.schedule import Process

if TYPE_CHECKING:
    from zktw.sim.network import Network

RETRANSMIT_S = 0.2
# A link that stays cut for this long ends the connection at the side that has something to say (TCP user timeout).
GIVE_UP_S = 4.0
# At most so many bytes are under way before the writer is asked to wait.
WINDOW_BYTES = 65536


class Transport:
    """One end of a connection, as Twisted's TCP transports behave."""

    def __init__(self, pipe: "Pipe", process: Process, host: IPv4Address, peer: IPv4Address) -> None:
        self.protocol: Any = None
        self.process = process
        self.pipe = pipe
        self.disconnecting = False
        self.connected = True
        self._host = host
        self._peer = peer
        self._reading = True
        self._inbox: list[bytes] = []
        self._ended: Failure | None = None
        # What is on its way to the other end, in order: what it does there, and with what; when the last of it arrives.
        self.outbox: deque[tuple[Callable[..., None], Any]] = deque()
        self.last_arrival = 0.0
        # Whether the host of this end lost its power: what was under way is lost, and nobody is told.
        self.silenced = False
        # Bytes that the other end's protocol has not taken yet.
        self._unread = 0
        self._producer: Any = None
        self._producer_paused = False

    def getHost(self) -> IPv4Address:
        return self._host

    def getPeer(self) -> IPv4Address:
        return self._peer

    def setTcpNoDelay(self, enabled: bool) -> None:
        pass

    def setTcpKeepAlive(self, enabled: bool) -> None:
        pass

    def write(self, data: bytes) -> None:
        if not self.connected or self.disconnecting or not data:
            return
        self.pipe.send(self, bytes(data))
        self._unread += len(data)
        if self._producer is not None and not self._producer_paused and self._unread > WINDOW_BYTES:
            self._producer_paused = True
            self._producer.pauseProducing()

    def writeSequence(self, chunks: list[bytes]) -> None:
        self.write(b"".join(chunks))

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self._producer = producer

    def unregisterProducer(self) -> None:
        self._producer = None

    def taken(self, count: int) -> None:
        """The other end's protocol has taken so many bytes: there is room again."""
        self._unread -= count
        if self._producer_paused and self._unread <= WINDOW_BYTES:
            self._producer_paused = False
            self.pipe.network.give(self, self._resume_producer)

    def _resume_producer(self) -> None:
        if self._producer is not None and self.connected:
            self._producer.resumeProducing()

    def pauseProducing(self) -> None:
        self._reading = False

    def resumeProducing(self) -> None:
        if self._reading:
            return
        self._reading = True
        self.pipe.network.schedule.after(0.0, self.process, self._deliver)

    def loseConnection(self) -> None:
        if self.connected and not self.disconnecting:
            self.disconnecting = True
            self.pipe.finish(self)
            self._end_soon(ConnectionDone())

    def abortConnection(self) -> None:
        if self.connected and self._ended is None:
            self.disconnecting = True
            self.pipe.reset(self)
            self._end_soon(ConnectionAborted())

    def _end_soon(self, error: Exception) -> None:
        self._ended = Failure(error)
        self.pipe.network.schedule.after(0.0, self.process, self._end)

    def attach(self, protocol: Any) -> None:
        """The connection is there for this end: hand over what has come already."""
        self.protocol = protocol
        protocol.makeConnection(self)
        self._deliver()

    def receive(self, data: bytes) -> None:
        """Bytes have come."""
        if self.connected and not self.disconnecting:
            self._inbox.append(data)
            self._deliver()

    def receive_end(self, error: Exception) -> None:
        """The other end has closed, or the connection is lost."""
        if not self.connected or self._ended is not None:
            return
        self._ended = Failure(error)
        if not isinstance(error, ConnectionDone):
            self._inbox.clear()
        self._deliver()

    def _deliver(self) -> None:
        if self.protocol is None:
            return
        while self._inbox and self._reading and self.connected and not self.disconnecting:
            data = b"".join(self._inbox)
            self._inbox.clear()
            self.pipe.taken_by(self, len(data))
            self.protocol.dataReceived(data)
        if self._ended is not None and not self._inbox and self.connected and not self.disconnecting:
            self._end()

    def _end(self) -> None:
        if self.connected:
            self.connected = False
            self._producer = None
            assert self._ended is not None
            self.protocol.connectionLost(self._ended)


class Pipe:
    """Both ends of one connection and what is under way between them."""

    def __init__(self, network: "Network", dialler: str, listener: str, port: int) -> None:
        self.network = network
        self.dialler = dialler
        self.listener = listener
        self.port = port
        self.number = network.next_number()
        self.near: Transport | None = None
        self.far: Transport | None = None
        self.broken = False

    def hosts(self, sender: Transport) -> tuple[str, str]:
        """From whom to whom."""
        return (self.dialler, self.listener) if sender is self.near else (self.listener, self.dialler)

    def _to(self, sender: Transport) -> Transport | None:
        return self.far if sender is self.near else self.near

    def taken_by(self, receiver: Transport, count: int) -> None:
        """An end's protocol has taken so many bytes."""
        sender = self._to(receiver)
        if sender is not None:
            sender.taken(count)

    def send(self, sender: Transport, data: bytes) -> None:
        """Bytes leave an end."""
        network = self.network
        if network.tap is not None:
            network.tap(self, sender is self.near, data)
        self._carry(sender, self._arrive, data)

    def finish(self, sender: Transport) -> None:
        """The end closes once what it has sent is through."""
        self._carry(sender, self._arrive_end, ConnectionDone())

    def reset(self, sender: Transport) -> None:
        """The end closes at once; what is under way to the other end may be lost."""
        self._carry(sender, self._arrive_end, ConnectionLost())

    def die(self, sender: Transport) -> None:
        """The process of this end is gone: its kernel tells the other one."""
        self._carry(sender, self._arrive_end, ConnectionLost())

    def _carry(self, sender: Transport, arrive: Callable[..., None], load: Any) -> None:
        network = self.network
        source, target = self.hosts(sender)
        at = max(network.schedule.now + network.delay(source, target), sender.last_arrival)
        sender.last_arrival = at
        sender.outbox.append((arrive, load))
        network.schedule.at(at, None, self._try, sender, at)

    def _try(self, sender: Transport, due: float) -> None:
        """Get the next load over the link; while the link is cut, it and all behind it are sent again and again."""
        if self.broken or sender.silenced:
            return
        network = self.network
        now = network.schedule.now
        source, target = self.hosts(sender)
        if network.is_cut(source, target):
            if now - due > GIVE_UP_S:
                self._break(sender)
                return
            later = now + RETRANSMIT_S
            sender.last_arrival = max(sender.last_arrival, later)
            network.schedule.at(later, None, self._try, sender, due)
            return
        arrive, load = sender.outbox.popleft()
        receiver = self._to(sender)
        if receiver is not None and receiver.silenced:
            # The host is there again, and knows nothing of this connection.
            self.broken = True
            network.give(sender, sender.receive_end, ConnectionLost())
            return
        arrive(sender, load)

    def _arrive(self, sender: Transport, data: bytes) -> None:
        if self.network.arrivals is not None:
            self.network.arrivals(self, sender is self.near)
        receiver = self._to(sender)
        if receiver is not None:
            self.network.give(receiver, receiver.receive, data)

    def _arrive_end(self, sender: Transport, error: Exception) -> None:
        receiver = self._to(sender)
        if receiver is not None:
            self.network.give(receiver, receiver.receive_end, error)

    def _break(self, sender: Transport) -> None:
        """The sender's kernel gives up; the other end finds out when it has something to say itself."""
        self.broken = True
        self.network.give(sender, sender.receive_end, TimeoutError())
        receiver = self._to(sender)
        if receiver is not None:
            self.network.schedule.after(GIVE_UP_S, receiver.process, receiver.receive_end, TimeoutError())

    def sever(self) -> None:
        """A fault: both ends get a reset."""
        self.broken = True
        for end in (self.near, self.far):
            if end is not None:
                self.network.give(end, end.receive_end, ConnectionLost())
