"""A reconfiguration's way through the roles: what a leader and a learner do at each of its steps."""

import struct
from types import SimpleNamespace
from typing import Any

import pytest
from test_reconfiguring import FIRST, ONE, THREE, TWO, Server, holding, members, part_of, payload
from twisted.internet import task

from zktw.node.clock import Clock
from zktw.node.reconfigfollowing import ReconfigFollowing
from zktw.node.reconfigleading import ReconfigLeading
from zktw.quorum.ensemble import Ensemble
from zktw.quorum.reconfig import Wish
from zktw.terms.codes import ErrorCode, PacketType
from zktw.terms.errors import ProtocolError, ZkError
from zktw.wire.peers import QuorumPacket, encode_packet
from zktw.zab.broadcast import Broadcast
from zktw.zab.committedlog import CommittedLog
from zktw.zab.learnerhandler import LearnerHandler, LearnerPhase
from zktw.zab.membership import Membership

VERSION = 0x1_0000_0005
TICK_MS = 100


def sid_bytes(sid: int) -> bytes:
    """A designated leader, as packets name it."""
    return struct.pack(">q", sid)


# -- a learner ---------------------------------------------------------------------------------------------------------


class Learning:
    """Server 1 under leader 3."""

    def __init__(self) -> None:
        self.server = Server()
        self.appointed: list[int] = []
        self.over = False
        self.told: list[tuple[str, int, bytes | None]] = []
        self.reactor = task.Clock()
        means: Any = SimpleNamespace(
            reconfiguring=self.server.reconfiguring,
            clock=Clock(self.reactor),
            appoint=lambda leader, reason: self.appointed.append(leader),
        )
        self.reconfig = ReconfigFollowing(means, 3, lambda: self.over)

    def turn(self) -> list[int]:
        """The reactor's next turn; the leaders that were named."""
        self.reactor.advance(0)
        return self.appointed

    def hear(self, packet: QuorumPacket, *, observer: bool = False) -> None:
        """The leader tells of a commit."""
        follower = SimpleNamespace(
            on_commit=lambda zxid: self.told.append(("commit", zxid, None)),
            on_inform=lambda zxid, data: self.told.append(("inform", zxid, data)),
            flush=lambda: self.told.append(("flush", 0, None)),
        )
        self.reconfig.on_activation(part_of(follower), packet, None, observer=observer)


def activate(ensemble: Ensemble, designated: int) -> Learning:
    """A follower that was proposed this, and told that it is committed."""
    learning = Learning()
    learning.reconfig.on_proposed(payload(ensemble.text().encode()))
    learning.hear(QuorumPacket(PacketType.COMMITANDACTIVATE, VERSION, sid_bytes(designated)))
    assert learning.told == [("commit", VERSION, None), ("flush", 0, None)]
    assert learning.server.reconfiguring.committed == ensemble
    return learning


def test_the_leader_stays_and_so_do_we() -> None:
    assert activate(members(ONE, TWO, THREE, "server.4=d:1:2"), 3).turn() == []


@pytest.mark.parametrize("heir", [1, 2])
def test_another_leader_is_gone_to_at_once_but_not_before_clients_have_their_answers(heir: int) -> None:
    learning = activate(members(ONE, TWO), heir)
    assert learning.appointed == []
    assert learning.turn() == [heir]


def test_another_role_begins_under_the_same_leader() -> None:
    assert activate(members("server.1=a:1:2:observer", TWO, THREE), 3).turn() == [3]


def test_who_is_removed_follows_on() -> None:
    assert activate(members(TWO, THREE), 3).turn() == []


def test_a_role_that_is_over_names_nobody() -> None:
    learning = activate(members(ONE, TWO), 2)
    learning.over = True
    assert learning.turn() == []


def test_an_observer_hears_of_it_as_a_whole() -> None:
    learning = Learning()
    text = payload(members(ONE, TWO).text().encode())
    learning.reconfig.on_proposed(text)
    packet = QuorumPacket(PacketType.INFORMANDACTIVATE, VERSION, sid_bytes(2) + text)
    learning.hear(packet, observer=True)
    assert learning.told[0] == ("inform", VERSION, text)
    assert learning.turn() == [2]


