"""While a reconfiguration is under way the old members and the new ones must agree; afterwards the new ones do."""

from collections.abc import Callable

from electing import ensemble

from zktw.terms.codes import PacketType
from zktw.terms.zxid import make_zxid
from zktw.wire.peers import encode_bare, encode_proposal
from zktw.zab.broadcast import Broadcast
from zktw.zab.committedlog import CommittedLog
from zktw.zab.membership import Membership
from zktw.zab.observermaster import Informs

OLD, NEW = ensemble(3).verifier(), ensemble(5).verifier()
ZXIDS = [make_zxid(1, counter) for counter in range(5)]


class Outlet:
    """Notes what is committed, and what learners are told; on_commit is the role's part."""

    def __init__(self) -> None:
        self.committed: list[int] = []
        self.written: dict[int, bytes] = {}
        self.on_commit: Callable[[int], None] = lambda zxid: None

    def persist(self, zxid: int, payload: bytes) -> None:
        """See Outlet."""

    def commit(self, zxid: int) -> None:
        """See Outlet."""
        self.committed.append(zxid)
        self.on_commit(zxid)

    def write(self, connection: int, data: bytes) -> None:
        """See Outlet."""
        self.written[connection] = self.written.get(connection, b"") + data


def leading(*, reconfig_at: int) -> tuple[Broadcast, Outlet]:
    """Server 1 of 3, with followers 2 to 5 and observer 6; four proposals, of which one makes it five servers."""
    outlet = Outlet()
    broadcast = Broadcast(1, OLD, CommittedLog(), outlet)
    broadcast.begin_epoch(ZXIDS[0])
    for sid in (2, 3, 4, 5):
        broadcast.join(sid, sid, observer=False)
    broadcast.join(6, 6, observer=True)
    for counter in range(1, 5):
        if counter == reconfig_at:
            broadcast.pending = (ZXIDS[counter], NEW)
        broadcast.propose(ZXIDS[counter], b"%d" % counter)
    broadcast.flush()
    outlet.written.clear()
    return broadcast, outlet


def ack(broadcast: Broadcast, sid: int, zxid: int) -> None:
    """A server has logged so far."""
    if sid == 1:
        broadcast.on_persisted(zxid)
    else:
        broadcast.on_ack(sid, zxid)
    broadcast.flush()


def test_what_was_proposed_before_needs_the_old_ones_only() -> None:
    broadcast, outlet = leading(reconfig_at=3)
    ack(broadcast, 1, ZXIDS[4])
    ack(broadcast, 2, ZXIDS[4])
    assert outlet.committed == [ZXIDS[2]]


def test_it_and_all_behind_it_need_both() -> None:
    broadcast, outlet = leading(reconfig_at=2)
    for sid in (4, 5, 1):
        ack(broadcast, sid, ZXIDS[4])
    # Three of five, but one of three.
    assert outlet.committed == []
    ack(broadcast, 2, ZXIDS[3])
    assert outlet.committed == [ZXIDS[3]]
    ack(broadcast, 3, ZXIDS[4])
    assert outlet.committed == [ZXIDS[3], ZXIDS[4]]


def test_the_new_ones_alone_are_enough_once_it_is_in_force() -> None:
    broadcast, outlet = leading(reconfig_at=2)

    def commit(zxid: int) -> None:
        if broadcast.pending is not None and zxid >= broadcast.pending[0]:
            broadcast.activate(NEW)

    outlet.on_commit = commit
    ack(broadcast, 4, ZXIDS[4])
    ack(broadcast, 5, ZXIDS[4])
    ack(broadcast, 1, ZXIDS[4])
    ack(broadcast, 2, ZXIDS[2])
    assert outlet.committed == [ZXIDS[2]]
    # Nobody has said anything since, but three of five hold the rest.
    broadcast.flush()
    assert outlet.committed == [ZXIDS[2], ZXIDS[4]]


def test_its_commit_is_told_in_its_own_packets_and_in_its_place() -> None:
    broadcast, outlet = leading(reconfig_at=2)
    outlet.on_commit = lambda zxid: broadcast.activations.update({ZXIDS[2]: (b"to followers", b"to observers")})
    for sid in (4, 1, 2):
        ack(broadcast, sid, ZXIDS[3])
    commits = [encode_bare(PacketType.COMMIT, ZXIDS[counter]) for counter in (1, 3)]
    informs = [encode_proposal(PacketType.INFORM, ZXIDS[counter], b"%d" % counter) for counter in (1, 3)]
    assert outlet.written[2] == commits[0] + b"to followers" + commits[1]
    assert outlet.written[6] == informs[0] + b"to observers" + informs[1]
    assert broadcast.activations == {}


def test_a_membership_with_a_pending_one_needs_both() -> None:
    alone = Membership(OLD, (1, 2, 3), 0, b"")
    both = Membership(OLD, (1, 2, 3), 0, b"", NEW)
    assert alone.has_quorum([1, 2])
    assert not both.has_quorum([1, 2])
    assert not both.has_quorum([3, 4, 5])
    assert both.has_quorum([1, 2, 5])


def test_a_follower_tells_its_observers_whom_it_names() -> None:
    told: list[bytes] = []
    informs = Informs(lambda connection, data: told.append(data))
    informs.join(7, 7, observer=True)
    informs.activation = (ZXIDS[2], 3)
    informs.tell([(ZXIDS[1], b"one"), (ZXIDS[2], b"two")])
    assert told == [
        encode_proposal(PacketType.INFORM, ZXIDS[1], b"one")
        + encode_proposal(PacketType.INFORMANDACTIVATE, ZXIDS[2], b"\0\0\0\0\0\0\0\3two")
    ]
