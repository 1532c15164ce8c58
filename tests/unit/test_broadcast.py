"""A leader's proposals: what commits when, who is told what and in which order (wire document, e.6)."""

import struct

import pytest
from electing import ensemble
from hypothesis import given, settings
from hypothesis import strategies as st

from zktw.quorum.ensemble import Ensemble
from zktw.quorum.verifier import QuorumVerifier
from zktw.terms.codes import PacketType
from zktw.terms.errors import ProtocolError
from zktw.terms.zxid import counter_of, make_zxid
from zktw.wire.peers import PacketParser, QuorumPacket, encode_bare
from zktw.zab.broadcast import Broadcast
from zktw.zab.committedlog import CommittedLog

EPOCH = 2
SYNC = encode_bare(PacketType.SYNC, 0)
GROUPS = "\n".join(
    [
        *(f"server.{sid}=h{sid}:1:2:participant" for sid in range(1, 10)),
        "group.1=1:2:3",
        "group.2=4:5:6",
        "group.3=7:8:9",
        "version=0",
    ]
)


STEPS = ["propose", "ack 1", "ack 2", "persist", "answer 1", "answer 2", "flush"]


def z(counter: int) -> int:
    return make_zxid(EPOCH, counter)


def payload(counter: int) -> bytes:
    return struct.pack(">qiqqi", 1, 1, z(counter), 0, -1)


def whole(data: bytes) -> list[QuorumPacket]:
    """The packets of what was written."""
    return list(PacketParser(1 << 20).feed(data))


class Term:
    """A broadcast in epoch 2 of the server with the greatest number, and all that it lets happen, in order."""

    def __init__(self, verifier: QuorumVerifier | None = None) -> None:
        verifier = verifier or ensemble(3).verifier()
        self.me = max(verifier.voters)
        self.persisted: list[int] = []
        self.happened: list[int] = []
        self.told: dict[int, list[tuple[str, int]]] = {}
        # Writes to connections, each as one.
        self.writes: list[tuple[int, int]] = []
        self.committed = CommittedLog(make_zxid(1, 9))
        self.broadcast = Broadcast(self.me, verifier, self.committed, self)
        self.broadcast.begin_epoch(z(0))
        self._given = 0

    def persist(self, zxid: int, payload: bytes) -> None:
        """See Outlet."""
        self.persisted.append(zxid)

    def commit(self, zxid: int) -> None:
        """See Outlet: it is in the ring by then."""
        assert self.committed.last == zxid
        self.happened.append(counter_of(zxid))

    def write(self, connection: int, data: bytes) -> None:
        """See Outlet."""
        packets = whole(data)
        self.writes.append((connection, len(packets)))
        self.told.setdefault(connection, []).extend((packet.type.name, counter_of(packet.zxid)) for packet in packets)

    def propose(self, count: int = 1) -> None:
        """The next ones."""
        for _ in range(count):
            self._given += 1
            self.broadcast.propose(z(self._given), payload(self._given))

    def ack(self, sid: int, counter: int) -> None:
        """Its log is durable so far, and the turn is over."""
        if sid == self.me:
            self.broadcast.on_persisted(z(counter))
        else:
            self.broadcast.on_ack(sid, z(counter))
        self.broadcast.flush()

    def join(self, *sids: int, observer: bool = False) -> None:
        """On connections of their numbers."""
        for sid in sids:
            self.broadcast.join(sid, sid, observer=observer)

    def take(self, connection: int) -> list[tuple[str, int]]:
        """What it was told since."""
        return self.told.pop(connection, [])


def names(kind: str, *counters: int) -> list[tuple[str, int]]:
    return [(kind, counter) for counter in counters]