@pytest.mark.parametrize(
    ("kind", "data", "observer"),
    [
        (PacketType.COMMITANDACTIVATE, None, False),
        (PacketType.COMMITANDACTIVATE, b"\0" * 7, False),
        (PacketType.COMMITANDACTIVATE, b"\0" * 8, True),
        (PacketType.INFORMANDACTIVATE, b"\0" * 80, False),
    ],
)
def test_what_is_no_such_packet_is_found_out_before_anything_happens(
    kind: PacketType, data: bytes | None, observer: bool
) -> None:
    learning = Learning()
    with pytest.raises(ProtocolError):
        learning.hear(QuorumPacket(kind, VERSION, data), observer=observer)
    assert not learning.told


def test_newleaders_text_is_in_force_with_uptodate() -> None:
    learning = Learning()
    new = members("server.1=a:1:2:observer", TWO, THREE)
    learning.reconfig.adopt(new.text().encode())
    assert learning.server.reconfiguring.committed == new
    assert learning.turn() == [3]


@pytest.mark.parametrize("text", [None, b"", b"junk", members(TWO, version=0).text().encode()])
def test_an_older_text_or_none_changes_nothing(text: bytes | None) -> None:
    learning = Learning()
    now = members(ONE, TWO, THREE)
    learning.server.reconfiguring.adopt(now)
    learning.reconfig.adopt(text)
    assert learning.server.reconfiguring.committed == now


def test_a_proposal_that_the_leader_does_not_know_is_forgotten() -> None:
    learning = Learning()
    learning.reconfig.on_proposed(payload(members(ONE, TWO).text().encode()))
    learning.reconfig.adopt(FIRST.text().encode())
    assert not learning.server.reconfiguring.is_pending


# -- a leader ----------------------------------------------------------------------------------------------------------


class Leading:
    """Server 1 leads followers 2 and 3 and observer 4, all serving."""

    def __init__(self, history: Ensemble = FIRST) -> None:
        self.server = Server()
        self.reactor = task.Clock()
        self.resigned: list[str] = []
        self.recounts = 0
        self.committed = CommittedLog()
        outlet: Any = SimpleNamespace(
            persist=lambda zxid, data: None, write=lambda connection, data: None, commit=self._commit
        )
        learners: dict[int, LearnerHandler] = {}
        for sid in (2, 3, 4):
            learners[sid] = handler = LearnerHandler(sid, 0)
            handler.sid, handler.phase, handler.observer = sid, LearnerPhase.SERVING, sid == 4
        self.broadcast = Broadcast(1, FIRST.verifier(), self.committed, outlet)
        self.core: Any = SimpleNamespace(my_sid=1, broadcast=self.broadcast, learners=learners, membership=None)
        self.means: Any = SimpleNamespace(
            reconfiguring=self.server.reconfiguring,
            clock=Clock(self.reactor),
            config=self.server.config,
            keeper=SimpleNamespace(database=holding(history), committed=self.committed),
        )
        self.reconfig = ReconfigLeading(part_of(self.means), part_of(self.core), self.resigned.append, self._recount)
        for sid in (2, 3):
            self.broadcast.join(sid, sid, observer=False)

    def _recount(self) -> None:
        self.recounts += 1

    def _commit(self, zxid: int) -> None:
        self.reconfig.on_committed(zxid)
        self.told = dict(self.broadcast.activations)

    def propose(self, wish: Wish) -> None:
        """A client wishes it, and all who serve log it."""
        reconfigurer = self.reconfig.make_reconfigurer()
        assert reconfigurer is not None
        text = reconfigurer.begin(reconfigurer.work_out(wish, VERSION))
        self.broadcast.propose(VERSION, payload(text))
        for sid in (2, 3):
            self.broadcast.on_ack(sid, VERSION)
        self.broadcast.on_persisted(VERSION)

    @property
    def membership(self) -> Membership:
        """What the core works with."""
        found: Membership = self.core.membership
        return found


def test_a_proposal_needs_both_and_is_told_to_late_learners_only_once_it_is_committed() -> None:
    leading = Leading()
    leading.propose(Wish(joining="server.4=d:1:2;3"))
    assert leading.membership.pending is not None
    assert leading.membership.text == FIRST.text().encode()
    assert leading.broadcast.pending is not None
    leading.broadcast.flush()
    assert leading.membership.pending is None
    assert leading.membership.members == (1, 2, 3, 4)
    assert leading.membership.version == VERSION
    assert leading.membership.text.endswith(b"version=100000005")
    assert leading.server.reconfiguring.committed.voters == (1, 2, 3, 4)


