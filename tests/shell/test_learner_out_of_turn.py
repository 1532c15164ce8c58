"""A leader that speaks out of turn, to a whole server that follows it: the role ends with one line.

Nothing doubtful reaches the log, the process goes on, and the next leader is followed.
"""

import struct

import pytest
from electionport import warnings
from quorumserver import PROTOCOL, QuorumServer, Wire, malformed, packet, spoil
from twisted.logger import LogLevel

from zktw.node.clock import Random
from zktw.terms.codes import OpCode, PacketType
from zktw.terms.zxid import epoch_of, make_zxid
from zktw.tree.database import Database
from zktw.wire.peers import TREE_SIGNATURE

STAGES = ("introduced", "acknowledged", "in DIFF", "behind NEWLEADER", "served")
DUE = {
    "introduced": {PacketType.LEADERINFO},
    "acknowledged": {PacketType.DIFF, PacketType.TRUNC, PacketType.SNAP},
    "in DIFF": {PacketType.PROPOSAL, PacketType.NEWLEADER, PacketType.PING},
    "behind NEWLEADER": {PacketType.PROPOSAL, PacketType.UPTODATE, PacketType.PING},
    "served": {PacketType.PROPOSAL, PacketType.PING},
}
# Two terms have been served, and three transactions been logged, before anything goes wrong.
EPOCH, HELD = 3, make_zxid(2, 3)
NEW = make_zxid(EPOCH, 0)
FRESH_STREAM = b"".join(Database().image().pieces()) + TREE_SIGNATURE
OPEN_ACL = bytes.fromhex("000000010000001f00000005776f726c6400000006616e796f6e65")


def text(value: str) -> bytes:
    return struct.pack(">i", len(value)) + value.encode()


def txn(zxid: int, op: int = OpCode.CREATE, body: bytes | None = None) -> bytes:
    """A transaction; by default a create that would succeed."""
    create = text(f"/n{zxid:x}") + struct.pack(">i", 1) + b"x" + OPEN_ACL + b"\0\0\0\0\1"
    return struct.pack(">qiqqi", 1, 1, zxid, 1, op) + (create if body is None else body)


def proposal(zxid: int, data: bytes | None = None) -> bytes:
    return packet(PacketType.PROPOSAL, zxid, txn(zxid) if data is None else data)


def commit(zxid: int) -> bytes:
    return packet(PacketType.COMMIT, zxid)


def lead(server: QuorumServer, stage: str) -> tuple[Wire, int]:
    """Lead it so far, as it should be; the connection and the epoch. It gets a tree if it says that it needs one."""
    wire = server.led()
    accepted = epoch_of(wire.heard()[0].zxid)
    epoch = accepted + 1
    new = make_zxid(epoch, 0)
    said = {
        "acknowledged": (PacketType.LEADERINFO, new, PROTOCOL),
        "in DIFF": (PacketType.DIFF, HELD, None),
        "behind NEWLEADER": (PacketType.NEWLEADER, new, b""),
        "served": (PacketType.UPTODATE, -1, None),
    }
    for name in STAGES[1 : STAGES.index(stage) + 1]:
        if name == "in DIFF" and wire.heard()[-1].zxid == -1:
            wire.say(packet(PacketType.SNAP, HELD) + FRESH_STREAM)
        else:
            wire.tell(*said[name])
        server.settle()
    return wire, epoch


def experienced() -> QuorumServer:
    """A server that has served in epoch 2 and holds three transactions of it."""
    server = QuorumServer(1)
    for _ in range(2):
        wire, epoch = lead(server, "served")
        if epoch == 2:
            for counter in (1, 2, 3):
                wire.say(proposal(make_zxid(2, counter)), commit(make_zxid(2, counter)))
            server.settle()
        wire.loseConnection()
        server.settle()
    assert "log.200000001" in server.on_disk()
    return server