def test_a_write_happens_once_a_majority_has_logged_it() -> None:
    term = Term()
    term.join(1, 2)
    term.propose()
    assert term.persisted == [z(1)]
    assert term.told == {}, "told with the rest of the turn"
    term.broadcast.flush()
    assert (term.take(1), term.take(2)) == (names("PROPOSAL", 1), names("PROPOSAL", 1))
    term.ack(1, 1)
    assert term.happened == []
    term.ack(3, 1)
    assert term.happened == [1]
    assert (term.take(1), term.take(2)) == (names("COMMIT", 1), names("COMMIT", 1))
    term.ack(2, 1)
    assert term.happened == [1]
    assert term.told == {}


def test_without_us_a_majority_is_as_good() -> None:
    term = Term()
    term.join(1, 2)
    term.propose()
    term.ack(1, 1)
    term.ack(2, 1)
    assert term.happened == [1]


def test_nothing_happens_before_the_turn_is_over() -> None:
    term = Term()
    term.join(1, 2)
    term.propose()
    for sid in (1, 2):
        term.broadcast.on_ack(sid, z(1))
    assert term.happened == []
    term.broadcast.flush()
    assert term.happened == [1]


def test_one_acknowledgement_stands_for_all_before_it_and_what_it_commits_is_one_run() -> None:
    term = Term()
    term.join(1)
    term.join(4, observer=True)
    term.propose(5)
    term.broadcast.flush()
    term.take(1)
    term.writes.clear()
    term.ack(3, 5)
    term.ack(1, 4)
    assert term.happened == [4]
    assert [zxid for zxid, _ in term.committed] == [z(n) for n in (1, 2, 3, 4)]
    assert term.take(1) == names("COMMIT", 1, 2, 3, 4)
    assert term.take(4) == names("INFORM", 1, 2, 3, 4)
    assert term.writes == [(1, 4), (4, 4)]


def test_observers_are_told_of_proposals_only_when_they_are_committed_and_whole() -> None:
    term = Term()
    term.join(1)
    term.join(4, observer=True)
    term.propose()
    term.broadcast.flush()
    assert term.take(4) == []
    written: list[bytes] = []
    term.write = lambda connection, data: written.append(data) if connection == 4 else None  # type: ignore[method-assign]
    term.ack(1, 1)
    term.ack(3, 1)
    assert whole(b"".join(written)) == [QuorumPacket(PacketType.INFORM, z(1), payload(1))]


def test_an_observers_word_commits_nothing() -> None:
    term = Term(ensemble(3, observers=[4]).verifier())
    term.propose()
    term.ack(3, 1)
    term.ack(4, 1)
    assert term.happened == []


@pytest.mark.parametrize(
    ("acked", "happens"),
    [
        ((9, 8, 4, 5), True),
        ((9, 8, 1, 2), True),
        ((9, 8, 7, 1, 4), False),
        ((9, 1, 2, 4, 5), True),
        ((9, 1, 2, 4), False),
    ],
)
def test_groups_decide_where_there_are_any(acked: tuple[int, ...], happens: bool) -> None:
    """Two of three in two of three groups; five servers in another distribution are none."""
    term = Term(Ensemble.from_text(GROUPS).verifier())
    term.propose()
    for sid in acked:
        assert not term.happened
        term.ack(sid, 1)
    assert bool(term.happened) == happens


def test_a_servers_word_counts_as_far_as_it_goes() -> None:
    term = Term(ensemble(5).verifier())
    term.propose(9)
    for sid, counter in ((1, 7), (2, 3), (4, 9), (5, 5)):
        term.ack(sid, counter)
    assert term.happened[-1] == 5
    # An older word of it, come late, takes nothing back.
    term.ack(4, 2)
    term.ack(3, 6)
    assert term.happened[-1] == 6


def test_acknowledgements_of_newleader_are_of_no_proposal() -> None:
    term = Term()
    term.propose()
    term.ack(3, 1)
    term.ack(1, 0)
    assert term.broadcast.acked_by(1) == 0
    assert term.happened == []


def test_what_was_not_proposed_cannot_be_acknowledged() -> None:
    term = Term()
    term.propose()
    with pytest.raises(ProtocolError, match=r"acknowledges 0x200000002, and the last proposal is 0x200000001"):
        term.broadcast.on_ack(1, z(2))


