"""What the tests of the election port share: simulated hosts with a manager each, strangers, and the log's lines."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

from zktw.net.cnxmanager import QuorumCnxManager
from zktw.net.listener import Listener
from zktw.node.clock import Random
from zktw.sim.network import Network
from zktw.sim.reactor import SimReactor
from zktw.sim.schedule import Process, Schedule
from zktw.terms.vote import Notification, PeerState, Vote
from zktw.wire.votes import encode_notification, encode_opening

PORT = 3888
Addresses = Mapping[int, list[tuple[str, int]]]


def host(sid: int) -> str:
    """The host of a server."""
    return f"10.0.0.{sid}"


def address(sid: int) -> list[tuple[str, int]]:
    """The election address of a server."""
    return [(host(sid), PORT)]


def vote(leader: int, sid: int = 0) -> Notification:
    """A message that votes for leader."""
    return Notification(sid, PeerState.LOOKING, Vote(0, 0, leader), 1)


def frame(notification: Notification) -> bytes:
    """A message as it stands on the wire."""
    data = encode_notification(notification)
    return len(data).to_bytes(4, "big") + data


@contextmanager
def warnings(least: LogLevel = LogLevel.warn) -> Iterator[list[str]]:
    """Collects what is logged as warning, or as what else it is at least."""
    found: list[str] = []

    @implementer(ILogObserver)
    class Observer:
        """Keeps lines."""

        def __call__(self, event: LogEvent) -> None:
            if event["log_level"] >= least:
                found.append(formatEvent(event))

    observer = Observer()
    globalLogPublisher.addObserver(observer)
    try:
        yield found
    finally:
        globalLogPublisher.removeObserver(observer)


class Talk(Protocol):
    """A connection of somebody whose words the test chooses."""

    # Declared wider than Twisted's: it is a simulated one.
    transport: Any

    def __init__(self) -> None:
        self.received = b""
        self.ended: BaseException | None = None

    @property
    def open(self) -> bool:
        return self.ended is None

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended = reason.value


class Town:
    """A network of simulated hosts; every packet takes delay_ms."""

    def __init__(self, delay_ms: float = 1.0) -> None:
        self.schedule = Schedule()
        self.network = Network(self.schedule, Random(1))
        self.network.delay_s = (delay_ms / 1000, delay_ms / 1000)
        self.names: dict[str, str] = {}

    def run(self, ms: float = 100) -> None:
        """Let this time pass."""
        until = self.schedule.now + ms / 1000
        while self.schedule.step(until):
            pass

    def reactor(self, where: str) -> tuple[Process, SimReactor]:
        """A process of its own on a host."""
        process = Process(where)
        return process, SimReactor(self.schedule, self.network, process, where, names=self.names)

    def pipes(self) -> list[tuple[str, str]]:
        """The open connections: who has dialled whom."""
        return [(pipe.dialler, pipe.listener) for pipe in self.network.pipes()]

    def dial(self, sid: int, *pieces: bytes, source: str = "10.0.0.99") -> Talk:
        """Dial a server's election port and say this, each piece in a segment of its own."""
        made: list[Talk] = []
        self.dialling(sid, source).addCallback(made.append)
        self.run(10)
        (talk,) = made
        for piece in pieces:
            talk.transport.write(piece)
            self.run(5)
        return talk

    def dialling(self, sid: int, source: str) -> Deferred[Any]:
        """Dial a server's election port from a host; fires with a Talk."""
        _, reactor = self.reactor(source)
        return TCP4ClientEndpoint(reactor, host(sid), PORT).connect(_factory(Talk))

    def listen(self, sid: int, make: Callable[[], Talk] = Talk) -> list[Talk]:
        """Be a server whose words the test chooses: the connections that it accepts."""
        _, reactor = self.reactor(host(sid))
        accepted: list[Talk] = []

        def accept() -> Talk:
            accepted.append(make())
            return accepted[-1]

        reactor.listenTCP(PORT, _factory(accept))
        return accepted


class Member:
    """A server: a manager, its port, and all that it tells the election."""

    def __init__(
        self, town: Town, sid: int, voters: Addresses, others: Addresses | None = None, **options: Any
    ) -> None:
        self.sid = sid
        self.told: list[tuple[str, int]] = []
        self.heard: list[Notification] = []
        self.process, self.reactor = town.reactor(host(sid))
        self.manager = QuorumCnxManager(self.reactor, sid, voters, others or {}, self, **options)
        self.listener = Listener(self.reactor, "election", address(sid), self.manager.factory)
        self._town = town

    def start(self) -> "Member":
        """Bind the port and dial."""
        self.listener.bind()
        self.manager.start()
        return self

    def die(self) -> None:
        """Its process is gone."""
        self.process.alive = False
        self._town.network.process_died(self.process)

    def times(self, what: str, sid: int) -> int:
        """How often this was told of a server."""
        return self.told.count((what, sid))

    def on_notification(self, notification: Notification) -> None:
        self.heard.append(notification)

    def on_connected(self, sid: int) -> None:
        self.told.append(("connected", sid))

    def on_disconnected(self, sid: int) -> None:
        self.told.append(("disconnected", sid))

    def on_refused(self, sid: int) -> None:
        self.told.append(("refused", sid))


def _factory(make: Callable[[], Talk]) -> Any:
    factory = Factory.forProtocol(make)
    factory.noisy = False
    return factory


def alone(*others: int, town: Town | None = None) -> tuple[Town, Member]:
    """Server 3, started, and the hosts of others, where nobody is yet."""
    town = town or Town()
    return town, Member(town, 3, {sid: address(sid) for sid in (3, *others)}).start()


def opening(sid: int, text: str = "") -> bytes:
    """What a server opens with."""
    return encode_opening(sid, [text or f"{host(sid)}:{PORT}"], False)
