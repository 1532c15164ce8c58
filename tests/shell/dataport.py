"""A client port in front of a real DataHost: simulated disk and time, threads that work when the test lets them."""

import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.task import Clock as Reactor
from twisted.python.failure import Failure
from zope.interface import implementer

from zktw.admin.stats import ServerStats
from zktw.config import Config
from zktw.net.clientcnxn import ClientCnxn
from zktw.net.clientfactory import ClientCnxnFactory
from zktw.node.alone import Alone
from zktw.node.chronicle import Chronicle
from zktw.node.clock import Clock, Random
from zktw.node.datahost import DataHost
from zktw.node.dataparts import make_database
from zktw.node.keeper import Keeper
from zktw.node.server import ZooKeeperServer
from zktw.sim.disk import SimDisk
from zktw.storage.datadir import DataDir
from zktw.storage.files import IWorker
from zktw.storage.journal import Journal
from zktw.storage.recovery import Rules, recover
from zktw.storage.snapshots import Snapshotter
from zktw.storage.txnlog import TxnLog
from zktw.terms.codes import OpCode
from zktw.zab.committedlog import CommittedLog

CONFIG = Config("zoo.cfg", "/d", "/d", client_port=2181, four_letter_words=None, tick_ms=1000)
OPEN_ACL = bytes.fromhex("000000010000001f00000005776f726c6400000006616e796f6e65")
HEADER = struct.Struct(">iqi")
PING = struct.pack(">ii", -2, OpCode.PING)