def attacks(stage: str) -> list[tuple[str, bytes]]:
    """What ends the role when the leader says it at this stage."""
    found = malformed()
    for kind in PacketType:
        if kind not in DUE[stage]:
            found += [(f"{kind.name} {data!r}", packet(kind, NEW | 0xFFF, data)) for data in (None, b"", bytes(44))]
    if stage == "introduced":
        return [
            *found,
            ("LEADERINFO of a lower epoch", packet(17, make_zxid(1, 0), PROTOCOL)),
            ("LEADERINFO of a negative epoch", packet(17, -(2**63), PROTOCOL)),
            ("LEADERINFO without a protocol", packet(17, NEW)),
            ("LEADERINFO of an old protocol", packet(17, NEW, b"\0\0\0\1")),
        ]
    if stage == "acknowledged":
        tree, snap = FRESH_STREAM, packet(15, NEW)
        return [
            *found,
            ("TRUNC to what is not held", packet(14, HELD + 1000)),
            ("TRUNC to nowhere", packet(14, -5)),
            ("TRUNC to no transaction", packet(14, make_zxid(1, 7))),
            ("SNAP that is garbage", snap + b"\xff\xfe" * 50),
            ("SNAP of a wrong signature", snap + tree.replace(b"BenWasHere", b"WasBenHere")),
            ("SNAP with fewer than no sessions", snap + b"\xff\xff\xff\xf0" + bytes(60)),
            ("SNAP with a path of -2 bytes", snap + bytes(8) + b"\xff\xff\xff\xfe" + bytes(60)),
            ("SNAP without a root", snap + bytes(8) + text("/zookeeper") + bytes(90)),
            ("SNAP, a tree and no packet", snap + tree + packet(77, 0)),
        ]
    last = max(HELD, NEW)
    found += [
        ("PROPOSAL null", packet(2, last + 1)),
        ("PROPOSAL of four bytes", packet(2, last + 1, b"abcd")),
        ("PROPOSAL of another zxid", proposal(last + 1, txn(last + 2))),
        ("PROPOSAL of a later epoch", proposal(make_zxid(EPOCH + 1, 1))),
        ("PROPOSAL of counter 0", proposal(make_zxid(EPOCH + 1, 0))),
        ("COMMIT of what is not proposed", commit(last + 9)),
        ("INFORM of garbage", packet(8, last + 1, txn(last + 1, OpCode.CREATE, b"\xff" * 9))),
    ]
    if stage != "served":
        found += [
            ("NEWLEADER of another epoch", packet(10, make_zxid(EPOCH + 1, 0), b"")),
            ("NEWLEADER of a transaction", packet(10, NEW | 1, b"")),
            ("NEWLEADER twice", packet(10, NEW, b"") * 2),
        ]
    # At whatever stage they come, they must not reach the log.
    finish = {"in DIFF": packet(10, NEW, b""), "behind NEWLEADER": packet(12, -1)}.get(stage, b"")
    for what, op, body in (
        ("an unknown type", 777, bytes(30)),
        ("a record that is cut off", OpCode.CREATE, text("/cut")),
        ("a path of -2 bytes", OpCode.CREATE, b"\xff\xff\xff\xfe" + bytes(40)),
        ("no record", OpCode.SET_DATA, b""),
        ("a multi without end", OpCode.MULTI, b"\x7f\xff\xff\xff" + bytes(30)),
    ):
        found.append((f"a committed {what}", proposal(last + 1, txn(last + 1, op, body)) + commit(last + 1) + finish))
    return found


@pytest.mark.parametrize("stage", STAGES)
def test_what_is_not_due_ends_the_role_and_nothing_else(stage: str) -> None:
    for what, data in attacks(stage):
        server = experienced()
        wire, epoch = lead(server, stage)
        assert epoch == EPOCH
        before = server.on_disk()
        with warnings(LogLevel.info) as lines:
            wire.say(data)
            server.settle()
            server.advance(10)
        assert wire.closed, what
        assert len([line for line in lines if line.startswith("the role ends")]) == 1, (what, lines)
        assert server.on_disk() == before, what
        assert not server.failures, what
        follows_again(server, what)


def follows_again(server: QuorumServer, what: str) -> None:
    """The next leader is followed, and what it proposes logged."""
    wire, epoch = lead(server, "served")
    zxid = make_zxid(epoch, 1)
    assert server.mode == "follower", what
    wire.heard()
    wire.say(proposal(zxid))
    server.settle()
    assert [(p.type, p.zxid) for p in wire.heard()] == [(PacketType.ACK, zxid)]
    wire.say(commit(zxid))
    wire.loseConnection()
    server.settle()


