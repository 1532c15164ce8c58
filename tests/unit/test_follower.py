"""A follower's proposals and commits: in order or not at all, logged before they happen, told of in runs."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zktw.terms.errors import ProtocolError, WireError
from zktw.terms.zxid import counter_of, make_zxid
from zktw.zab.committedlog import CommittedLog, Entry
from zktw.zab.follower import Follower

EPOCH = 3


def z(counter: int, epoch: int = EPOCH) -> int:
    return make_zxid(epoch, counter)


def payload(zxid: int) -> bytes:
    return struct.pack(">qiqqi", 1, 1, zxid, 0, -1)


class Term:
    """A follower in epoch 3 that holds all up to its beginning, and what it lets happen."""

    def __init__(self) -> None:
        self.logged: list[int] = []
        self.runs: list[list[int]] = []
        self.refuses = False
        self.committed = CommittedLog(z(5, 2))
        self.follower = Follower(EPOCH, self.committed, z(5, 2), self)

    def persist(self, zxid: int, payload: bytes) -> None:
        """See Outlet."""
        if self.refuses:
            raise WireError("no transaction")
        self.logged.append(counter_of(zxid))

    def commit(self, entries: list[Entry]) -> None:
        """See Outlet: they are in the ring by then."""
        assert list(self.committed)[-len(entries) :] == entries
        self.runs.append([counter_of(zxid) for zxid, _ in entries])

    def propose(self, *counters: int) -> None:
        for counter in counters:
            self.follower.on_proposal(z(counter), payload(z(counter)))

    def flight(self) -> list[int]:
        return [counter_of(zxid) for zxid, _ in self.follower.in_flight]


def test_what_is_proposed_is_logged_and_what_is_committed_happens_as_one_run() -> None:
    term = Term()
    term.propose(1, 2, 3)
    assert (term.logged, term.flight(), term.runs) == ([1, 2, 3], [1, 2, 3], [])
    term.follower.on_commit(z(1))
    term.follower.on_commit(z(2))
    assert term.runs == []
    term.follower.flush()
    assert (term.runs, term.flight()) == ([[1, 2]], [3])
    assert term.committed.last == z(2)
    term.follower.flush()
    assert term.runs == [[1, 2]]


def test_what_came_before_uptodate_is_the_first_that_comes() -> None:
    term = Term()
    term.follower.begin([(z(n), payload(z(n))) for n in (1, 2, 3)], [z(1)])
    term.propose(4)
    term.follower.flush()
    assert (term.logged, term.flight(), term.runs) == ([1, 2, 3, 4], [2, 3, 4], [[1]])


def test_an_observer_is_told_of_both_at_once() -> None:
    term = Term()
    for counter in (1, 2):
        term.follower.on_inform(z(counter), payload(z(counter)))
    assert (term.logged, term.flight()) == ([1, 2], [])
    term.follower.flush()
    assert term.runs == [[1, 2]]


def test_numbers_may_be_left_out() -> None:
    term = Term()
    term.propose(1, 4, 90)
    assert term.logged == [1, 4, 90]


@pytest.mark.parametrize(
    ("zxid", "data", "why"),
    [
        (z(2), payload(z(2)), "PROPOSAL 0x300000002 after 0x300000002"),
        (z(1), payload(z(1)), "PROPOSAL 0x300000001 after 0x300000002"),
        (z(9, 2), payload(z(9, 2)), "PROPOSAL 0x200000009 after 0x300000002"),
        (z(1, 4), payload(z(1, 4)), "PROPOSAL 0x400000001 after 0x300000002"),
        (z(0, 4), payload(z(0, 4)), "PROPOSAL 0x400000000 after 0x300000002"),
        (z(3), payload(z(4)), "PROPOSAL 0x300000003 of transaction 0x300000004"),
        (z(3), None, "PROPOSAL 0x300000003 without a transaction"),
        (z(3), bytes(31), "PROPOSAL 0x300000003 without a transaction"),
    ],
)
def test_what_cannot_be_next_is_not_logged(zxid: int, data: bytes | None, why: str) -> None:
    term = Term()
    term.propose(1, 2)
    with pytest.raises(ProtocolError, match=f"^{why}$"):
        term.follower.on_proposal(zxid, data)
    assert (term.logged, term.flight(), term.follower.last_zxid) == ([1, 2], [1, 2], z(2))
    with pytest.raises(ProtocolError, match=f"^{why.replace('PROPOSAL', 'INFORM')}$"):
        term.follower.on_inform(zxid, data)
    term.follower.flush()
    assert term.runs == []


def test_what_the_log_refuses_is_not_in_flight() -> None:
    term = Term()
    term.refuses = True
    with pytest.raises(WireError):
        term.propose(1)
    with pytest.raises(WireError):
        term.follower.on_inform(z(2), payload(z(2)))
    term.follower.flush()
    assert (term.flight(), term.runs) == ([], [])


def test_a_commit_out_of_its_turn_lets_nothing_happen() -> None:
    term = Term()
    term.propose(1, 2)
    with pytest.raises(ProtocolError, match=r"^COMMIT 0x300000002 where 0x300000001 is the oldest proposal$"):
        term.follower.on_commit(z(2))
    term.follower.flush()
    assert (term.runs, term.flight()) == ([], [1, 2])


def test_a_commit_of_nothing_that_was_proposed() -> None:
    term = Term()
    # Apache's leaders say again what the synchronisation had.
    term.follower.on_commit(z(5, 2))
    with pytest.raises(ProtocolError, match=r"^COMMIT 0x300000001, and nothing is proposed$"):
        term.follower.on_commit(z(1))
    term.propose(1)
    term.follower.on_commit(z(1))
    term.follower.flush()
    assert term.runs == [[1]]


@settings(deadline=None)
@given(steps=st.lists(st.sampled_from(["propose", "commit", "flush"]), max_size=60))
def test_all_happens_once_and_in_order(steps: list[str]) -> None:
    term = Term()
    proposed = committed = 0
    for step in steps:
        if step == "propose":
            proposed += 1
            term.propose(proposed)
        elif step == "commit" and committed < proposed:
            committed += 1
            term.follower.on_commit(z(committed))
        else:
            term.follower.flush()
            assert sum(map(len, term.runs)) == committed
    term.follower.flush()
    assert [counter for run in term.runs for counter in run] == list(range(1, committed + 1))
    assert term.flight() == list(range(committed + 1, proposed + 1))
    assert [] not in term.runs