# -- who comes and goes ----------------------------------------------------------------------------------------------


def test_who_joins_is_given_what_is_not_committed_and_told_all_that_comes() -> None:
    term = Term()
    term.join(1)
    term.propose(3)
    term.ack(1, 1)
    term.ack(3, 1)
    # Proposed in the same turn: it is among what is given, and must not come again.
    term.propose()
    assert term.broadcast.join(2, 2, observer=False) == [(z(n), payload(n)) for n in (2, 3, 4)]
    term.propose()
    term.ack(1, 5)
    term.ack(3, 5)
    assert term.take(2) == [*names("PROPOSAL", 5), *names("COMMIT", 2, 3, 4, 5)]


def test_an_observer_that_joins_is_given_nothing() -> None:
    term = Term()
    term.propose(2)
    assert term.broadcast.join(4, 4, observer=True) == []
    term.ack(1, 2)
    term.ack(3, 2)
    assert term.take(4) == names("INFORM", 1, 2)


def test_what_is_committed_when_one_joins_is_not_told_to_it() -> None:
    """It was brought to that already."""
    term = Term()
    term.propose()
    term.broadcast.on_ack(1, z(1))
    term.broadcast.on_persisted(z(1))
    assert term.broadcast.join(2, 2, observer=False) == []
    term.broadcast.flush()
    assert term.take(2) == []


def test_who_has_left_is_told_nothing_and_its_word_is_gone() -> None:
    """Its log may be cut before it comes again."""
    term = Term(ensemble(5).verifier())
    term.join(1, 2)
    term.propose()
    term.ack(1, 1)
    term.broadcast.leave(1)
    term.take(1)
    term.ack(5, 1)
    term.ack(2, 1)
    assert (term.happened, term.take(1)) == ([], [])
    term.ack(3, 1)
    assert term.happened == [1]


def test_who_joins_anew_must_acknowledge_anew() -> None:
    term = Term()
    term.join(1)
    term.propose(2)
    term.ack(1, 2)
    term.broadcast.join(7, 1, observer=False)
    assert term.broadcast.acked_by(1) == 0
    term.ack(3, 2)
    assert term.happened == []
    term.ack(1, 2)
    assert term.happened == [2]


# -- answers in their place ------------------------------------------------------------------------------------------


def test_an_answer_stands_behind_all_that_was_proposed_before_it_and_before_all_that_was_not() -> None:
    term = Term()
    term.join(1, 2)
    term.propose(2)
    term.broadcast.answer(1, SYNC)
    term.propose(2)
    term.broadcast.flush()
    assert term.take(1) == names("PROPOSAL", 1, 2, 3, 4)
    term.ack(3, 4)
    term.ack(1, 4)
    # Though all is committed as one run.
    assert term.happened == [4]
    assert term.take(1) == [*names("COMMIT", 1, 2), ("SYNC", 0), *names("COMMIT", 3, 4)]
    assert term.take(2)[-4:] == names("COMMIT", 1, 2, 3, 4)


def test_an_answer_with_nothing_under_way_leaves_at_once_behind_what_was_told() -> None:
    term = Term()
    term.join(1)
    term.propose()
    term.ack(3, 1)
    term.broadcast.on_ack(1, z(1))
    term.broadcast.flush()
    term.broadcast.answer(1, SYNC)
    assert term.take(1) == [*names("PROPOSAL", 1), *names("COMMIT", 1), ("SYNC", 0)]


def test_an_answer_waits_until_all_before_it_is_committed() -> None:
    term = Term()
    term.join(1)
    term.propose(3)
    term.broadcast.answer(1, SYNC)
    term.ack(3, 3)
    term.ack(1, 2)
    assert ("SYNC", 0) not in term.take(1)
    term.ack(1, 3)
    assert term.take(1) == [*names("COMMIT", 3), ("SYNC", 0)]


