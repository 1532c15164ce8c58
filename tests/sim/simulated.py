"""Two simulated hosts with toy protocols on them, for the tests of the simulator itself."""

from typing import Any

from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure

from zktw.node.clock import Random
from zktw.sim.network import Network
from zktw.sim.reactor import SimReactor
from zktw.sim.schedule import Process, Schedule

PORT = 7000


class Recorder(Protocol):
    """Notes what comes and how it ends."""

    # Declared wider than Twisted's: it is a simulated one.
    transport: Any

    def __init__(self) -> None:
        self.received = b""
        self.pieces = 0
        self.ended: BaseException | None = None

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        self.pieces += 1

    def connectionLost(self, reason: Failure | None = None) -> None:
        assert reason is not None
        self.ended = reason.value


class Host:
    """One process on one host, listening on PORT."""

    def __init__(self, schedule: Schedule, network: Network, address: str, *, offset: float = 0.0) -> None:
        self.address = address
        self.process = Process(address)
        self.reactor = SimReactor(
            schedule, network, self.process, address, names={"two.example": "10.0.0.2"}, offset=offset
        )
        self.accepted: list[Recorder] = []
        self.port: Any = None

    def listen(self) -> None:
        """Accept whoever comes, through the endpoint that the servers use."""
        factory = Factory.forProtocol(self._accept)
        factory.noisy = False
        listening = TCP4ServerEndpoint(self.reactor, PORT).listen(factory)
        self.port = listening.result

    def _accept(self) -> Recorder:
        self.accepted.append(Recorder())
        return self.accepted[-1]


class Pair:
    """Two hosts, the second of which listens, under a seed."""

    def __init__(self, seed: int = 1) -> None:
        self.schedule = Schedule()
        self.network = Network(self.schedule, Random(seed))
        self.one = Host(self.schedule, self.network, "10.0.0.1")
        self.two = Host(self.schedule, self.network, "10.0.0.2", offset=5000)
        self.two.listen()

    def run(self, seconds: float = 1.0) -> None:
        """Let this time pass."""
        until = self.schedule.now + seconds
        while self.schedule.step(until):
            pass

    def dial(self, *, timeout: float = 2.0, seconds: float = 1.0) -> tuple[list[Recorder], list[Exception]]:
        """Dial from the first host to the second; what came of it after some time."""
        factory = Factory.forProtocol(Recorder)
        factory.noisy = False
        made: list[Any] = []
        failed: list[Exception] = []
        endpoint = TCP4ClientEndpoint(self.one.reactor, self.two.address, PORT, timeout=int(timeout))
        endpoint.connect(factory).addCallbacks(made.append, lambda failure: failed.append(failure.value))
        self.run(seconds)
        return made, failed

    def connected(self) -> tuple[Recorder, Recorder]:
        """A connection: the dialling end and the listening one."""
        made, failed = self.dial()
        assert not failed
        return made[0], self.two.accepted[-1]
