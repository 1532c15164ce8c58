"""A server that is told to stop waits for what is in flight, but not for ever."""

from twisted.internet.task import Clock as FakeReactor

from zktw.node.clock import Clock
from zktw.node.resigning import drain


class Busy:
    """A role with something in flight until it is told otherwise."""

    def __init__(self) -> None:
        self.is_deaf = False
        self.is_quiet = False

    def deafen(self) -> None:
        """See Ending."""
        self.is_deaf = True


def test_what_is_in_flight_is_waited_for() -> None:
    reactor, role = FakeReactor(), Busy()
    drained = drain(Clock(reactor), role, 1000)
    assert role.is_deaf
    reactor.pump([0.001] * 20)
    assert not drained.called
    role.is_quiet = True
    reactor.advance(0.001)
    assert drained.called
    assert reactor.getDelayedCalls() == []


def test_but_not_for_ever() -> None:
    reactor, role = FakeReactor(), Busy()
    drained = drain(Clock(reactor), role, 50)
    reactor.pump([0.001] * 45)
    assert not drained.called
    reactor.pump([0.001] * 10)
    assert drained.called


def test_who_is_quiet_or_must_not_wait_ends_at_once() -> None:
    role = Busy()
    assert drain(Clock(FakeReactor()), role, 0).called
    role.is_quiet = True
    assert drain(Clock(FakeReactor()), role, 1000).called
