"""Chronicle: elections as lines with their milliseconds; the last hundred are kept."""

from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.task import Clock as TwistedClock
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import implementer

from zktw.node.chronicle import Chronicle, Connected, Happening, RoleChange
from zktw.node.clock import Clock
from zktw.terms.limits import CHRONICLE_ELECTIONS_MAX
from zktw.terms.vote import PeerState, Vote
from zktw.wire.effects import Elected, EpochAgreed, LeaderLost, RoundStarted, Serving, Synchronised, VoteChanged


@implementer(ILogObserver)
class Lines:
    """Keeps what is logged, as text."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def __call__(self, event: LogEvent) -> None:
        self.found.append(formatEvent(event))


@pytest.fixture
def lines() -> Iterator[list[str]]:
    observer = Lines()
    globalLogPublisher.addObserver(observer)
    yield observer.found
    globalLogPublisher.removeObserver(observer)


def made() -> tuple[Chronicle, Any]:
    reactor = TwistedClock()
    return Chronicle(Clock(reactor), 1), reactor


def test_an_election_is_a_line_a_phase(lines: list[str]) -> None:
    chronicle, reactor = made()
    story: list[tuple[int, Happening]] = [
        (0, RoleChange(PeerState.LOOKING, 1, "start")),
        (1, RoundStarted(1, Vote(0, 0, 1))),
        (2, VoteChanged(1, Vote(0, 0, 3), 3)),
        (3, Elected(PeerState.FOLLOWING, Vote(0, 0, 3), 1, (1, 3))),
        (4, RoleChange(PeerState.FOLLOWING, 2, "")),
        (5, Connected(3)),
        (6, EpochAgreed(1)),
        (7, Synchronised("DIFF", 0)),
        (8, Serving(1)),
        (9, LeaderLost("gone")),
    ]
    for at_ms, happening in story:
        reactor.advance(at_ms / 1000 - reactor.seconds())
        chronicle.tell(happening)
    assert lines == [
        "election 1 +0.0 ms: looking for a leader: start",
        "election 1 +1.0 ms: voting in round 1 for 1 (epoch 0, zxid 0x0)",
        "election 1 +2.0 ms: changed vote to 3 (epoch 0, zxid 0x0), because server 3 has a better one",
        "election 1 +3.0 ms: decided in round 1: server 3 leads, by the votes of 1, 3",
        "election 1 +4.0 ms: following from here on",
        "election 1 +5.0 ms: connected to leader 3",
        "election 1 +6.0 ms: epoch 1 agreed",
        "election 1 +7.0 ms: synchronised by DIFF at 0x0",
        "election 1 +8.0 ms: serving in epoch 1",
        "the role ends: gone",
    ]
    (election,) = chronicle.elections
    assert (election.leader, election.round, election.epoch) == (3, 1, 1)
    assert [phase.name for phase in election.phases] == [
        "noticed", "voting", "voting", "decided", "role", "connected", "epoch", "synchronised", "serving"
    ]  # fmt: skip
    assert chronicle.last_served is election


def test_joining_is_told_from_electing(lines: list[str]) -> None:
    chronicle, _ = made()
    chronicle.tell(RoleChange(PeerState.LOOKING, 1, "start"))
    chronicle.tell(Elected(PeerState.LEADING, Vote(0, 0, 1), 2, (1, 2), joined=True))
    assert lines[-1].endswith("decided in round 2: this server leads already, say 1, 2")


def test_the_last_hundred_are_kept_and_an_unfinished_one_is_not_the_last_served() -> None:
    chronicle, _ = made()
    for number in range(CHRONICLE_ELECTIONS_MAX + 5):
        chronicle.tell(RoleChange(PeerState.LOOKING, number, "again"))
        if number % 2 == 0:
            chronicle.tell(Serving(number))
    chronicle.tell(RoleChange(PeerState.LOOKING, 0, "again"))
    assert len(chronicle.elections) == CHRONICLE_ELECTIONS_MAX
    last = chronicle.last_served
    assert last is not None
    assert last.number == CHRONICLE_ELECTIONS_MAX + 5
    assert chronicle.elections[-1].served_ms is None


def test_listeners_hear_everything() -> None:
    chronicle, reactor = made()
    heard: list[tuple[float, object]] = []
    chronicle.listen(lambda at_ms, happening: heard.append((at_ms, happening)))
    reactor.advance(0.5)
    chronicle.tell(Serving(4))
    assert heard == [(500.0, Serving(4))]
