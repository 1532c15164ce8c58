"""Listener: binds every address or none, tries again, and waits for a port that is still closing."""

import errno
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock

from zktw.net.listener import BIND_PAUSE_MS, BOTH, Listener

PAUSE_S = BIND_PAUSE_MS / 1000


class Port:
    """A port whose closing takes until the test lets it end."""

    def __init__(self, reactor: "Reactor", where: tuple[str, int]) -> None:
        self.where = where
        self.closed: Deferred[None] = Deferred()
        self._reactor = reactor

    def stopListening(self) -> Deferred[None]:
        self._reactor.closing.append(self)
        return self.closed

    def end(self) -> None:
        self._reactor.held.remove(self.where)
        self._reactor.closing.remove(self)
        self.closed.callback(None)


class Reactor(Clock):
    """Time, and ports that may be held by others."""

    def __init__(self) -> None:
        super().__init__()
        self.held: list[tuple[str, int]] = []
        self.closing: list[Port] = []
        self.backlogs: list[int] = []
        self.no_ipv6 = 0

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        where = (interface, port)
        if interface == "::" and self.no_ipv6:
            raise CannotListenError(interface, port, OSError(self.no_ipv6, "no IPv6"))
        if where in self.held:
            raise CannotListenError(interface, port, OSError(98, "Address already in use"))
        self.held.append(where)
        self.backlogs.append(backlog)
        return Port(self, where)

    def end_closing(self) -> None:
        for port in list(self.closing):
            port.end()


ONE, TWO = ("192.0.2.1", 3888), ("2001:db8::1", 3888)


class Opened:
    """A listener, and what came of open()."""

    def __init__(self, *addresses: tuple[str, int]) -> None:
        self.reactor = Reactor()
        self.listener = Listener(self.reactor, "election", addresses, Factory())
        self.results: list[object] = []

    def open(self, retries: int = 3) -> None:
        self.listener.open(retries).addCallbacks(
            lambda _: self.results.append("open"), lambda failure: self.results.append(failure.value)
        )


def test_every_address_is_bound_at_once() -> None:
    opened = Opened(ONE, TWO, ("", 3889))
    opened.open()
    assert opened.results == ["open"]
    assert opened.reactor.held == [ONE, TWO, ("", 3889)]


def test_every_address_is_one_of_ipv6_too() -> None:
    opened = Opened((BOTH, 2181), ONE)
    opened.open()
    assert opened.results == ["open"]
    assert opened.reactor.held == [("::", 2181), ONE]


@pytest.mark.parametrize("error", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
def test_unless_the_system_has_none(error: int) -> None:
    opened = Opened((BOTH, 2181))
    opened.reactor.no_ipv6 = error
    opened.open()
    assert opened.results == ["open"]
    assert opened.reactor.held == [("", 2181)]


def test_a_held_port_is_no_lack_of_ipv6() -> None:
    opened = Opened((BOTH, 2181))
    opened.reactor.held = [("::", 2181)]
    with pytest.raises(CannotListenError, match="Address already in use"):
        opened.listener.bind()
    assert opened.reactor.held == [("::", 2181)]


def test_all_or_none() -> None:
    opened = Opened(ONE, TWO)
    opened.reactor.held = [TWO]
    with pytest.raises(CannotListenError, match="2001:db8::1"):
        opened.listener.bind()
    opened.reactor.end_closing()
    assert opened.reactor.held == [TWO]


def test_binding_twice_is_binding_once() -> None:
    opened = Opened(ONE)
    opened.listener.bind()
    opened.listener.bind()
    opened.open()
    assert opened.results == ["open"]
    assert opened.reactor.held == [ONE]


def test_a_held_port_is_tried_again_after_a_pause() -> None:
    opened = Opened(ONE)
    opened.reactor.held = [ONE]
    opened.open(3)
    opened.reactor.advance(PAUSE_S * 0.99)
    assert opened.results == []
    opened.reactor.held.clear()
    opened.reactor.advance(PAUSE_S * 0.01)
    assert opened.results == ["open"]


@pytest.mark.parametrize("retries", [1, 3])
def test_so_many_attempts_and_no_more(retries: int) -> None:
    opened = Opened(ONE)
    opened.reactor.held = [ONE]
    opened.open(retries)
    opened.reactor.pump([PAUSE_S] * max(0, retries - 2))
    assert bool(opened.results) == (retries == 1)

    opened.reactor.advance(PAUSE_S)
    assert [type(result) for result in opened.results] == [CannotListenError]
    assert opened.reactor.getDelayedCalls() == []


def test_zero_retries_are_all_that_it_takes() -> None:
    opened = Opened(ONE)
    opened.reactor.held = [ONE]
    opened.open(0)
    opened.reactor.pump([PAUSE_S] * 100)
    assert opened.results == []
    opened.reactor.held.clear()
    opened.reactor.advance(PAUSE_S)
    assert opened.results == ["open"]


def test_closed_while_it_tries_it_tries_no_more() -> None:
    opened = Opened(ONE)
    opened.reactor.held = [ONE]
    opened.open(0)
    opened.listener.close()
    opened.reactor.held.clear()
    opened.reactor.advance(PAUSE_S)
    assert opened.reactor.held == []
    assert opened.reactor.getDelayedCalls() == []


def test_a_port_that_is_closing_is_waited_for() -> None:
    opened = Opened(ONE)
    opened.open()
    closed: list[object] = []
    opened.listener.close().addCallback(closed.append)
    opened.open(1)
    assert opened.results == ["open"]
    assert closed == []
    opened.reactor.end_closing()
    assert closed == [None]
    assert opened.results == ["open", "open"]
    assert opened.reactor.held == [ONE]


def test_opened_and_closed_while_it_is_closing_it_stays_closed() -> None:
    opened = Opened(ONE)
    opened.open()
    opened.listener.close()
    opened.open(1)
    opened.listener.close()
    opened.reactor.end_closing()
    assert opened.reactor.held == []


def test_a_socket_that_systemd_did_not_open_is_no_reason_to_try_again() -> None:
    opened = Opened(ONE, ("systemd:domain=INET:name=none", 0))
    opened.open(0)
    assert [type(result) for result in opened.results] == [ValueError]
    assert "systemd has opened no such socket" in str(opened.results[0])
    opened.reactor.end_closing()
    assert opened.reactor.held == []


@pytest.mark.parametrize(("configured", "used"), [(-1, 50), (0, 50), (7, 7)])
def test_backlog(configured: int, used: int) -> None:
    reactor = Reactor()
    Listener(reactor, "client", [ONE], Factory(), configured).bind()
    assert reactor.backlogs == [used]


@pytest.mark.parametrize(("port", "low"), [(0, False), (1, True), (1023, True), (1024, False)])
def test_low_ports_need_privileges(port: int, low: bool) -> None:
    assert Opened(("", 2181), ("", port)).listener.needs_privileges == low
