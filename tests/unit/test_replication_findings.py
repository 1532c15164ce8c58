"""What a second reader of the replication found, one test a finding."""

import struct
from collections import deque
from types import SimpleNamespace
from typing import Any

import pytest
from dataserver import LENGTH_MAX, TICK_MS, DataServer, create_body
from electing import ensemble
from logs import DATA, create, start
from memory_files import MemoryFiles
from twisted.internet import task
from twisted.internet.defer import Deferred, succeed

from zktw.node.clock import Clock
from zktw.node.peer import QuorumPeer
from zktw.pipeline.following import Following
from zktw.pipeline.primary import Primary
from zktw.pipeline.remote import RemoteRequests
from zktw.pipeline.request import Client
from zktw.pipeline.sessions import SessionTracker, password_of
from zktw.quorum.peerstate import PeerEvent
from zktw.storage.datadir import DataDir
from zktw.storage.logformat import HEADER, encode_entry
from zktw.storage.logtail import LogTail, Tail
from zktw.storage.snapformat import SnapshotEncoder
from zktw.terms.codes import OpCode, PacketType
from zktw.terms.errors import ProtocolError
from zktw.terms.vote import PeerState
from zktw.terms.zxid import make_zxid
from zktw.tree.database import Database
from zktw.wire.client import ConnectRequest
from zktw.wire.effects import ReadLog, Send, SendTree
from zktw.wire.peers import PacketParser, QuorumPacket
from zktw.wire.txn import CreateSessionTxn, TxnHeader, encode_txn
from zktw.zab.broadcast import Broadcast
from zktw.zab.committedlog import CommittedLog
from zktw.zab.learnerhandler import LearnerHandler
from zktw.zab.office import SyncRules
from zktw.zab.synchroniser import Synchroniser

FOLLOWER = 7
SESSION = 0x5_0000_0000_0000


class Leader:
    """Server 1 of three, with server 2 on one connection, which serves a client of its own."""

    def __init__(self) -> None:
        self.server = DataServer()
        self.told: list[QuorumPacket] = []
        self.broadcast = Broadcast(1, ensemble(3).verifier(), CommittedLog(), self)
        self.primary = Primary(self.server.service, self.server.prep, self.broadcast.propose)
        self.remote = RemoteRequests(self.server.service, self.primary, self.broadcast.answer)
        self.broadcast.join(FOLLOWER, 2, observer=False)
        self.ask(OpCode.CREATE_SESSION, struct.pack(">i", 4000), 0)
        self.log(1)

    def persist(self, zxid: int, payload: bytes) -> None:
        """See Outlet."""

    def commit(self, zxid: int) -> None:
        """See Outlet."""
        self.primary.on_committed(zxid)

    def write(self, connection: int, data: bytes) -> None:
        """See Outlet."""
        self.told += PacketParser(1 << 20).feed(data)

    def ask(self, op: int, body: bytes, cxid: int) -> None:
        """A request of the follower's client."""
        data = struct.pack(">qii", SESSION, cxid, op) + body
        self.remote.on_request(FOLLOWER, QuorumPacket(PacketType.REQUEST, -1, data, ()))

    def log(self, zxid: int) -> None:
        """A quorum has logged so far."""
        self.broadcast.on_persisted(zxid)
        self.broadcast.on_ack(2, zxid)
        self.broadcast.flush()


def test_the_word_on_a_session_comes_behind_what_it_has_under_way() -> None:
    """A client that connects anew may count from 1 again; the commit of an old request is no answer to a new one."""
    leader = Leader()
    leader.ask(OpCode.CREATE, create_body("/a"), 1)
    leader.remote.on_revalidate(FOLLOWER, struct.pack(">qi", SESSION, 4000))
    leader.broadcast.flush()
    leader.log(2)
    assert [packet.type for packet in leader.told][-3:] == [
        PacketType.PROPOSAL,
        PacketType.COMMIT,
        PacketType.REVALIDATE,
    ]
    # With nothing under way it comes at once.
    leader.remote.on_revalidate(FOLLOWER, struct.pack(">qi", SESSION, 4000))
    assert leader.told[-1].type == PacketType.REVALIDATE
    assert leader.told[-1].data == struct.pack(">q?", SESSION, True)


def test_an_old_request_is_no_answer_to_a_new_one_of_the_same_number() -> None:
    """The whole way: a client of a follower connects anew while its write is under way, and counts from 1 again."""
    leader = Leader()
    server = DataServer()
    following = Following(server.service, lambda data: None, LENGTH_MAX)
    following.on_proposed(encode_txn(TxnHeader(SESSION, 0, 1, 0, OpCode.CREATE_SESSION), CreateSessionTxn(4000), None))
    following.on_committed(1)

    def connect() -> Client:
        client = Client(len(server.service.clients) + 1, "192.0.2.1", None)
        server.service.opened(client)
        server.service.connect(client, ConnectRequest(0, 0, 4000, SESSION, password_of(SESSION), False))
        leader.remote.on_revalidate(FOLLOWER, struct.pack(">qi", SESSION, 4000))
        leader.broadcast.flush()
        return client

    def hear() -> None:
        """The follower takes what the leader has told it."""
        told, leader.told = leader.told, []
        for packet in told:
            if packet.type == PacketType.PROPOSAL:
                following.on_proposed(packet.data or b"")
            elif packet.type == PacketType.COMMIT:
                following.on_committed(1)
            else:
                following.on_revalidated(packet.data)

    leader.told.clear()
    client = connect()
    hear()
    server.send(client, OpCode.CREATE, create_body("/old"))
    leader.ask(OpCode.CREATE, create_body("/old"), 1)
    server.service.closed(client)
    client = connect()
    hear()
    # Its requests wait until it has its session again: a shell takes none before.
    if not client.waiting:
        server.take(client)
        server.send(client, OpCode.CREATE, create_body("/new"))
        leader.ask(OpCode.CREATE, create_body("/new"), 1)
    leader.log(2)
    hear()
    assert "/old" in server.database.tree.nodes
    assert b"/old" not in b"".join(client.out)


