"""Learners that speak out of turn, to a whole server that leads: their connection ends with one line, nothing else.

Two honest followers are served all the while, nothing of it reaches the log, and the process goes on.
"""

import struct

import pytest
from electionport import warnings
from quorumserver import QuorumServer, Wire, malformed, packet, spoil
from twisted.logger import LogLevel

from zktw.node.clock import Random
from zktw.terms.codes import OpCode, PacketType
from zktw.terms.zxid import make_zxid

STAGES = ("nothing said", "told the epoch", "synchronised", "serving")
DUE = {
    "nothing said": {PacketType.FOLLOWERINFO, PacketType.OBSERVERINFO},
    "told the epoch": {PacketType.ACKEPOCH},
    "synchronised": {PacketType.ACK, PacketType.PING},
    "serving": {PacketType.ACK, PacketType.REQUEST, PacketType.PING, PacketType.REVALIDATE},
}
EPOCH = 1
NEW = make_zxid(EPOCH, 0)
PROTOCOL = struct.pack(">i", 0x10000)
STRANGERS = (9, 2**40, -7)
SESSION = 0x100000000000001


def info(sid: int, *, observer: bool = False, epoch: int = 0, version: int = 0) -> bytes:
    kind = PacketType.OBSERVERINFO if observer else PacketType.FOLLOWERINFO
    return packet(kind, make_zxid(epoch, 0), struct.pack(">q", sid) + PROTOCOL + struct.pack(">q", version))


class Led:
    """Server 3, which leads servers 1 and 2: these are the test's, and do as they should."""

    def __init__(self) -> None:
        self.server = QuorumServer(3)
        self.server.vote(3)
        self.learners = [self.server.learner(), self.server.learner()]
        for sid, wire in enumerate(self.learners, 1):
            wire.say(info(sid))
        self._each(PacketType.LEADERINFO, packet(PacketType.ACKEPOCH, 0, bytes(4)))
        self._each(PacketType.NEWLEADER, packet(PacketType.ACK, NEW))
        self._each(PacketType.UPTODATE, packet(PacketType.ACK, NEW))
        assert self.server.mode == "leader"
        self._cxid = 0
        self._request(OpCode.CREATE_SESSION, struct.pack(">i", 10_000))

    def _each(self, due: PacketType, answer: bytes) -> None:
        self.server.settle()
        for wire in self.learners:
            assert due in [heard.type for heard in wire.heard()]
            wire.say(answer)
        self.server.settle()

    def _request(self, op: int, body: bytes) -> None:
        """A client of the first one's writes: it is proposed to both, acknowledged and committed."""
        self._cxid += 1
        data = struct.pack(">qii", SESSION, self._cxid, op) + body
        self.learners[0].say(packet(PacketType.REQUEST, -1, data, bytes(4)))
        self.server.settle()
        said = [wire.heard() for wire in self.learners]
        proposed = [one for heard in said for one in heard if one.type == PacketType.PROPOSAL]
        assert len(proposed) == 2, said
        for wire, one in zip(self.learners, proposed, strict=True):
            assert one.data is not None
            assert struct.unpack_from(">qi", one.data) == (SESSION, self._cxid)
            wire.say(packet(PacketType.ACK, one.zxid))
        self.server.settle()
        for wire in self.learners:
            assert [one.zxid for one in wire.heard() if one.type == PacketType.COMMIT] == [proposed[0].zxid]

    def goes_on(self) -> None:
        """Both are served as before."""
        assert not self.server.failures
        assert self.server.mode == "leader"
        path = struct.pack(">i", 10) + b"/zookeeper"
        self._request(OpCode.SET_DATA, path + struct.pack(">i", 1) + b"x" + struct.pack(">i", -1))

    def stranger(self, stage: str, sid: int, *, observer: bool) -> Wire:
        """Another learner that has come this far."""
        wire = self.server.learner()
        said = {
            "told the epoch": info(sid, observer=observer),
            "synchronised": packet(PacketType.ACKEPOCH, 0, bytes(4)),
            "serving": packet(PacketType.ACK, NEW),
        }
        for name in STAGES[1 : STAGES.index(stage) + 1]:
            wire.say(said[name])
            # Its tree, too: nobody reads it here.
            self.server.settle()
        assert not wire.closed, stage
        return wire


def attacks(stage: str) -> list[tuple[str, bytes]]:
    """What ends a learner's connection when it says so at this stage."""
    found = malformed()
    for kind in PacketType:
        if kind not in DUE[stage]:
            found += [(f"{kind.name} {data!r}", packet(kind, NEW, data)) for data in (None, b"", bytes(12), bytes(44))]
    if stage == "nothing said":
        return [
            *found,
            ("null", packet(11, 0)),
            ("without a protocol", packet(11, 0, bytes(8))),
            ("of an old protocol", packet(11, 0, bytes(11) + b"\1" + bytes(8))),
            ("of a later configuration", info(9, version=2**62)),
            ("in our own name", info(3)),
            ("in our own name, an observer", info(3, observer=True)),
            ("of the last epoch", info(9, epoch=2**31 - 1)),
            ("of an epoch far ahead", info(9, epoch=2**31 - 2)),
            ("a member, of an epoch far ahead", info(2, epoch=2**31 - 2)),
        ]
    if stage == "told the epoch":
        return [*found, ("null", packet(18, 0)), ("five bytes", packet(18, 0, bytes(5)))]
    found += [
        ("ACK of a later epoch", packet(3, make_zxid(EPOCH + 1, 1))),
        ("ACK of what was never proposed", packet(3, NEW | 0xFFFFFF)),
    ]
    if stage == "serving":
        found += [
            ("REQUEST null", packet(1, -1)),
            ("REQUEST of eleven bytes", packet(1, -1, bytes(11))),
            ("PING of odd bytes", packet(5, 0, bytes(13))),
            ("REVALIDATE null", packet(6, -1)),
            ("REVALIDATE of odd bytes", packet(6, -1, bytes(13))),
        ]
    return found


