"""ObserverMaster and Relay: observers that learn from a follower, from their first word on, and what passes through."""

import struct

import pytest
from dataserver import LENGTH_MAX, DataServer, buf, i32, text
from leading import CONFIG_TEXT, TIMING, ack, ack_epoch, closed, info, packets

from zktw.pipeline.following import Following
from zktw.pipeline.relay import Relay
from zktw.terms.codes import ErrorCode, OpCode, PacketType
from zktw.terms.errors import ProtocolError, WireError
from zktw.terms.zxid import make_zxid
from zktw.wire.effects import ReadLog, SendBytes, SendTree, ZabEffect
from zktw.wire.peers import PacketParser, QuorumPacket, encode_packet
from zktw.zab.committedlog import CommittedLog, Entry
from zktw.zab.learnerhandler import LearnerPhase
from zktw.zab.observermaster import ObserverMaster
from zktw.zab.office import SyncRules

EPOCH = 3
BEGIN = make_zxid(EPOCH, 0)


def zxid(counter: int) -> int:
    return make_zxid(EPOCH, counter)


def entry(counter: int) -> Entry:
    return zxid(counter), struct.pack(">qiqqi", 1, counter, zxid(counter), 0, OpCode.ERROR) + b"\0\0\0\0"


def parsed(data: bytes) -> list[QuorumPacket]:
    return list(PacketParser(1 << 20).feed(data))


