"""One server of three, whole, in memory: its disk, clock and connections are the test's, and so are its two peers.

It leads, or follows server 3, as the votes say that the test lets come; its quorum port speaks with the test.
"""

import hashlib
import re
import struct
from dataclasses import replace
from typing import Any

from dataport import StepWorker
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure

from zktw.config import Config
from zktw.net.quorumcnxn import QuorumPort
from zktw.node.build import Node
from zktw.node.clock import Random
from zktw.quorum.ensemble import Ensemble
from zktw.sim.disk import SimDisk
from zktw.terms.codes import PacketType
from zktw.terms.vote import Notification, PeerState, Vote
from zktw.wire.peers import PacketParser, QuorumPacket, encode_packet

QUORUM_PORT, ELECTION_PORT = 2888, 3888
MEMBERS = "\n".join(
    [*(f"server.{sid}=10.0.0.{sid}:{QUORUM_PORT}:{ELECTION_PORT}:participant" for sid in (1, 2, 3)), "version=0"]
)
PROTOCOL = (0x10000).to_bytes(4, "big")


class Wire(StringTransport):
    """A TCP connection's near end."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.protocol: Any = None
        self.closed = False
        self._parser = PacketParser(1 << 24)

    def abortConnection(self) -> None:
        self._end(ConnectionAborted())

    def loseConnection(self) -> None:
        self._end(ConnectionDone())

    def _end(self, why: BaseException) -> None:
        if not self.closed:
            self.closed = True
            self.protocol.connectionLost(Failure(why))

    def setTcpNoDelay(self, enabled: bool) -> None:
        pass

    def setTcpKeepAlive(self, enabled: bool) -> None:
        pass

    def say(self, *data: bytes) -> None:
        """Let this arrive, each in a segment of its own, as long as the connection is there."""
        for piece in data:
            if not self.closed:
                self.protocol.dataReceived(piece)

    def tell(self, kind: PacketType, zxid: int, data: bytes | None = None) -> None:
        """Let this packet arrive."""
        self.say(encode_packet(QuorumPacket(kind, zxid, data)))

    def heard(self) -> list[QuorumPacket]:
        """What the server has said since this was asked last; no tree may be among it."""
        data: bytes = self.value()  # type: ignore[no-untyped-call]
        self.clear()  # type: ignore[no-untyped-call]
        return list(self._parser.feed(data))


def wired(protocol: Any) -> Wire:
    """A connection that this protocol speaks on."""
    wire = Wire()
    wire.protocol = protocol
    protocol.makeConnection(wire)
    return wire


class QuorumServer:
    """Server `sid` of three. What it ends with is in failures."""

    def __init__(self, sid: int, disk: SimDisk | None = None) -> None:
        self.sid = sid
        self.reactor: Any = MemoryReactorClock()
        self.reactor.advance(100)
        self.disk = disk if disk is not None else SimDisk(Random(1))
        self.worker = StepWorker()
        self.failures: list[tuple[int, str]] = []
        self._round = 0
        config = Config(
            "zoo.cfg",
            "/d",
            "/d",
            client_port=2181,
            tick_ms=1000,
            ensemble=Ensemble.from_text(MEMBERS),
            my_sid=sid,
        )
        config = replace(config, data=replace(config.data, prealloc_kb=64))
        self.node = Node(
            config,
            self.reactor,
            self.disk,
            lambda _: self.worker,
            Random(1),
            lambda status, reason: self.failures.append((status, reason)),
        )
        self.node.privilegedStartService()
        self.node.startService()
        self.settle()

    def settle(self) -> None:
        """Let the disk and the reactor do what there is to do now."""
        self.worker.let()
        for _ in range(20):
            self.reactor.advance(0)
            self.worker.let()

    def advance(self, ms: float) -> None:
        """Let time pass."""
        while ms > 0:
            step = min(ms, 50.0)
            self.reactor.advance(step / 1000)
            self.settle()
            ms -= step

    def vote(self, leader: int) -> None:
        """Both others want this leader, which holds more than anybody, or as much as we do."""
        peer = self.node.peer
        assert peer is not None
        self._round += 1
        history = peer.history
        zxid = history.last_zxid if leader == self.sid else 2**60
        epoch = history.current_epoch if leader == self.sid else 2**30
        for sid in {1, 2, 3} - {self.sid}:
            peer.on_notification(Notification(sid, PeerState.LOOKING, Vote(epoch, zxid, leader), 1000 + self._round))
        self.advance(50)

    @property
    def mode(self) -> str:
        """What it says that it is, once it serves."""
        found = re.search(r"^Mode: (\S+)", self.node.server.answer("srvr").decode(), re.M)
        return found.group(1) if found else ""

    # -- as their leader ---------------------------------------------------------------------------------------------

    def learner(self) -> Wire:
        """A connection to the quorum port."""
        ports = [factory for _, factory, *_ in self.reactor.tcpServers if isinstance(_unwrapped(factory), QuorumPort)]
        wire = wired(ports[-1].buildProtocol(None))
        self.settle()
        return wire

    # -- as our leader -----------------------------------------------------------------------------------------------

    def led(self) -> Wire:
        """The connection that it makes to the quorum port of server 3, once it has found that this one leads."""
        for _ in range(100):
            self.reactor.tcpClients.clear()
            self.vote(3)
            dialled = [factory for _, port, factory, *_ in self.reactor.tcpClients if port == QUORUM_PORT]
            if dialled:
                wire = wired(dialled[-1].buildProtocol(None))
                self.settle()
                return wire
        raise AssertionError("it does not dial its leader")

    def on_disk(self) -> dict[str, str]:
        """What log and snapshots hold; not the epochs, which a promise to a leader moves."""
        directory = "/d/version-2"
        return {
            name: hashlib.sha256(self.disk.read(f"{directory}/{name}").rstrip(b"\0")).hexdigest()
            for name in self.disk.list(directory)
            if name.startswith(("log.", "snapshot."))
        }


def _unwrapped(factory: Any) -> Any:
    return getattr(factory, "wrappedFactory", getattr(factory, "_wrappedFactory", factory))


def packet(kind: int, zxid: int, data: bytes | None = None, identities: bytes = b"\xff" * 4) -> bytes:
    """A packet of whatever kind."""
    length = b"\xff" * 4 if data is None else len(data).to_bytes(4, "big")
    return struct.pack(">iq", kind, zxid) + length + (data or b"") + identities


def malformed() -> list[tuple[str, bytes]]:
    """What is no packet at any time."""
    return [
        ("unknown packet", packet(99, 0)),
        ("packet of type 0", packet(0, 0)),
        ("packet of type -1", packet(-1, 0)),
        ("data of length -2", struct.pack(">iqi", 3, 0, -2) + bytes(100)),
        ("data of length 2^31-1", struct.pack(">iqi", 3, 0, 2**31 - 1) + bytes(100)),
        ("data above the bound", struct.pack(">iqi", 1, -1, 0x300000) + bytes(5000)),
        ("identities without end", packet(1, -1, bytes(30), b"\x7f\xff\xff\xff" + bytes(100))),
        ("less than no identities", packet(1, -1, bytes(30), b"\xff\xff\xff\xf9" + bytes(100))),
        ("an HTTP request", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" + b"x" * 100),
        ("a client's opening", b"\0\0\0\x2d" + bytes(45)),
    ]


def spoil(random: Random, pieces: list[bytes]) -> list[bytes]:
    """Packets dropped, doubled, moved, their bytes changed or cut off; in one segment, or in two."""
    pieces = list(pieces)
    for _ in range(random.randrange(3)):
        at = random.randrange(len(pieces))
        how = random.randrange(3)
        if how == 0 and len(pieces) > 1:
            del pieces[at]
        elif how == 1:
            pieces.insert(at, pieces[at])
        else:
            pieces.insert(random.randrange(len(pieces)), pieces.pop(at))
    data = bytearray(b"".join(pieces))
    for _ in range(random.randrange(3)):
        at = random.randrange(len(data))
        how = random.randrange(4)
        if how == 0:
            data[at] ^= 1 << random.randrange(8)
        elif how == 1:
            data[at : at + 4] = struct.pack(">i", (-1, -2, 0, 1, 99, 0x200000, 2**31 - 1)[random.randrange(7)])
        elif how == 2 and len(data) > 8:
            del data[at : at + (1, 4, 8)[random.randrange(3)]]
        else:
            data[at:at] = bytes(random.randrange(256) for _ in range(random.randrange(30)))
    at = random.randrange(len(data)) if data else 0
    return [bytes(data)] if random.random() < 0.6 else [bytes(data[:at]), bytes(data[at:])]