@pytest.mark.parametrize("observer", [False, True], ids=["follower", "observer"])
@pytest.mark.parametrize("stage", STAGES)
def test_what_is_not_due_ends_that_connection_and_nothing_else(stage: str, observer: bool) -> None:
    led = Led()
    for n, (what, data) in enumerate(attacks(stage)):
        if observer and what == "ACK of what was never proposed":
            continue  # nobody asks what an observer has logged
        wire = led.stranger(stage, STRANGERS[n % len(STRANGERS)], observer=observer)
        before = led.server.on_disk()
        with warnings(LogLevel.warn) as lines:
            wire.say(data)
            led.server.settle()
        assert wire.closed, what
        assert len(lines) == 1, (what, lines)
        assert lines[0].startswith("closing quorum connection"), what
        assert led.server.on_disk() == before, what
        assert not any(learner.closed for learner in led.learners), what
        led.goes_on()


def test_a_lie_told_before_there_is_service_costs_nobody_else_his_place() -> None:
    """What does not exist, acknowledged before NEWLEADER is, must not come up where others have a word."""
    server = QuorumServer(3)
    server.vote(3)
    liar, honest = server.learner(), server.learner()
    liar.say(info(2))
    honest.say(info(1))
    for word in (packet(PacketType.ACKEPOCH, 0, bytes(4)), packet(PacketType.ACK, NEW)):
        server.settle()
        if word == packet(PacketType.ACK, NEW):
            liar.say(packet(PacketType.ACK, NEW | 0xFFFFF))
        liar.say(word)
        honest.say(word)
    server.settle()
    assert liar.closed
    assert not honest.closed
    assert server.mode == "leader"
    assert not server.failures


def test_what_synchronisation_had_may_be_acknowledged_one_by_one() -> None:
    """Apache's 3.8.0 does so behind NEWLEADER's ACK, 3.8.1 to 3.9.2 behind UPTODATE's; it may be of an older epoch."""
    led = Led()
    led.goes_on()
    led.goes_on()
    held, *zxids = [NEW | 1, NEW | 2, NEW | 3]
    for wire in led.learners:
        wire.loseConnection()
    led.server.settle()
    led.server.vote(3)
    again = make_zxid(EPOCH + 1, 0)
    led.learners = [led.server.learner(), led.server.learner()]
    for sid, wire in enumerate(led.learners, 1):
        wire.say(info(sid, epoch=EPOCH))
    led.server.settle()
    for wire in led.learners:
        wire.say(packet(PacketType.ACKEPOCH, held, struct.pack(">i", EPOCH)))
    led.server.settle()
    for wire in led.learners:
        assert [one.zxid for one in wire.heard() if one.type == PacketType.PROPOSAL] == zxids
    early, late = led.learners
    early.say(packet(PacketType.ACK, again), *(packet(PacketType.ACK, zxid) for zxid in zxids))
    led.server.settle()
    late.say(packet(PacketType.ACK, again))
    led.server.settle()
    early.say(packet(PacketType.ACK, again))
    late.say(packet(PacketType.ACK, again), *(packet(PacketType.ACK, zxid) for zxid in zxids))
    led.server.settle()
    for wire in led.learners:
        assert not wire.closed
        wire.heard()
    led.goes_on()


@pytest.mark.parametrize("seed", range(4))
def test_conversations_spoilt_at_random_harm_nobody_else(seed: int) -> None:
    random = Random(seed)
    led = Led()
    for n in range(500):
        # No byte or two make these a member's.
        sid = (0x7777777777, 0x5A5A5A5A5A, 0x0FFFFFFFFFF)[random.randrange(3)]
        zxid, count = (0, -1, NEW, 2**62)[random.randrange(4)], random.randrange(6)
        pieces = [info(sid, observer=random.random() < 0.5), packet(18, zxid, bytes(4))]
        pieces += [packet(3, NEW)] * 2
        for _ in range(count):
            session = (0, 1, 2**62)[random.randrange(3)]
            op = (1, 9, -10, 14, 77)[random.randrange(5)]
            data = (None, b"", struct.pack(">qii", session, 4000, op))[random.randrange(3)]
            pieces.append(packet((1, 3, 5, 6)[random.randrange(4)], NEW | random.randrange(50), data))
        wire = led.server.learner()
        wire.say(*spoil(random, pieces))
        led.server.settle()
        if not wire.closed:
            wire.loseConnection()
        led.server.settle()
        assert not any(learner.closed for learner in led.learners), n
        assert not led.server.failures, n
        # What it got through was proposed: let it be committed before the next.
        for learner in led.learners:
            for heard in learner.heard():
                if heard.type == PacketType.PROPOSAL:
                    learner.say(packet(PacketType.ACK, heard.zxid))
        led.server.settle()
        for learner in led.learners:
            learner.heard()
        if n % 50 == 49:
            led.goes_on()