def test_its_commit_names_us_and_what_waits_is_counted_anew() -> None:
    leading = Leading()
    leading.propose(Wish(leaving="3"))
    leading.broadcast.flush()
    ((followers, observers),) = leading.told.values()
    entry = next(iter(leading.committed))[1]
    assert followers == encode_packet(QuorumPacket(PacketType.COMMITANDACTIVATE, VERSION, sid_bytes(1)))
    assert observers == encode_packet(QuorumPacket(PacketType.INFORMANDACTIVATE, VERSION, sid_bytes(1) + entry))
    leading.reactor.advance(0)
    assert leading.recounts == 1
    leading.reactor.advance(10 * TICK_MS)
    assert not leading.resigned


def test_a_leader_that_leaves_names_its_heir_and_stays_for_a_while() -> None:
    leading = Leading()
    leading.propose(Wish(leaving="1"))
    leading.broadcast.flush()
    ((followers, _),) = leading.told.values()
    assert followers == encode_packet(QuorumPacket(PacketType.COMMITANDACTIVATE, VERSION, sid_bytes(2)))
    leading.reactor.advance(0.9 * TICK_MS / 1000)
    assert not leading.resigned
    leading.reactor.advance(0.2 * TICK_MS / 1000)
    assert leading.resigned == ["server 2 is to lead"]


def test_a_role_that_has_ended_does_not_resign() -> None:
    leading = Leading()
    leading.propose(Wish(leaving="1"))
    leading.broadcast.flush()
    leading.reconfig.stop()
    leading.reactor.advance(10 * TICK_MS)
    assert not leading.resigned


def test_what_a_quorum_of_new_servers_cannot_hold_is_refused() -> None:
    leading = Leading()
    wish = Wish(joining="server.7=d:1:2;3,server.8=e:1:2;3,server.9=f:1:2;3")
    with pytest.raises(ZkError) as caught:
        leading.propose(wish)
    assert caught.value.code == ErrorCode.NEW_CONFIG_NO_QUORUM
    assert leading.membership.pending is None
    # Observer 4 serves, but acknowledges nothing: 1, 2 and 3 of seven.
    with pytest.raises(ZkError) as caught:
        leading.propose(Wish(joining=f"server.4=g:1:2;3,{wish.joining}"))
    assert caught.value.code == ErrorCode.NEW_CONFIG_NO_QUORUM


def test_an_observer_becomes_a_voter_where_the_others_are_enough() -> None:
    leading = Leading()
    leading.propose(Wish(joining="server.4=g:1:2;3"))
    leading.broadcast.flush()
    assert leading.server.reconfiguring.committed.voters == (1, 2, 3, 4)


def test_only_one_at_a_time() -> None:
    leading = Leading()
    leading.propose(Wish(leaving="3"))
    with pytest.raises(ZkError) as caught:
        leading.propose(Wish(leaving="2"))
    assert caught.value.code == ErrorCode.RECONFIG_IN_PROGRESS


def test_a_static_configuration_is_given_the_epochs_version() -> None:
    leading = Leading()
    leading.reconfig.on_epoch(6)
    assert leading.server.reconfiguring.committed.version == 0
    assert leading.membership.text.endswith(b"version=600000000")
    leading.reconfig.on_serving()
    assert leading.membership.version == 0x6_0000_0000
    assert leading.server.reconfiguring.committed.members == FIRST.members


def test_a_proposal_in_our_history_is_in_force_once_a_quorum_holds_it() -> None:
    found = members(ONE, TWO, version=0x4_0000_0002)
    leading = Leading(found)
    assert leading.membership.pending is not None
    leading.reconfig.on_epoch(6)
    assert leading.membership.text == found.text().encode()
    leading.reconfig.on_serving()
    assert leading.server.reconfiguring.committed == found
    leading.reactor.advance(0)
    assert not leading.resigned


def test_and_who_is_no_voter_in_it_resigns() -> None:
    leading = Leading(members(TWO, THREE, version=0x4_0000_0002))
    leading.reconfig.on_epoch(6)
    leading.reconfig.on_serving()
    leading.reactor.advance(0)
    assert leading.resigned == ["we are no voter in the configuration now in force"]