class Asked:
    """What an observer's clients ask, noted."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int, object]] = []

    def on_request(self, connection: int, packet: QuorumPacket) -> None:
        self.calls.append(("request", connection, packet.data))

    def on_touched(self, connection: int, touched: bytes) -> None:
        self.calls.append(("touched", connection, touched))

    def on_revalidate(self, connection: int, data: bytes) -> None:
        self.calls.append(("revalidate", connection, data))

    def left(self, connection: int) -> None:
        self.calls.append(("left", connection, None))


class Master:
    """A follower that holds transactions 1 to 5 of its epoch, of which memory has 3 to 5."""

    def __init__(self, rules: SyncRules | None = None) -> None:
        self.committed = CommittedLog(BEGIN)
        self.committed.reset(zxid(2))
        for counter in (3, 4, 5):
            self.committed.append(*entry(counter))
        self.asked = Asked()
        self.told: list[tuple[int, QuorumPacket]] = []
        self.core = ObserverMaster(
            EPOCH,
            TIMING,
            self.committed,
            self.asked,
            lambda connection, data: self.told.extend((connection, packet) for packet in parsed(data)),
            rules=rules or SyncRules(),
            config_text=CONFIG_TEXT,
        )
        self.core.start(0)

    def say(self, connection: int, packet: QuorumPacket, now_ms: float = 0) -> list[ZabEffect]:
        return self.core.on_packet(connection, packet, now_ms)

    def come(self, connection: int, sid: int = 9) -> list[ZabEffect]:
        self.core.on_connected(connection, 0)
        return self.say(connection, info(sid, observer=True))

    def join(self, connection: int, sid: int = 9, held: int = 5) -> list[ZabEffect]:
        """Up to NEWLEADER."""
        self.come(connection, sid)
        return self.say(connection, ack_epoch(EPOCH, zxid(held)))

    def serve(self, connection: int, sid: int = 9) -> None:
        self.join(connection, sid)
        self.say(connection, ack(EPOCH))

    def commit(self, *counters: int) -> None:
        run = [entry(counter) for counter in counters]
        for one in run:
            self.committed.append(*one)
        self.core.informs.tell(run)

    def informed(self, connection: int) -> list[int]:
        return [packet.zxid for number, packet in self.told if number == connection]


def test_an_observer_is_told_our_epoch_at_once_and_serves_as_soon_as_it_holds_our_history() -> None:
    master = Master()
    assert packets(master.come(1)) == [(1, "LEADERINFO", BEGIN)]
    assert packets(master.say(1, ack_epoch(EPOCH, zxid(5)))) == [(1, "DIFF", zxid(5)), (1, "NEWLEADER", BEGIN)]
    assert master.core.synced == 0
    assert packets(master.say(1, ack(EPOCH))) == [(1, "UPTODATE", -1)]
    assert master.core.synced == 1
    # Of UPTODATE; a server of Apache's sends it, and means nothing by it.
    assert master.say(1, ack(EPOCH)) == []


def test_what_it_lacks_comes_from_memory() -> None:
    effects = Master().join(1, held=3)
    assert packets(effects) == [(1, "DIFF", zxid(5)), (1, "NEWLEADER", BEGIN)]
    sent = b"".join(effect.data for effect in effects if isinstance(effect, SendBytes))
    assert [(packet.type, packet.zxid) for packet in parsed(sent)] == [
        (kind, zxid(counter)) for counter in (4, 5) for kind in (PacketType.PROPOSAL, PacketType.COMMIT)
    ]


def test_what_memory_lacks_is_read_from_the_log_and_what_the_log_lacks_comes_as_a_tree() -> None:
    master = Master()
    assert master.join(1, held=1) == [ReadLog(1, zxid(1), True)]
    # What happens meanwhile is no loss: it joins when all before has been sent.
    master.commit(6)
    assert master.told == []
    effects = master.core.on_log_read(1, None)
    assert packets(effects) == [(1, "SNAP", zxid(6)), (1, "NEWLEADER", BEGIN)]
    assert SendTree(1) in effects
    master.commit(7)
    assert master.informed(1) == [zxid(7)]


def test_all_that_happens_after_it_has_joined_is_told_once_and_in_order() -> None:
    master = Master()
    master.join(1)
    master.commit(6)
    master.say(1, ack(EPOCH))
    master.serve(2, sid=10)
    master.commit(7, 8)
    assert master.informed(1) == [zxid(6), zxid(7), zxid(8)]
    assert master.informed(2) == [zxid(7), zxid(8)]
    assert {packet.type for _, packet in master.told} == {PacketType.INFORM}
    assert [packet.data for number, packet in master.told if number == 2] == [entry(7)[1], entry(8)[1]]
    master.core.on_closed(1)
    master.commit(9)
    assert master.informed(1)[-1] == zxid(8)
    assert ("left", 1, None) in master.asked.calls


def test_voters_are_not_served() -> None:
    master = Master()
    master.core.on_connected(1, 0)
    assert closed(master.say(1, info(2))) == [1]


@pytest.mark.parametrize("kind", [PacketType.PROPOSAL, PacketType.COMMIT, PacketType.FOLLOWERINFO, PacketType.UPTODATE])
def test_a_word_out_of_turn_ends_its_connection_and_no_other(kind: PacketType) -> None:
    master = Master()
    master.serve(1)
    master.serve(2, sid=10)
    assert closed(master.say(1, QuorumPacket(kind, zxid(6)))) == [1]
    master.commit(6)
    assert (master.informed(1), master.informed(2)) == ([], [zxid(6)])


def test_a_word_before_its_time_ends_its_connection() -> None:
    master = Master()
    master.core.on_connected(1, 0)
    assert closed(master.say(1, ack(EPOCH))) == [1]
    master.come(2)
    assert closed(master.say(2, QuorumPacket(PacketType.REQUEST, -1, bytes(16)))) == [2]
    master.join(3, sid=10)
    assert closed(master.say(3, ack(EPOCH, 99))) == [3]


def test_an_observer_that_comes_anew_has_its_former_connection_ended() -> None:
    master = Master()
    master.serve(1)
    assert closed(master.join(2)) == [1]
    assert list(master.core.learners) == [2]


def test_so_many_trees_are_given_at_a_time() -> None:
    master = Master(SyncRules(force_snapshot=True, snap_syncs_max=1))
    assert SendTree(1) in master.join(1)
    assert closed(master.join(2, sid=10)) == [2]
    master.say(1, ack(EPOCH))
    assert SendTree(3) in master.join(3, sid=10)


def test_pings_go_out_every_half_tick_and_the_silent_are_dropped() -> None:
    master = Master()
    master.serve(1)
    master.join(2, sid=10)
    assert master.core.deadline_ms == TIMING.tick_ms / 2
    assert packets(master.core.on_deadline(50)) == [(1, "PING", zxid(5)), (2, "PING", zxid(5))]
    assert master.core.deadline_ms == 100
    assert master.core.on_deadline(99) == []
    master.say(1, QuorumPacket(PacketType.PING, zxid(5), b""), 300)
    # Who is brought up to date has longer.
    effects = master.core.on_deadline(TIMING.sync_ms + 1)
    assert closed(effects) == []
    effects = master.core.on_deadline(TIMING.sync_ms + 301)
    assert closed(effects) == [1]
    assert packets(effects) == [(2, "PING", zxid(5))]
    assert closed(master.core.on_deadline(TIMING.sync_ms + TIMING.init_ms + 1)) == [2]


def test_who_takes_nothing_is_dropped() -> None:
    master = Master()
    master.serve(1)
    assert closed(master.core.on_overrun(1, 1 << 30)) == [1]
    assert master.core.on_overrun(1, 1 << 30) == []


def test_what_its_clients_ask_is_passed_on() -> None:
    master = Master()
    master.serve(1)
    master.say(1, QuorumPacket(PacketType.REQUEST, -1, b"r"))
    master.say(1, QuorumPacket(PacketType.PING, zxid(5), b"t"))
    master.say(1, QuorumPacket(PacketType.REVALIDATE, -1, b"v"))
    assert master.asked.calls == [("request", 1, b"r"), ("touched", 1, b"t"), ("revalidate", 1, b"v")]


# -- the relay --------------------------------------------------------------------------------------------------------


class Passage:
    """A follower between its clients and observers and a leader."""

    def __init__(self) -> None:
        self.server = DataServer()
        self.to_leader: list[QuorumPacket] = []
        self.to_observers: list[tuple[int, QuorumPacket]] = []
        self.following = Following(self.server.service, lambda data: self.to_leader.extend(parsed(data)), LENGTH_MAX)
        self.relay = Relay(
            self.following,
            lambda connection, data: self.to_observers.extend((connection, packet) for packet in parsed(data)),
        )

    def request(self, connection: int, op: int, body: bytes = b"", session: int = 7) -> QuorumPacket:
        data = struct.pack(">qii", session, 1, op) + body
        packet = QuorumPacket(PacketType.REQUEST, -1, data, (("ip", "192.0.2.1"),))
        self.relay.on_request(connection, packet)
        return packet


def test_requests_reach_the_leader_as_they_are() -> None:
    passage = Passage()
    packet = passage.request(1, OpCode.SET_DATA, text("/a") + buf(b"x") + i32(-1))
    assert [encode_packet(sent) for sent in passage.to_leader] == [encode_packet(packet)]
    with pytest.raises(WireError):
        passage.relay.on_request(1, QuorumPacket(PacketType.REQUEST, -1, bytes(15)))
    with pytest.raises(ProtocolError):
        passage.following.on_sync()


def test_what_nobody_can_read_is_passed_on_as_something_that_is_refused() -> None:
    passage = Passage()
    passage.request(1, OpCode.CREATE, b"\x7f")
    packet = passage.to_leader[0]
    assert packet.data == struct.pack(">qii", 7, 1, OpCode.DELETE) + text("") + i32(-1)
    assert packet.authinfo == (("ip", "192.0.2.1"),)
    server = DataServer()
    client = server.connect()
    assert server.delete(client, "") == ErrorCode.BAD_ARGUMENTS


def test_syncs_come_back_to_those_who_asked_in_their_order() -> None:
    passage = Passage()
    passage.request(2, OpCode.SYNC)
    passage.request(1, OpCode.SYNC)
    passage.following.on_sync()
    assert [(connection, packet.type) for connection, packet in passage.to_observers] == [(2, PacketType.SYNC)]
    passage.following.on_sync()
    assert [connection for connection, _ in passage.to_observers] == [2, 1]


def test_the_word_on_a_session_comes_back_to_who_asked() -> None:
    passage = Passage()
    passage.relay.on_revalidate(1, struct.pack(">qi", 5, 4000))
    passage.relay.on_revalidate(2, struct.pack(">qi", 6, 4000))
    assert [(packet.type, packet.data) for packet in passage.to_leader] == [
        (PacketType.REVALIDATE, struct.pack(">qi", 5, 4000)),
        (PacketType.REVALIDATE, struct.pack(">qi", 6, 4000)),
    ]
    # The leader answers in the order in which it was asked.
    with pytest.raises(ProtocolError):
        passage.following.on_revalidated(struct.pack(">q?", 6, True))
    passage.following.on_revalidated(struct.pack(">q?", 5, True))
    passage.following.on_revalidated(struct.pack(">q?", 6, False))
    assert [(connection, packet.data) for connection, packet in passage.to_observers] == [
        (1, struct.pack(">q?", 5, True)),
        (2, struct.pack(">q?", 6, False)),
    ]
    with pytest.raises(WireError):
        passage.relay.on_revalidate(1, bytes(11))


def test_the_sessions_that_observers_heard_of_go_with_our_next_answer_to_a_ping() -> None:
    passage = Passage()
    passage.relay.on_touched(1, struct.pack(">qiqi", 5, 4000, 6, 5000))
    passage.relay.on_touched(2, struct.pack(">qi", 5, 4000))
    assert passage.following.touched() == struct.pack(">qiqi", 5, 4000, 6, 5000)
    assert passage.following.touched() == b""
    with pytest.raises(WireError):
        passage.relay.on_touched(1, bytes(13))


def test_observers_at_every_stage_are_counted_as_synced_only_while_they_serve() -> None:
    master = Master()
    master.come(1)
    master.join(2, sid=10)
    master.serve(3, sid=11)
    assert master.core.synced == 1
    assert master.core.learners[2].phase == LearnerPhase.SYNCING