def test_who_has_left_is_answered_nothing() -> None:
    term = Term()
    term.join(1, 2)
    term.propose()
    for connection in (1, 2, 1):
        term.broadcast.answer(connection, SYNC)
    term.broadcast.leave(1)
    term.ack(3, 1)
    term.ack(2, 1)
    assert term.take(1) == []
    assert term.take(2)[-1] == ("SYNC", 0)


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["propose", "ack 1", "ack 2", "persist", "answer 1", "answer 2", "flush"]), max_size=40)
)
def test_each_learner_is_told_all_in_one_order(steps: list[str]) -> None:
    """Proposals and commits each without a hole, no commit before a quorum, an answer exactly in its place."""
    term = Term()
    term.join(1, 2)
    given = 0
    reached = dict.fromkeys((1, 2, 3), 0)
    due: dict[int, list[int]] = {1: [], 2: []}
    for step in steps:
        word, _, who = step.partition(" ")
        if word == "propose":
            given += 1
            term.propose()
        elif word == "ack":
            reached[int(who)] = given
            term.broadcast.on_ack(int(who), z(given))
        elif word == "persist":
            reached[3] = given
            term.broadcast.on_persisted(z(given))
        elif word == "answer":
            due[int(who)].append(given)
            term.broadcast.answer(int(who), SYNC)
        else:
            term.broadcast.flush()
    term.broadcast.flush()
    frontier = sorted(reached.values())[1]
    assert term.committed.last == z(frontier)
    for connection in (1, 2):
        told = term.take(connection)
        assert [n for kind, n in told if kind == "PROPOSAL"] == list(range(1, given + 1))
        committed, answered = 0, []
        for at, (kind, counter) in enumerate(told):
            if kind == "COMMIT":
                assert counter == committed + 1
                assert ("PROPOSAL", counter) in told[:at]
                committed = counter
            elif kind == "SYNC":
                answered.append(committed)
        assert committed == frontier
        assert answered == [place for place in due[connection] if place <= frontier]


# -- reconfigurations ------------------------------------------------------------------------------------------------


def test_a_reconfiguration_and_all_behind_it_needs_a_quorum_of_the_new_servers_too() -> None:
    term = Term()
    term.join(1, 2, 4, 5)
    term.propose()
    later = Ensemble.from_text("\n".join(f"server.{sid}=h:1:2:participant" for sid in (3, 4, 5)) + "\nversion=1")
    term.propose(2)
    term.broadcast.pending = (z(2), later.verifier())
    term.ack(1, 3)
    term.ack(3, 3)
    # What was proposed before it needs the old servers only.
    assert term.happened == [1]
    term.ack(4, 2)
    assert term.happened == [1, 2]
    term.ack(4, 3)
    assert term.happened == [1, 2, 3]


def test_a_reconfiguration_has_packets_of_its_own_in_its_place() -> None:
    term = Term()
    term.join(1)
    term.join(4, observer=True)
    term.propose(3)
    term.broadcast.flush()
    term.take(1)
    term.broadcast.activations[z(2)] = (
        encode_bare(PacketType.COMMITANDACTIVATE, z(2)),
        encode_bare(PacketType.INFORMANDACTIVATE, z(2)),
    )
    term.ack(3, 3)
    term.ack(1, 3)
    assert term.take(1) == [("COMMIT", 1), ("COMMITANDACTIVATE", 2), ("COMMIT", 3)]
    assert term.take(4) == [("INFORM", 1), ("INFORMANDACTIVATE", 2), ("INFORM", 3)]
    assert term.broadcast.activations == {}


def test_once_it_is_in_force_the_new_servers_decide() -> None:
    term = Term()
    term.propose()
    term.ack(3, 1)
    term.ack(4, 1)
    assert term.happened == []
    later = Ensemble.from_text("\n".join(f"server.{sid}=h:1:2:participant" for sid in (3, 4, 5)) + "\nversion=1")
    term.broadcast.activate(later.verifier())
    term.broadcast.flush()
    assert term.happened == [1]
