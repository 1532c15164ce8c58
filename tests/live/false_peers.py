"""Peers that speak out of turn: learners of a leader of ours, and a leader of a learner of ours, over TCP.

Each attack goes along with the protocol up to some point and then says what is not due there. The one that is lied to
must end that connection (a learner: its role) with a line in its log, go on serving, and hold nothing doubtful on disk.

By hand: python tests/live/false_peers.py --learners 1000 --leaders 300 --seed 1
"""

import argparse
import contextlib
import hashlib
import random
import signal
import socket
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from ensemble import HOST, Ensemble, Node, wait_until
from ensemble_fuzzing import TICK_MS, Members, start_led_by
from fuzzing import Generator
from kills import CREATE2, OK, OPEN_ACL, Link, buf, i32, i64, text

from zktw.terms.codes import PacketType
from zktw.terms.errors import WireError
from zktw.terms.vote import Notification, PeerState, Vote
from zktw.tree.database import Database
from zktw.wire.framing import FrameSplitter
from zktw.wire.peers import TREE_SIGNATURE, PacketParser, QuorumPacket, encode_packet
from zktw.wire.votes import decode_notification, encode_notification, encode_opening

CLOSE_S = 5.0
PROTOCOL = i32(0x10000)
# No bit, and no half that becomes a small number, makes these a member's.
STRANGERS = (0x77777777_77777777, 0x0FFF_FFFF_FFFF, 0x5A5A5A5A_5A5A5A5A)
FRESH_STREAM = b"".join(Database().image().pieces()) + TREE_SIGNATURE
WORD_MAX = 2**31 - 1
KINDS = list(PacketType)
# What a false peer's packet may have as its data.
SCRAPS = (None, b"", b"\0" * 4, b"\0" * 8, b"\xff" * 32, b"\0" * 32, b"\0" * 44)
CREATE, SETDATA, ERROR = 1, 5, -1


def bare(kind: int, zxid: int, data: bytes | None = None, authinfo: bytes = i32(-1)) -> bytes:
    """A packet, of whatever kind."""
    return i32(kind) + i64(zxid) + buf(data) + authinfo