def entry(counter: int) -> bytes:
    """An entry of a log."""
    return encode_entry(create(make_zxid(1, counter)))


def with_tree(counter: int) -> MemoryFiles:
    """A disk with a snapshot of so many transactions."""
    files, made = MemoryFiles(), Database()
    for each in range(1, counter + 1):
        made.replay(create(make_zxid(1, each)))
    image, encoder = made.image(), SnapshotEncoder()
    content = encoder.begin() + b"".join(encoder.add(piece) for piece in image.pieces())
    files.put(f"{DATA}/snapshot.{image.zxid:x}", content + encoder.end(image.zxid, digest=None, last_zxid=None))
    return files


def test_whom_the_log_has_failed_is_given_the_tree() -> None:
    """It comes again with the same history; from the same damaged log it would never be brought up to date."""

    committed = CommittedLog()
    committed.reset(8)
    committed.append(9, b"nine")
    synchroniser = Synchroniser(committed, Broadcast(1, ensemble(3).verifier(), committed, Leader()), SyncRules())

    def come() -> LearnerHandler:
        handler = LearnerHandler(FOLLOWER, 0)
        handler.sid, handler.last_zxid = 2, 1
        return handler

    handler = come()
    assert synchroniser.begin(handler, []) == [ReadLog(FOLLOWER, 1, True)]
    assert synchroniser.on_log_read(handler, Tail(True, 1, [(2, b"two")]))[-1] == ReadLog(FOLLOWER, 2, False)
    with pytest.raises(ProtocolError):
        synchroniser.on_log_read(handler, None)
    assert synchroniser.begin(come(), [])[:2] == [
        Send(FOLLOWER, QuorumPacket(PacketType.SNAP, 9)),
        SendTree(FOLLOWER),
    ]
    # Once: then it holds what memory has, or the log is asked again.
    assert synchroniser.begin(come(), []) == [ReadLog(FOLLOWER, 1, True)]


def test_sessions_that_come_and_go_leave_nothing_where_no_clock_judges_them() -> None:
    tracker = SessionTracker(1, TICK_MS, 0, 0)
    for tick in range(1000):
        tracker.add(tick, 4000, tick * TICK_MS)
        tracker.add(tick, 4000, (tick + 1) * TICK_MS)
        tracker.remove(tick)
    assert not tracker._buckets


def test_no_learner_is_served_across_what_our_log_never_got() -> None:
    """A quorum committed 4 and 5 without us, our tree was on disk at once, and the process died before our log was."""
    files = with_tree(5)
    files.put(f"{DATA}/log.{make_zxid(1, 1):x}", HEADER + b"".join(entry(counter) for counter in (1, 2, 3)))
    assert start(DataDir(files, "/data", "/data"), epochs=True).last_zxid == make_zxid(1, 5)
    files.put(f"{DATA}/log.{make_zxid(1, 6):x}", HEADER + entry(6))
    tail = LogTail(DataDir(files, "/data", "/data"))
    assert tail.reach(make_zxid(1, 2)) == -1
    assert [zxid for zxid, _ in tail.read(make_zxid(1, 5)).entries] == [make_zxid(1, 6)]


def test_a_log_that_has_all_of_it_is_read_from_where_it_begins() -> None:
    files = with_tree(3)
    files.put(f"{DATA}/log.{make_zxid(1, 1):x}", HEADER + b"".join(entry(counter) for counter in (1, 2, 3, 4)))
    start(DataDir(files, "/data", "/data"), epochs=True)
    tail = LogTail(DataDir(files, "/data", "/data"))
    assert tail.reach(make_zxid(1, 2)) > 0


def test_a_server_that_stops_waits_for_the_role_that_it_had_just_left() -> None:
    """It may be taking over a tree: given up in the middle, that would be taken for a bug."""
    writing: Deferred[None] = Deferred()
    reactor = task.Clock()
    nothing: Any = SimpleNamespace(
        stop=lambda: None,
        drop=lambda: None,
        close=lambda: succeed(None),
        stop_serving=lambda: None,
        is_established=True,
    )
    peer: Any = QuorumPeer.__new__(QuorumPeer)
    peer.state, peer.term = PeerState.FOLLOWING, 1
    peer._running, peer._changing, peer._changes, peer._fruitless = True, False, deque(), 0
    peer._clock, peer._leaving = Clock(reactor), succeed(None)
    peer._server = peer._elections = peer._manager = peer._quorum_port = nothing
    peer._election_listener = peer._quorum_listener = nothing
    peer._means = SimpleNamespace(broken=lambda failure: failure.raiseException())
    peer._make_role = lambda state, elected: None
    peer._role = SimpleNamespace(stop=lambda: writing)
    peer._change(PeerEvent.LEADER_LOST, "", None)
    stopped = peer.stop()
    for _ in range(5):
        reactor.advance(0)
    assert not stopped.called
    writing.callback(None)
    assert stopped.called