@implementer(IWorker)
class StepWorker:
    """Works as it is told: at once, or, while held, when the test lets it."""

    def __init__(self) -> None:
        self.held = False
        self.waiting: list[tuple[Deferred[Any], Callable[..., Any], tuple[Any, ...]]] = []

    def start(self) -> None:
        """See IWorker."""

    def stop(self) -> Deferred[None]:
        """See IWorker."""
        return succeed(None)

    def run(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """See IWorker."""
        done: Deferred[Any] = Deferred()
        self.waiting.append((done, function, args))
        return done

    def let(self) -> None:
        """Do all there is to do."""
        while self.waiting:
            done, function, args = self.waiting.pop(0)
            try:
                result = function(*args)
            except Exception as error:
                done.errback(error)
            else:
                done.callback(result)


def make_keeper(
    config: Config,
    clock: Clock,
    stats: ServerStats,
    disk: SimDisk,
    worker: StepWorker,
    fail: Callable[[int, str], None],
) -> Keeper:
    """What is on the disk, as a node makes it."""
    datadir = DataDir(disk, "/d", "/d")
    datadir.prepare(True)
    committed = CommittedLog()
    recovered = recover(datadir, lambda: make_database(config), Rules(epochs=False), committed.append)
    committed.finish(recovered.database.last_zxid)
    journal = Journal(datadir, worker, TxnLog(datadir), clock.now_ms)
    snapshotter = Snapshotter(datadir, worker, clock)
    return Keeper(config, clock, Random(1), journal, snapshotter, stats, fail, recovered, committed)


def host_alone(config: Config, reactor: Any, stats: ServerStats) -> DataHost:
    """The data service of a fresh server that nothing goes wrong with."""

    def fail(status: int, reason: str) -> None:
        raise AssertionError(f"{status}: {reason}")

    clock = Clock(reactor)
    keeper = make_keeper(config, clock, stats, SimDisk(Random(1)), StepWorker(), fail)
    return DataHost(config, clock, Random(1), keeper, stats)


class DataPort:
    """One server alone. settle() lets its disk work; what it ends with is in failures."""

    def __init__(self, config: Config = CONFIG, disk: SimDisk | None = None, **data: Any) -> None:
        self.config = replace(config, data=replace(config.data, **data))
        self.reactor: Any = Reactor()
        self.reactor.advance(100)
        self.disk = disk if disk is not None else SimDisk(Random(1))
        self.worker = StepWorker()
        self.failures: list[tuple[int, str]] = []
        self._ports = 0
        clock = Clock(self.reactor)
        self.server = ZooKeeperServer(self.config, clock, Chronicle(clock, 0))
        keeper = make_keeper(
            self.config,
            clock,
            self.server.stats,
            self.disk,
            self.worker,
            lambda status, reason: self.failures.append((status, reason)),
        )
        self.journal = keeper.journal
        self.server.keeper = keeper
        self.host = DataHost(self.config, clock, Random(1), keeper, self.server.stats)
        self.factory = ClientCnxnFactory(
            self.server,
            self.reactor,
            max_client_cnxns=0,
            max_cnxns=0,
            sessionless_timeout_ms=10_000,
            frame_bytes_max=self.config.jute_maxbuffer,
            keepalive=False,
        )
        self.server.clients = self.factory
        self.server.serve_standalone(self.host)
        self.host.start(Alone(self.config, self.host))

    def settle(self) -> None:
        """Let the disk do what there is to do, and the reactor come to the end of its turn."""
        self.worker.let()
        while any(call.getTime() <= self.reactor.seconds() for call in self.reactor.getDelayedCalls()):
            self.reactor.advance(0)
            self.worker.let()

    def advance(self, ms: float) -> None:
        """Let time pass in steps that no stall is taken from."""
        while ms > 0:
            step = min(ms, 100.0)
            self.reactor.advance(step / 1000)
            self.settle()
            ms -= step

    def text(self, word: str) -> str:
        """What a word is answered."""
        return self.server.answer(word).decode()

    def connect(self) -> "DataLink":
        """A connection that has said nothing yet."""
        self._ports += 1
        link = DataLink(self, 40_000 + self._ports)
        cnxn: Any = self.factory.buildProtocol(link.peer)
        assert cnxn is not None
        link.cnxn = cnxn
        cnxn.makeConnection(link)
        return link

    def session(self, timeout_ms: int = 10_000) -> "DataLink":
        """A client with a new session."""
        link = self.connect()
        link.send(handshake(timeout_ms))
        self.settle()
        link.welcome()
        return link


def framed(body: bytes) -> bytes:
    """The body with its length."""
    return len(body).to_bytes(4, "big") + body


def handshake(
    timeout_ms: int = 10_000, *, session: int = 0, password: bytes = bytes(16), zxid: int = 0, read_only: bool = True
) -> bytes:
    """A client's first frame, with or without the byte that asks for read-only service."""
    fields = struct.pack(">iqiqi", 0, zxid, timeout_ms, session, len(password))
    return framed(fields + password + (b"\0" if read_only else b""))


def text(value: str) -> bytes:
    """A string as jute has it."""
    return framed(value.encode())


def request(xid: int, op: int, body: bytes = b"") -> bytes:
    """A request's frame."""
    return framed(struct.pack(">ii", xid, op) + body)


def create(xid: int, path: str, data: bytes = b"", flags: int = 0) -> bytes:
    """A create of an open node."""
    return request(xid, OpCode.CREATE, text(path) + framed(data) + OPEN_ACL + flags.to_bytes(4, "big"))


def set_data(xid: int, path: str, data: bytes) -> bytes:
    """A setData whatever the version."""
    return request(xid, OpCode.SET_DATA, text(path) + framed(data) + b"\xff" * 4)


def get_data(xid: int, path: str, *, watch: bool = False) -> bytes:
    """A getData."""
    return request(xid, OpCode.GET_DATA, text(path) + bytes([watch]))


class DataLink:
    """One connection as the client sees it. choke() fills its buffers, as a client does that takes nothing."""

    def __init__(self, port: DataPort, number: int) -> None:
        self.peer = IPv4Address("TCP", "192.0.2.1", number)
        self.cnxn: ClientCnxn | None = None
        self.written = bytearray()
        self.closed = False
        self.aborted = False
        self.reading = True
        self.bufferSize = 65_536
        self.session = 0
        self.password = b""
        self.timeout_ms = 0
        self._port = port
        self._producer: Any = None

    # -- what the server sees

    def getPeer(self) -> IPv4Address:
        return self.peer

    def setTcpNoDelay(self, enabled: bool) -> None:
        assert enabled

    def setTcpKeepAlive(self, enabled: bool) -> None:
        assert not enabled

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.written += data

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert streaming
        self._producer = producer

    def unregisterProducer(self) -> None:
        self._producer = None

    def pauseProducing(self) -> None:
        self.reading = False

    def resumeProducing(self) -> None:
        assert not self.closed
        self.reading = True

    def loseConnection(self) -> None:
        # A TCP transport would wait for its producer for ever.
        assert self._producer is None
        self.closed = True

    def abortConnection(self) -> None:
        self.closed = self.aborted = True

    # -- what the client does

    def send(self, *pieces: bytes) -> None:
        """Say this, if anybody listens."""
        assert self.cnxn is not None
        for piece in pieces:
            self.cnxn.dataReceived(piece)
            self._port.reactor.advance(0)

    def choke(self) -> None:
        """The transport's buffer is full."""
        self._producer.pauseProducing()

    def unchoke(self) -> None:
        """It is empty again."""
        self._producer.resumeProducing()
        self._port.reactor.advance(0)

    def end(self) -> None:
        """The connection is over."""
        assert self.cnxn is not None
        self.closed = True
        self.cnxn.connectionLost(Failure(ConnectionAborted() if self.aborted else ConnectionDone()))

    def frame(self) -> bytes:
        """The next frame that has come."""
        end = 4 + int.from_bytes(self.written[:4], "big")
        assert len(self.written) >= end > 4
        found = bytes(self.written[4:end])
        del self.written[:end]
        return found

    def frames(self) -> list[bytes]:
        """All that has come and was not asked for yet."""
        found = []
        while self.written:
            found.append(self.frame())
        return found

    def replies(self) -> list[tuple[int, int]]:
        """The same as (xid, error)."""
        found = []
        for frame in self.frames():
            xid, _, err = HEADER.unpack_from(frame)
            found.append((xid, err))
        return found

    def welcome(self) -> bytes:
        """Take the answer to the handshake; what stands behind the password is returned."""
        frame = self.frame()
        _, self.timeout_ms, self.session, length = struct.unpack_from(">iiqi", frame)
        assert length == 16
        self.password = frame[20:36]
        return frame[36:]


def body_of(frame: bytes) -> bytes:
    """A reply behind its header."""
    return frame[HEADER.size :]
