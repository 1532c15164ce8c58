"""Network: simulated TCP between hosts. Bytes of a connection stay in order; links lose, delay, and are cut one way."""

from collections.abc import Callable
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import (
    CannotListenError,
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
    TimeoutError,
    UserError,
)
from twisted.python.failure import Failure

from zktw.node.clock import Random
from zktw.sim.schedule import Event, Process, Schedule

RETRANSMIT_S = 0.2
# A link that stays cut for this long ends the connection at the side that has something to say (TCP user timeout).
GIVE_UP_S = 4.0
# At most so many bytes are under way before the writer is asked to wait.
WINDOW_BYTES = 65536

# Told of all that is written: sender's host, receiver's host, the listening port, whether the dialler wrote it, bytes.
Tap = Callable[["Pipe", bool, bytes], None]


class Transport:
    """One end of a connection, as Twisted's TCP transports behave."""

    def __init__(self, pipe: "Pipe", process: Process, host: IPv4Address, peer: IPv4Address) -> None:
        self.protocol: Any = None
        self.process = process
        self.pipe = pipe
        self.other: Transport | None = None
        self.disconnecting = False
        self.connected = True
        self._host = host
        self._peer = peer
        self._reading = True
        self._inbox: list[bytes] = []
        self._ended: Failure | None = None
        # Bytes on their way to the other end, the time when the last of them arrives, and whether the link is lost.
        self.under_way = 0
        self.last_arrival = 0.0
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
        self.under_way += len(data)
        if self._producer is not None and not self._producer_paused and self.under_way > WINDOW_BYTES:
            self._producer_paused = True
            self._producer.pauseProducing()

    def writeSequence(self, chunks: list[bytes]) -> None:
        self.write(b"".join(chunks))

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self._producer = producer

    def unregisterProducer(self) -> None:
        self._producer = None

    def arrived(self, count: int) -> None:
        """The other end's kernel has taken so many bytes."""
        self.under_way -= count
        if self._producer is not None and self._producer_paused and self.under_way <= WINDOW_BYTES:
            self._producer_paused = False
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
            inbox, self._inbox = self._inbox, []
            self.protocol.dataReceived(b"".join(inbox))
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
        network.schedule.at(at, None, self._try, sender, arrive, load, at)

    def _try(self, sender: Transport, arrive: Callable[..., None], load: Any, due: float) -> None:
        """Get a load over the link; while the link is cut, it and all behind it are sent again and again."""
        if self.broken:
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
            network.schedule.at(later, None, self._try, sender, arrive, load, due)
            return
        arrive(sender, load)

    def _arrive(self, sender: Transport, data: bytes) -> None:
        receiver = self._to(sender)
        sender.arrived(len(data))
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


class Port:
    """A listening port."""

    def __init__(self, network: "Network", process: Process, host: str, port: int, factory: Any) -> None:
        self.process = process
        self.factory = factory
        self.host = host
        self.port = port
        self._network = network

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", self.host, self.port)

    def stopListening(self) -> None:
        self._network.close_port(self)


class Connector:
    """An attempt to connect."""

    def __init__(self, network: "Network", process: Process, source: str, target: str, port: int, factory: Any) -> None:
        self._network = network
        self._process = process
        self._source = source
        self._target = target
        self._port = port
        self._factory = factory
        self._over = False
        self._limit: Event | None = None

    def start(self, timeout: float) -> None:
        """Send the first packet."""
        network = self._network
        self._factory.doStart()
        self._factory.startedConnecting(self)
        self._limit = network.schedule.after(timeout, self._process, self._fail, TimeoutError())
        network.schedule.after(network.delay(self._source, self._target), None, self._knock)

    def stopConnecting(self) -> None:
        self._fail(UserError())

    def disconnect(self) -> None:
        self.stopConnecting()

    def getDestination(self) -> IPv4Address:
        return IPv4Address("TCP", self._target, self._port)

    def _fail(self, error: Exception) -> None:
        if self._over:
            return
        self._over = True
        if self._limit is not None:
            self._limit.cancelled = True
        self._factory.clientConnectionFailed(self, Failure(error))
        self._factory.doStop()

    def _knock(self) -> None:
        """The first packet has come to the other host, if the link lets it through."""
        network = self._network
        if self._over:
            return
        if network.is_cut(self._source, self._target) or network.is_cut(self._target, self._source):
            network.schedule.after(RETRANSMIT_S, None, self._knock)
            return
        back = network.delay(self._target, self._source)
        port = network.port(self._target, self._port)
        if port is None:
            network.schedule.after(back, self._process, self._fail, ConnectionRefusedError())
            return
        pipe = network.open(self._source, self._target, self._port)
        near_address = IPv4Address("TCP", self._source, 40_000 + pipe.number % 20_000)
        far_address = IPv4Address("TCP", self._target, self._port)
        pipe.near = Transport(pipe, self._process, near_address, far_address)
        pipe.far = Transport(pipe, port.process, far_address, near_address)
        network.give(pipe.far, self._accept, port, pipe.far, near_address)
        network.schedule.after(back, self._process, self._connected, pipe, far_address)

    def _accept(self, port: Port, transport: Transport, peer: IPv4Address) -> None:
        protocol = port.factory.buildProtocol(peer)
        if protocol is None:
            transport.attach(_Nobody())
            transport.abortConnection()
            return
        transport.attach(protocol)

    def _connected(self, pipe: Pipe, peer: IPv4Address) -> None:
        near = pipe.near
        assert near is not None
        if self._over:
            near.attach(_Nobody())
            near.abortConnection()
            return
        self._over = True
        if self._limit is not None:
            self._limit.cancelled = True
        near.attach(self._factory.buildProtocol(peer))


