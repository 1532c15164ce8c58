"""Network: simulated TCP between hosts. Bytes of a connection stay in order; links lose, delay, and are cut one way."""

from collections.abc import Callable
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import (
    CannotListenError,
    ConnectionRefusedError,
    TimeoutError,
    UserError,
)
from twisted.python.failure import Failure

from zktw.node.clock import Random
from zktw.sim.pipe import RETRANSMIT_S, Pipe, Transport
from zktw.sim.schedule import Event, Process, Schedule

# Told of all that is written: sender's host, receiver's host, the listening port, whether the dialler wrote it, bytes.
Tap = Callable[["Pipe", bool, bytes], None]


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
        if self._over or not self._process.alive:
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
        # Told of all that has come to a host, whether or not its process is awake; true: the dialler sent it.
        self.arrivals: Callable[[Pipe, bool], None] | None = None
        self.loss = 0.0
        self.delay_s = (0.0002, 0.002)
        self._random = random
        self._ports: dict[tuple[str, int], Port] = {}
        self._pipes: dict[int, Pipe] = {}
        self._cuts: dict[tuple[str, str], None] = {}
        # Hosts without power: nothing of them answers, not even to refuse.
        self._dark: dict[str, None] = {}
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
        return (source, target) in self._cuts or source in self._dark or target in self._dark

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
        for pipe, end in self._forget(process):
            pipe.die(end)

    def host_died(self, process: Process, host: str) -> None:
        """A host is gone with its only process: its peers are told nothing until it is there again, if they ask."""
        self._dark[host] = None
        for _, end in self._forget(process):
            end.silenced = True

    def host_started(self, host: str) -> None:
        """The host has power."""
        self._dark.pop(host, None)

    def _forget(self, process: Process) -> list[tuple[Pipe, Transport]]:
        """Close the ports of a dead process; its ends of connections."""
        for key, port in list(self._ports.items()):
            if port.process is process:
                del self._ports[key]
        pairs = [(pipe, end) for pipe in self.pipes() for end in (pipe.near, pipe.far) if end is not None]
        return [(pipe, end) for pipe, end in pairs if end.process is process and end.connected]