def malformed() -> list[tuple[str, bytes]]:
    """What is no packet at any time."""
    return [
        ("unknown packet", bare(99, 0)),
        ("packet of type 0", bare(0, 0)),
        ("packet of type -1", bare(-1, 0)),
        ("data of length -2", i32(3) + i64(0) + i32(-2) + bytes(100)),
        ("data of length 2^31-1", i32(3) + i64(0) + i32(WORD_MAX) + bytes(100)),
        ("data above the bound", i32(1) + i64(-1) + i32(0x300000) + bytes(0x300000)),
        ("identities without end", bare(1, -1, bytes(30), i32(WORD_MAX) + bytes(100))),
        ("less than no identities", bare(1, -1, bytes(30), i32(-7) + bytes(100))),
        ("an HTTP request", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" + b"x" * 100),
        ("a client's opening", i32(45) + bytes(45)),
        ("a word of four letters", b"ruok" + bytes(40)),
    ]


@dataclass
class Report:
    """What was tried, and what went wrong."""

    tried: Counter[str] = field(default_factory=Counter)
    found: list[str] = field(default_factory=list)

    def add(self, what: str) -> None:
        self.found.append(what)
        print(f"FOUND {what[:3000]}", flush=True)

    def __str__(self) -> str:
        return f"{self.tried.total()} attacks {dict(self.tried)}, {len(self.found)} findings: {self.found}"


class Talk:
    """A connection of the quorum port."""

    def __init__(self, link: socket.socket) -> None:
        self.link = link
        self.link.settimeout(CLOSE_S)
        self.link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._parser = PacketParser(1 << 24)
        self._packets: list[QuorumPacket] = []

    def send(self, *data: bytes) -> None:
        """Say this; whether it is still listened to is seen by closed()."""
        with contextlib.suppress(OSError):
            self.link.sendall(b"".join(data))

    def packet(self, kind: PacketType, zxid: int, data: bytes | None = None) -> None:
        self.send(encode_packet(QuorumPacket(kind, zxid, data)))

    def next(self) -> QuorumPacket:
        """The next packet, pings left out. Raises ConnectionError or TimeoutError."""
        while True:
            while not self._packets:
                data = self.link.recv(65536)
                if not data:
                    raise ConnectionError("closed")
                self._packets += self._parser.feed(data)
            packet = self._packets.pop(0)
            if packet.type != PacketType.PING:
                return packet

    def await_kind(self, kind: PacketType) -> QuorumPacket:
        """The next packet of this kind; others are passed over."""
        while True:
            packet = self.next()
            if packet.type == kind:
                return packet

    def closed(self, within_s: float = CLOSE_S) -> bool:
        """Whether the other end closes; what it still says meanwhile is passed over."""
        until = time.monotonic() + within_s
        try:
            while (left := until - time.monotonic()) > 0:
                self.link.settimeout(left)
                if not self.link.recv(65536):
                    return True
        except TimeoutError:
            return False
        except OSError:
            return True
        return False

    def close(self) -> None:
        self.link.close()


# ------------------------------------------------------------------------------------------------------ false learners


STAGES = ("nothing said", "introduced", "told the epoch", "synchronised", "serving")


def learn(port: int, stage: str, sid: int, *, observer: bool, held: int = 0) -> Talk:
    """A learner that has come this far, and so far has done nothing wrong."""
    talk = Talk(socket.create_connection((HOST, port), CLOSE_S))
    if stage == "nothing said":
        return talk
    kind = PacketType.OBSERVERINFO if observer else PacketType.FOLLOWERINFO
    talk.packet(kind, 0, i64(sid) + i32(0x10000) + i64(0))
    if stage == "introduced":
        return talk
    epoch = talk.await_kind(PacketType.LEADERINFO).zxid >> 32
    if stage == "told the epoch":
        return talk
    talk.packet(PacketType.ACKEPOCH, held, i32(0))
    # A tree's bytes may be before it: look for the packet itself.
    newleader = i32(PacketType.NEWLEADER) + i64(epoch << 32)
    seen = b"".join(encode_packet(packet) for packet in talk._packets)
    while newleader not in seen:
        data = talk.link.recv(65536)
        if not data:
            raise ConnectionError("closed")
        seen += data
    if stage == "synchronised":
        return talk
    talk.packet(PacketType.ACK, epoch << 32)
    while i32(PacketType.UPTODATE) + i64(-1) not in seen:
        data = talk.link.recv(65536)
        if not data:
            raise ConnectionError("closed")
        seen += data
    talk.packet(PacketType.ACK, epoch << 32)
    talk._parser, talk._packets = PacketParser(1 << 24), []
    return talk


# Packets that a learner may send at each stage, if what is in them is right.
DUE = {
    "nothing said": {PacketType.FOLLOWERINFO, PacketType.OBSERVERINFO},
    "introduced": {PacketType.ACKEPOCH},
    "told the epoch": {PacketType.ACKEPOCH},
    "synchronised": {PacketType.ACK, PacketType.PING},
    "serving": {PacketType.ACK, PacketType.REQUEST, PacketType.PING, PacketType.REVALIDATE},
}


def learner_attacks(stage: str, epoch: int) -> list[tuple[str, bytes]]:
    """What ends a learner's connection when said at this stage."""
    found = malformed()
    for kind in KINDS:
        if kind not in DUE[stage]:
            found += [(f"{kind.name} {data!r}", bare(kind, epoch << 32, data)) for data in SCRAPS]
    if stage == "nothing said":
        for kind in DUE[stage]:
            found += [
                (f"{kind.name} without a protocol", bare(kind, 0, i64(9))),
                (f"{kind.name} of an old protocol", bare(kind, 0, i64(9) + i32(1) + i64(0))),
                (f"{kind.name} null", bare(kind, 0)),
                (f"{kind.name} of a later configuration", bare(kind, 0, i64(9) + PROTOCOL + i64(2**62))),
                (f"{kind.name} of the last epoch", bare(kind, -1 & (2**31 - 1) << 32, i64(9) + PROTOCOL + i64(0))),
            ]
    elif stage in ("introduced", "told the epoch"):
        found += [("ACKEPOCH null", bare(18, 0)), ("ACKEPOCH of five bytes", bare(18, 0, bytes(5)))]
    else:
        found.append(("ACK of a later epoch", bare(3, (epoch + 1) << 32 | 1)))
    if stage == "serving":
        found += [
            ("ACK of what was never proposed", bare(3, epoch << 32 | 0xFFFFFF)),
            ("REQUEST null", bare(1, -1)),
            ("REQUEST of eleven bytes", bare(1, -1, bytes(11))),
            ("PING of odd bytes", bare(5, 0, bytes(13))),
            ("REVALIDATE of odd bytes", bare(6, -1, bytes(13))),
            ("REVALIDATE null", bare(6, -1)),
        ]
    return found


def check_leader(members: Members, leader: Node, report: Report, what: str) -> bool:
    """Whether the ensemble is well; roles must be as they were."""
    if trouble := members.check():
        print(members.ensemble.logs(), flush=True)
        report.add(f"after {what}: {trouble}")
        return False
    return True


def attack_leader(members: Members, report: Report, seed: int, count: int, *, sids: tuple[int, ...]) -> None:
    """Attacks at every stage, each of them if count allows."""
    ensemble = members.ensemble
    leader = ensemble.wait_leader()
    probe = learn(leader.quorum_port, "told the epoch", sids[0], observer=True)
    probe.close()
    epoch = epoch_of(leader)
    rng = random.Random(seed)
    attacks = [(stage, what, data) for stage in STAGES for what, data in learner_attacks(stage, epoch)]
    rng.shuffle(attacks)
    for n in range(count):
        stage, what, data = attacks[n % len(attacks)]
        sid, observer = rng.choice(sids), rng.random() < 0.5
        label = f"{stage}: {what} of {'observer' if observer else 'follower'} {sid}"
        said = len(leader.log_text())
        try:
            talk = learn(leader.quorum_port, stage, sid, observer=observer)
        except (OSError, ConnectionError) as error:
            report.add(f"{label}: did not come so far: {error!r}")
            return
        talk.send(data)
        report.tried[stage] += 1
        if not talk.closed():
            report.add(f"{label} ({data[:60].hex()}): the connection is not closed")
        talk.close()
        words = leader.log_text()[said:]
        if "Traceback" in words or "closing quorum connection" not in words:
            report.add(f"{label}: the log says {words[-1500:]!r}")
        if n % 10 == 9 and not check_leader(members, leader, report, label):
            return
    check_leader(members, leader, report, "all attacks of learners")


def epoch_of(leader: Node) -> int:
    """The epoch of a leader, by its disk."""
    return int((leader.data_dir / "version-2" / "currentEpoch").read_text())


def random_learners(members: Members, report: Report, seed: int, count: int, *, sids: tuple[int, ...]) -> None:
    """A learner's whole conversation with some of its bytes, packets or their order changed."""
    leader = members.ensemble.wait_leader()
    rng = random.Random(f"{seed}/learners")
    epoch = epoch_of(leader)
    for n in range(count):
        sid = rng.choice(sids)
        pieces = [
            bare(rng.choice((11, 16)), 0, i64(sid) + PROTOCOL + i64(0)),
            bare(18, rng.choice((0, -1, epoch << 32, 2**62)), i32(rng.choice((0, -1, epoch, 2**31 - 2)))),
            bare(3, epoch << 32),
            bare(3, epoch << 32),
            *(
                bare(
                    rng.choice((1, 3, 5, 6)),
                    rng.choice((-1, epoch << 32 | rng.randrange(50))),
                    rng.choice((None, b"", i64(rng.choice((0, 1, 2**62))) + i32(4000) + i32(rng.choice((1, 9, -10))))),
                )
                for _ in range(rng.randrange(6))
            ),
        ]
        data = spoil(rng, pieces)
        talk = Talk(socket.create_connection((HOST, leader.quorum_port), CLOSE_S))
        for piece in cut(rng, data):
            talk.send(piece)
        # It may be waiting for the rest of what was cut off: that is no offence before its time.
        talk.closed(rng.choice((0.005, 0.03)))
        talk.close()
        report.tried["at random"] += 1
        if n % 40 == 39 and not check_leader(members, leader, report, f"{data[:400].hex()} and those before"):
            return
    check_leader(members, leader, report, "random learners")


def spoil(rng: random.Random, pieces: list[bytes]) -> bytes:
    """Packets dropped, doubled, moved, their bytes changed or cut off."""
    pieces = list(pieces)
    for _ in range(rng.choice((0, 1, 1, 2))):
        at = rng.randrange(len(pieces))
        match rng.randrange(3):
            case 0 if len(pieces) > 1:
                del pieces[at]
            case 1:
                pieces.insert(at, pieces[at])
            case _:
                pieces.insert(rng.randrange(len(pieces)), pieces.pop(at))
    data = bytearray(b"".join(pieces))
    for _ in range(rng.choice((0, 0, 1, 1, 3))):
        at = rng.randrange(len(data))
        match rng.randrange(4):
            case 0:
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                data[at : at + 4] = i32(rng.choice((-1, -2, 0, 1, 99, 0x200000, WORD_MAX)))
            case 2:
                del data[at : at + rng.choice((1, 4, 8))]
            case _:
                data[at:at] = rng.randbytes(rng.choice((1, 4, 30)))
    return bytes(data)


def cut(rng: random.Random, data: bytes) -> list[bytes]:
    """In one piece, or in some."""
    if rng.random() < 0.6 or len(data) < 4:
        return [data]
    at = rng.randrange(1, len(data))
    return [data[:at], data[at:]]


# ------------------------------------------------------------------------------------------------------- a false leader


class FalseLeader:
    """Server 2 of two, hand-made: it wins every election over server 1, which then comes to learn from it."""

    def __init__(self, node: Node, other: Node) -> None:
        self.victim = other
        self._quorum = socket.create_server((HOST, node.quorum_port))
        self._quorum.settimeout(20.0)
        self._election = socket.create_server((HOST, node.election_port))
        self._address = f"{HOST}:{node.election_port}"
        self._sid = node.sid
        self._over = threading.Event()
        self._threads = [threading.Thread(target=target, daemon=True) for target in (self._vote, self._take)]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        self._over.set()
        self._quorum.close()
        self._election.close()
        for thread in self._threads:
            thread.join(5)

    def _take(self) -> None:
        """Whoever dials us is to be dialled: ours is the greater number."""
        with contextlib.suppress(OSError):
            while True:
                self._election.accept()[0].close()

    def _vote(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(OSError, WireError, ConnectionError):
                self._vote_on(socket.create_connection((HOST, self.victim.election_port), 5.0))
            time.sleep(0.05)

    def _vote_on(self, link: socket.socket) -> None:
        with link:
            link.settimeout(1.0)
            link.sendall(encode_opening(self._sid, [self._address], False))
            frames = FrameSplitter(0, 1 << 20)
            vote = Vote(2**30, 2**60, self._sid)
            self._say(link, Notification(self._sid, PeerState.LOOKING, vote, 1))
            while not self._over.is_set():
                try:
                    data = link.recv(65536)
                except TimeoutError:
                    # Whoever looks answers, whatever the round.
                    self._say(link, Notification(self._sid, PeerState.LOOKING, vote, 1))
                    continue
                if not data:
                    return
                for frame in frames.feed(data):
                    heard = decode_notification(self.victim.sid, frame)
                    if heard.state == PeerState.LOOKING:
                        self._say(link, Notification(self._sid, PeerState.LOOKING, vote, heard.round))

    @staticmethod
    def _say(link: socket.socket, notification: Notification) -> None:
        data = encode_notification(notification)
        link.sendall(i32(len(data)) + data)

    def accept(self) -> Talk:
        """The next connection of our learner."""
        return Talk(self._quorum.accept()[0])

    def forget(self) -> None:
        """Connections that were made and not accepted yet: of a process that is no more."""
        patience = self._quorum.gettimeout()
        self._quorum.settimeout(0)
        with contextlib.suppress(BlockingIOError):
            while True:
                self._quorum.accept()[0].close()
        self._quorum.settimeout(patience)


@dataclass
class Term:
    """One conversation with a learner of ours that has come to some stage."""

    talk: Talk
    epoch: int
    held: int = 0

    @property
    def newleader(self) -> int:
        return self.epoch << 32


LED_STAGES = ("introduced", "acknowledged", "in DIFF", "behind NEWLEADER", "led")


def lead(false: FalseLeader, stage: str) -> Term:
    """Lead a learner up to this stage as it should be."""
    talk = false.accept()
    try:
        accepted = talk.await_kind(PacketType.FOLLOWERINFO).zxid >> 32
    except ConnectionError:
        # It had dialled, and thought better of it before it was let in.
        talk.close()
        talk = false.accept()
        accepted = talk.await_kind(PacketType.FOLLOWERINFO).zxid >> 32
    term = Term(talk, accepted + 1)
    if stage == "introduced":
        return term
    talk.packet(PacketType.LEADERINFO, term.newleader, PROTOCOL)
    term.held = talk.await_kind(PacketType.ACKEPOCH).zxid
    if stage == "acknowledged":
        return term
    talk.packet(PacketType.DIFF, term.held)
    if stage == "in DIFF":
        return term
    talk.packet(PacketType.NEWLEADER, term.newleader, b"")
    talk.await_kind(PacketType.ACK)
    if stage == "behind NEWLEADER":
        return term
    talk.packet(PacketType.UPTODATE, -1)
    talk.await_kind(PacketType.ACK)
    return term


def txn(zxid: int, op: int = CREATE, body: bytes | None = None, header_zxid: int | None = None) -> bytes:
    """A serialised transaction; by default a create that would succeed."""
    header = i64(0x2000000000000) + i32(1) + i64(zxid if header_zxid is None else header_zxid) + i64(1) + i32(op)
    return header + (text(f"/n{zxid:x}") + buf(b"x") + OPEN_ACL + b"\0" + i32(1) if body is None else body)


def proposal(zxid: int, data: bytes | None = None) -> bytes:
    return bare(2, zxid, txn(zxid) if data is None else data)


DUE_LED = {
    "introduced": {PacketType.LEADERINFO},
    "acknowledged": {PacketType.DIFF, PacketType.TRUNC, PacketType.SNAP},
    "in DIFF": {PacketType.PROPOSAL, PacketType.NEWLEADER, PacketType.PING},
    "behind NEWLEADER": {PacketType.PROPOSAL, PacketType.UPTODATE, PacketType.PING},
    "led": {PacketType.PROPOSAL, PacketType.PING},
}


def leader_attacks(stage: str, epoch: int, held: int) -> list[tuple[str, bytes]]:
    """What ends a learner's role when its leader says it at this stage, in this epoch; held is its last zxid."""
    now = epoch << 32
    found = malformed()
    for kind in KINDS:
        # Apache's leaders repeat commits of what is held: those with a zxid above are lies.
        if kind not in DUE_LED[stage]:
            found += [(f"{kind.name} {data!r}", bare(kind, now | 0xFFF, data)) for data in SCRAPS[:5]]
    if stage == "introduced":
        found += [
            ("LEADERINFO of a lower epoch", bare(17, (epoch - 2) << 32, PROTOCOL)),
            ("LEADERINFO of a negative epoch", bare(17, -(2**63), PROTOCOL)),
            ("LEADERINFO without a protocol", bare(17, now)),
            ("LEADERINFO of an old protocol", bare(17, now, i32(1))),
        ]
        return found
    if stage == "acknowledged":
        tree = FRESH_STREAM
        snap = bare(15, now)
        found += [
            ("TRUNC to what is not held", bare(14, held + 1000)),
            ("TRUNC to nowhere", bare(14, -5)),
            ("SNAP that is garbage", snap + b"\xff\xfe" * 50),
            ("SNAP of a wrong signature", snap + tree.replace(b"BenWasHere", b"WasBenHere")),
            ("SNAP with fewer than no sessions", snap + i32(-9) + bytes(60)),
            ("SNAP with a path of -2 bytes", snap + i32(0) + i32(0) + i32(-2) + bytes(60)),
            ("SNAP without a root", snap + i32(0) + i32(0) + text("/zookeeper") + bytes(90)),
            ("SNAP, a tree and no packet", snap + tree + i32(77) + bytes(30)),
        ]
        return found
    last = max(held, now)
    found += [
        ("PROPOSAL null", bare(2, last + 1)),
        ("PROPOSAL of four bytes", bare(2, last + 1, b"abcd")),
        ("PROPOSAL of another zxid", proposal(last + 1, txn(last + 2))),
        ("PROPOSAL of a later epoch", proposal((epoch + 1) << 32 | 1)),
        ("PROPOSAL of counter 0", proposal((epoch + 1) << 32)),
        ("PROPOSALs out of order", proposal(last + 2) + proposal(last + 1)),
        ("the same PROPOSAL twice", proposal(last + 1) * 2),
        ("COMMIT of the second", proposal(last + 1) + proposal(last + 2) + bare(4, last + 2)),
        ("COMMIT of what is not proposed", proposal(last + 1) + bare(4, last + 9)),
        ("INFORM of garbage", bare(8, last + 1, txn(last + 1, CREATE, b"\xff" * 9))),
    ]
    if stage != "led":
        found += [
            ("NEWLEADER of another epoch", bare(10, (epoch + 1) << 32, b"")),
            ("NEWLEADER of a transaction", bare(10, now | 1, b"")),
            ("NEWLEADER twice", bare(10, now, b"") * 2),
        ]
    # At whatever stage they come, they must not reach the log.
    finish = bare(10, now, b"") if stage == "in DIFF" else bare(12, -1) if stage == "behind NEWLEADER" else b""
    for what, op, body in (
        ("an unknown type", 777, b"\0" * 30),
        ("a record that is cut off", CREATE, text("/cut")),
        ("a path of -2 bytes", CREATE, i32(-2) + bytes(40)),
        ("no record", SETDATA, b""),
        ("a multi without end", 14, i32(WORD_MAX) + bytes(30)),
    ):
        garbage = bare(2, last + 1, txn(last + 1, op, body)) + bare(4, last + 1)
        found.append((f"PROPOSAL and COMMIT of {what}", garbage + finish))
    return found


def on_disk(node: Node) -> dict[str, str]:
    """What a server's log and snapshots hold; epochs excepted, which a promise to a leader moves."""
    found = {}
    for path in sorted(Path(node.data_dir / "version-2").iterdir()):
        if path.name.startswith(("log.", "snapshot.")) and not path.name.endswith(".tmp"):
            found[path.name] = hashlib.sha256(path.read_bytes().rstrip(b"\0")).hexdigest()
    return found


def is_doubtful(stage: str, what: str, before: dict[str, str], after: dict[str, str]) -> bool:
    """Whether what is on disk now is more than may be there."""
    # A sound proposal before the lie is logged at once where there is service, and with NEWLEADER before.
    sound_first = what.startswith(("COMMIT of", "PROPOSALs out", "the same PROPOSAL"))
    return before != after and not (sound_first and stage != "in DIFF")


def attack_learner(report: Report, seed: int, count: int, *, extra: tuple[str, ...] = ()) -> None:
    """Attacks by the leader of a server of ours, which must look for another each time and follow it afterwards."""
    rng = random.Random(f"{seed}/leader")
    with Ensemble(["zktw", "zktw"], tick_ms=TICK_MS, extra=("preAllocSize=64", *extra)) as ensemble:
        node, false_node = ensemble.nodes
        false = FalseLeader(false_node, node)
        try:
            ensemble.start(node)
            serve(false, node)
            names = [(stage, n) for stage in LED_STAGES for n in range(len(leader_attacks(stage, 5, 0)))]
            rng.shuffle(names)
            for n in range(count):
                stage, which = names[n % len(names)]
                if not one_attack(false, node, stage, which, report):
                    return
                if n % 3 == 2:
                    # A term with service in it, before the server begins to pause between its terms.
                    serve(false, node)
        except (OSError, TimeoutError, AssertionError) as error:
            time.sleep(1.0)
            report.add(f"after {dict(report.tried)}: {error!r}: {node.log_text()[-2500:]}")
        finally:
            false.close()


def one_attack(false: FalseLeader, node: Node, stage: str, which: int, report: Report) -> bool:
    """Whether the server is there afterwards."""
    term = lead(false, stage)
    what, data = leader_attacks(stage, term.epoch, term.held)[which]
    before, said = on_disk(node), len(node.log_text())
    term.talk.send(data)
    report.tried[stage] += 1
    if not term.talk.closed():
        report.add(f"{stage}: {what} ({data[:60].hex()}): the connection is not closed")
    term.talk.close()
    if not node.alive():
        report.add(f"{stage}: {what}: the server ended: {node.log_text()[said:][-2500:]}")
        return False
    if is_doubtful(stage, what, before, on_disk(node)):
        report.add(f"{stage}: {what}: the files are {on_disk(node)} and were {before}")
    words = node.log_text()[said:]
    if "Traceback" in words or "Unhandled" in words or "a bug" in words:
        report.add(f"{stage}: {what}: the log says {words[-2500:]}")
    return True


def serve(false: FalseLeader, node: Node) -> None:
    """A term of office as it should be: a client of the learner's creates a node. Then it ends."""
    term = lead(false, "led")
    wait_until("the learner follows", lambda: node.mode() == "follower", 10)
    failures: list[str] = []
    client = threading.Thread(target=use, args=(node.client_port, failures), daemon=True)
    client.start()
    zxid = max(term.held, term.newleader)
    # Its session, its node, its end.
    for _ in range(3):
        request = term.talk.await_kind(PacketType.REQUEST)
        assert request.data is not None
        zxid += 1
        session, cxid, op = (
            request.data[:8],
            request.data[8:12],
            int.from_bytes(request.data[12:16], "big", signed=True),
        )
        record = request.data[16:]
        if op == CREATE2:
            op, record = CREATE2, text(f"/n{zxid:x}") + buf(b"x") + OPEN_ACL + b"\0" + i32(1)
        elif op == -11:
            record = i32(0)
        header = session + cxid + i64(zxid) + i64(int(time.time() * 1000)) + i32(op)
        term.talk.packet(PacketType.PROPOSAL, zxid, header + record)
        assert term.talk.await_kind(PacketType.ACK).zxid == zxid
        term.talk.packet(PacketType.COMMIT, zxid)
    client.join(10)
    assert not client.is_alive()
    assert not failures
    term.talk.close()


def use(port: int, failures: list[str]) -> None:
    """A client: opens a session, creates a node, closes."""
    try:
        link = Link(port, 10.0)
        assert link.open(4000)
        assert link.call(CREATE2, text("/some") + buf(b"x") + OPEN_ACL + i32(0))[0] == OK
        assert link.call(-11, b"")[0] == OK
        link.close()
    except (OSError, AssertionError) as error:
        failures.append(repr(error))


def random_leaders(report: Report, seed: int, count: int) -> None:
    """A leader's whole conversation, spoilt. It may be sound by chance: only harm to the server is looked for."""
    rng = random.Random(f"{seed}/leaders")
    with Ensemble(["zktw", "zktw"], tick_ms=TICK_MS, extra=("preAllocSize=64",)) as ensemble:
        node, false_node = ensemble.nodes
        false = FalseLeader(false_node, node)
        try:
            ensemble.start(node)
            for n in range(count):
                if n % 3 == 0:
                    serve(false, node)
                term = lead(false, "acknowledged")
                now, last = term.newleader, max(term.held, term.newleader)
                sync = rng.choice((bare(13, term.held), bare(15, now) + FRESH_STREAM, bare(14, term.held)))
                txns = [
                    proposal(last + k) + rng.choice((b"", bare(4, last + k))) for k in range(1, rng.randrange(1, 5))
                ]
                pieces = [sync, *txns[:1], bare(10, now, b""), bare(12, -1), *txns[1:], bare(5, last, b"")]
                data = spoil(rng, pieces)
                said = len(node.log_text())
                for piece in cut(rng, data):
                    term.talk.send(piece)
                term.talk.closed(rng.choice((0.0, 0.02, 0.1)))
                term.talk.close()
                report.tried["a leader at random"] += 1
                words = node.log_text()[said:]
                if not node.alive() or "Traceback" in words or "Unhandled" in words:
                    report.add(f"{data.hex()[:2000]}: {words[-2500:]}")
                    return
        except (OSError, TimeoutError, AssertionError) as error:
            time.sleep(1.0)
            report.add(f"after {dict(report.tried)}: {error!r}: {node.log_text()[-2500:]}")
        finally:
            false.close()


# The fields of each transaction's record, as fuzzing.GRAMMAR has those of requests.
RECORDS = {
    1: "sdabi",
    15: "sdabi",
    21: "sdail",
    19: "sdai",
    2: "s",
    20: "s",
    5: "sdi",
    7: "sai",
    -10: "i",
    -11: "v",
    -1: "i",
}


def absurd(rng: random.Random, zxid: int, session: int) -> bytes:
    """A transaction that no leader would propose, or would: records are mostly sound, what they say is not."""
    made = Generator(rng, gentle=False)

    def record(op: int) -> bytes:
        pieces = made.record(RECORDS[op])
        return made.damaged(pieces) if rng.random() < 0.1 else b"".join(piece.data for piece in pieces)

    op = rng.choice((*RECORDS, 1, 1, 5, 2, 14, 14, 14))
    if op == 14:
        parts = [rng.choice((*RECORDS, 13)) for _ in range(rng.randrange(4))]
        body = i32(len(parts)) + b"".join(
            i32(o) + buf(record(o) if o in RECORDS else text("/") + i32(0)) for o in parts
        )
    else:
        body = record(op)
    header = i64(rng.choice((0, session, 1))) + i32(rng.choice((0, 1, -1))) + i64(zxid)
    return header + i64(rng.choice((0, int(time.time() * 1000), -1))) + i32(op) + body


def absurd_leader(report: Report, seed: int, count: int) -> None:
    """A leader whose transactions make no sense. A server of ours applies them or leaves, and can read them again."""
    rng = random.Random(f"{seed}/absurd")
    with Ensemble(["zktw", "zktw"], tick_ms=TICK_MS, extra=("preAllocSize=64", "snapCount=300")) as ensemble:
        node, false_node = ensemble.nodes
        false = FalseLeader(false_node, node)
        done = 0
        try:
            ensemble.start(node)
            while done < count:
                serve(false, node)
                term = lead(false, "led")
                zxid = max(term.held, term.newleader)
                client = threading.Thread(target=watch_all, args=(node.client_port,), daemon=True)
                client.start()
                request = term.talk.await_kind(PacketType.REQUEST)
                assert request.data is not None
                session = int.from_bytes(request.data[:8], "big", signed=True)
                zxid += 1
                opened = request.data[:12] + i64(zxid) + i64(1) + i32(-10) + i32(4000)
                term.talk.send(proposal(zxid, opened), bare(4, zxid))
                # Let it set its watch.
                time.sleep(0.02)
                for _ in range(rng.choice((1, 20, 100))):
                    zxid += 1
                    done += 1
                    term.talk.send(proposal(zxid, absurd(rng, zxid, session)), bare(4, zxid))
                report.tried["absurd terms"] += 1
                term.talk.closed(0.05)
                term.talk.close()
                client.join(5)
                if trouble := broken(node):
                    report.add(trouble)
                    return
                if rng.random() < 0.1:
                    node.kill()
                    false.forget()
                    ensemble.start(node)
        except (OSError, TimeoutError, AssertionError) as error:
            time.sleep(1.0)
            report.add(f"after {dict(report.tried)}: {error!r}: {node.log_text()[-2500:]}")
        finally:
            report.tried["absurd transactions"] += done
            false.close()


def broken(node: Node) -> str:
    """Whether a server has found a bug in itself, or has ended."""
    words = node.log_text()
    for sign in ("Traceback", "Unhandled", "a bug"):
        if sign in words:
            return words[max(words.index(sign) - 1000, 0) :][:4000]
    return "" if node.alive() else f"the server ended: {words[-2500:]}"


def watch_all(port: int) -> None:
    """A client that wants to hear of everything, until its connection ends."""
    with contextlib.suppress(OSError, AssertionError):
        link = Link(port, 3.0)
        assert link.open(4000)
        link.send(i32(1) + i32(106) + text("/") + i32(1), i32(2) + i32(8) + text("/") + b"\1")
        while True:
            link.frame()


def main() -> None:
    parser = argparse.ArgumentParser(description="Peers that say what no peer ought to say.")
    parser.add_argument("--learners", type=int, default=0, help="attacks on a leader of ours")
    parser.add_argument("--random-learners", type=int, default=0)
    parser.add_argument("--leaders", type=int, default=0, help="attacks on a learner of ours")
    parser.add_argument("--random-leaders", type=int, default=0)
    parser.add_argument("--absurd", type=int, default=0, help="transactions that make no sense")
    parser.add_argument("--seed", type=int, default=random.getrandbits(32))
    options = parser.parse_args()
    # So that whoever ends this ends its servers, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    print(f"seed {options.seed}", flush=True)
    report = Report()
    began = time.monotonic()
    if options.learners or options.random_learners:
        with Ensemble(["zktw"] * 3, tick_ms=TICK_MS, extra=("maxSessionTimeout=40000",)) as ensemble:
            start_led_by(ensemble, "zktw")
            members = Members(ensemble)
            attack_leader(members, report, options.seed, options.learners, sids=STRANGERS)
            random_learners(members, report, options.seed, options.random_learners, sids=STRANGERS)
            members.close()
    if options.leaders:
        attack_learner(report, options.seed, options.leaders)
    if options.random_leaders:
        random_leaders(report, options.seed, options.random_leaders)
    if options.absurd:
        absurd_leader(report, options.seed, options.absurd)
    print(f"{report}, {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