class _Nobody:
    """The protocol of a connection that nobody wants."""

    def makeConnection(self, transport: Transport) -> None:
        pass

    def dataReceived(self, data: bytes) -> None:
        pass

    def connectionLost(self, reason: Failure) -> None:
        pass


class Network:
    """All hosts' ports, connections and links."""

    def __init__(self, schedule: Schedule, random: Random) -> None:
        self.schedule = schedule
        self.tap: Tap | None = None
        self.loss = 0.0
        self.delay_s = (0.0002, 0.002)
        self._random = random
        self._ports: dict[tuple[str, int], Port] = {}
        self._pipes: dict[int, Pipe] = {}
        self._cuts: dict[tuple[str, str], None] = {}
        self._slow: dict[tuple[str, str], float] = {}
        self._numbers = 0

    def next_number(self) -> int:
        """A number for a connection."""
        self._numbers += 1
        return self._numbers

    # -- links -------------------------------------------------------------------------------------------------------

    def delay(self, source: str, target: str) -> float:
        """How long a packet takes; a lost one is sent again."""
        low, high = self.delay_s
        delay = low + self._random.random() * (high - low) + self._slow.get((source, target), 0.0)
        while self.loss and self._random.random() < self.loss:
            delay += RETRANSMIT_S
        return delay

    def is_cut(self, source: str, target: str) -> bool:
        """Whether nothing gets from one host to the other."""
        return (source, target) in self._cuts

    def cut(self, source: str, target: str) -> None:
        """Let nothing through in this direction."""
        self._cuts[(source, target)] = None

    def slow(self, source: str, target: str, seconds: float) -> None:
        """Let everything take longer in this direction."""
        self._slow[(source, target)] = seconds

    def heal(self) -> None:
        """All links are good again."""
        self._cuts.clear()
        self._slow.clear()
        self.loss = 0.0

    # -- ports and connections ---------------------------------------------------------------------------------------

    def listen(self, process: Process, host: str, port: int, factory: Any) -> Port:
        """Bind a port; raises CannotListenError where somebody has it."""
        held = self._ports.get((host, port))
        if held is not None and held.process.alive:
            raise CannotListenError(host, port, OSError(98, "Address already in use"))
        listening = self._ports[(host, port)] = Port(self, process, host, port, factory)
        factory.doStart()
        return listening

    def close_port(self, port: Port) -> None:
        """Refuse from now on."""
        if self._ports.get((port.host, port.port)) is port:
            del self._ports[(port.host, port.port)]
            port.factory.doStop()

    def port(self, host: str, port: int) -> Port | None:
        """Who listens there; None where the system refuses."""
        listening = self._ports.get((host, port))
        return listening if listening is not None and listening.process.alive else None

    def open(self, dialler: str, listener: str, port: int) -> Pipe:
        """A connection."""
        pipe = Pipe(self, dialler, listener, port)
        self._pipes[pipe.number] = pipe
        return pipe

    def give(self, transport: Transport, function: Callable[..., None], *args: Any) -> None:
        """Let a transport's process do something now, or when it is no longer paused."""
        self.schedule.after(0.0, transport.process, function, *args)

    def pipes(self) -> list[Pipe]:
        """The connections that are open at one end at least."""
        ends = [(pipe, (pipe.near, pipe.far)) for pipe in self._pipes.values()]
        for pipe, pair in ends:
            if not any(end is not None and end.connected and end.process.alive for end in pair):
                del self._pipes[pipe.number]
        return list(self._pipes.values())

    def process_died(self, process: Process) -> None:
        """A process is gone: its ports refuse, and its connections end as its kernel closes them."""
        for key, port in list(self._ports.items()):
            if port.process is process:
                del self._ports[key]
        for pipe in self.pipes():
            for end in (pipe.near, pipe.far):
                if end is not None and end.process is process and end.connected:
                    pipe.die(end)