@pytest.mark.parametrize(
    "lies",
    [
        [proposal(NEW + 2), proposal(NEW + 1)],
        [proposal(NEW + 1), proposal(NEW + 1)],
        [proposal(NEW + 1), proposal(NEW + 2), commit(NEW + 2)],
        [proposal(NEW + 1), commit(NEW + 9)],
    ],
    ids=["out of order", "twice", "the second committed first", "another committed"],
)
def test_what_was_sound_before_a_lie_is_kept_and_the_lie_is_not(lies: list[bytes]) -> None:
    server = experienced()
    wire, _ = lead(server, "served")
    wire.heard()
    wire.say(*lies)
    server.settle()
    assert wire.closed
    assert not server.failures
    # The next leader hears of what was proposed and logged: it may have been committed elsewhere.
    server.advance(10)
    logged = [zxid for zxid in (NEW + 1, NEW + 2) if any(proposal(zxid) == lie for lie in lies)]
    wire = server.led()
    wire.tell(PacketType.LEADERINFO, make_zxid(EPOCH + 1, 0), PROTOCOL)
    server.settle()
    held = wire.heard()[-1]
    assert held.type == PacketType.ACKEPOCH
    assert held.zxid == (NEW + 2 if lies[0] == proposal(NEW + 2) else max(logged))


@pytest.mark.parametrize("stage", ["in DIFF", "behind NEWLEADER"])
def test_what_is_proposed_before_uptodate_is_due_then(stage: str) -> None:
    """Others write while a follower joins: it logs and acknowledges that, in order, once it is up to date."""
    server = experienced()
    wire, _ = lead(server, stage)
    before = server.on_disk()
    wire.say(proposal(NEW + 1), proposal(NEW + 2))
    if stage == "in DIFF":
        wire.tell(PacketType.NEWLEADER, NEW, b"")
    server.settle()
    wire.say(commit(NEW + 1))
    server.settle()
    assert server.on_disk() == before
    assert [(p.type, p.zxid) for p in wire.heard() if p.type == PacketType.ACK] == [(PacketType.ACK, NEW)]
    wire.tell(PacketType.UPTODATE, -1)
    server.settle()
    assert [(p.type, p.zxid) for p in wire.heard()] == [(PacketType.ACK, NEW + counter) for counter in (0, 1, 2)]
    wire.say(commit(NEW + 2))
    server.settle()
    assert not wire.closed
    assert f"Zxid: {NEW + 2:#x}" in server.node.server.answer("srvr").decode()


def test_a_tree_that_is_cut_off_changes_nothing() -> None:
    """Bugs 2872 and 3642: half a tree must not be taken for a whole one."""
    stream = packet(15, NEW) + FRESH_STREAM
    for at in range(len(packet(15, NEW)), len(stream) - 1, 7):
        server = experienced()
        wire, _ = lead(server, "acknowledged")
        before = server.on_disk()
        wire.say(stream[:at])
        server.settle()
        wire.loseConnection()
        server.settle()
        assert server.on_disk() == before
        wire = server.led()
        wire.tell(PacketType.LEADERINFO, make_zxid(EPOCH + 1, 0), PROTOCOL)
        server.settle()
        assert wire.heard()[-1].zxid == HELD


@pytest.mark.parametrize("seed", range(4))
def test_conversations_spoilt_at_random_end_no_process(seed: int) -> None:
    random = Random(seed)
    server = experienced()
    for n in range(250):
        wire, epoch = lead(server, "acknowledged")
        held, new = wire.heard()[-1].zxid, make_zxid(epoch, 0)
        sync = (
            packet(13, held),
            packet(15, new) + FRESH_STREAM,
            packet(14, held),
            packet(14, HELD),
        )[random.randrange(4)]
        last = max(held, new)
        pieces = [sync, proposal(last + 1), packet(10, new, b""), packet(12, -1)]
        for k in range(2, 2 + random.randrange(4)):
            pieces += [proposal(last + k), commit(last + k - 1)]
        wire.say(*spoil(random, pieces))
        server.settle()
        wire.loseConnection()
        server.settle()
        assert not server.failures, (n, server.failures)
        if n % 50 == 49:
            follows_again(server, f"conversation {n}")
