"""Dial: all addresses at once, the first that answers wins, and a failure says whether all have refused."""

import errno
import socket
from typing import Any

import pytest
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectError, ConnectionRefusedError, TimeoutError
from twisted.internet.protocol import Protocol
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure

from zktw.net.dialler import Dial, DialError, is_literal, tune

ONE, TWO, SIX = ("192.0.2.1", 3888), ("192.0.2.2", 3888), ("2001:db8::1", 3888)


class Names:
    """A resolver that answers when the test wants it to."""

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}

    def resolveHostName(self, receiver: Any, name: str, *_: Any) -> Any:
        self.asked[name] = receiver
        return receiver

    def answer(self, name: str, *hosts: str) -> None:
        receiver = self.asked.pop(name)
        for host in hosts:
            kind = IPv6Address if ":" in host else IPv4Address
            receiver.addressResolved(kind("TCP", host, 0))
        receiver.resolutionComplete()


def memory_reactor(names: Names) -> Any:
    reactor: Any = MemoryReactorClock()
    reactor.installNameResolver(names)
    return reactor


class Attempt:
    """A dial under way, and what came of it."""

    def __init__(self, *addresses: tuple[str, int], timeout_ms: float = 5000) -> None:
        self.names = Names()
        self.reactor = memory_reactor(self.names)
        self.made: list[Any] = []
        self.failed: list[BaseException] = []
        self.dial = Dial(self.reactor, addresses, Protocol, timeout_ms)
        self.dial.done.addCallbacks(self.made.append, lambda failure: self.failed.append(failure.value))

    @property
    def dialled(self) -> list[tuple[str, int]]:
        return [(host, port) for host, port, *_ in self.reactor.tcpClients]

    def connect(self, number: int) -> None:
        self.reactor.tcpClients[number][2].buildProtocol(None).makeConnection(StringTransport())

    def fail(self, number: int, error: Exception | None = None) -> None:
        factory, connector = self.reactor.tcpClients[number][2], self.reactor.connectors[number]
        factory.clientConnectionFailed(connector, Failure(error or ConnectionRefusedError()))

    def error(self) -> DialError:
        assert not self.made
        (error,) = self.failed
        assert isinstance(error, DialError)
        return error


def test_all_addresses_are_dialled_at_once_and_the_first_to_answer_wins() -> None:
    attempt = Attempt(ONE, TWO, SIX)
    assert attempt.dialled == [ONE, TWO, SIX]
    attempt.fail(0)
    attempt.connect(1)
    assert len(attempt.made) == 1
    assert attempt.failed == []
    assert [connector.stoppedConnecting for connector in attempt.reactor.connectors] == [False, False, True]


@pytest.mark.parametrize(
    ("errors", "refused", "reset"),
    [
        ([None, None], True, False),
        ([None, TimeoutError()], False, False),
        ([ConnectError(errno.EHOSTUNREACH), None], False, False),
        ([ConnectError(errno.ECONNRESET), None], False, True),
    ],
)
def test_refused_means_that_every_address_has_refused(
    errors: list[Exception | None], refused: bool, reset: bool
) -> None:
    attempt = Attempt(ONE, TWO)
    attempt.fail(0, errors[0])
    assert attempt.failed == []
    attempt.fail(1, errors[1])
    error = attempt.error()
    assert (error.refused, error.reset) == (refused, reset)
    assert "192.0.2.1:3888: " in str(error)
    assert "192.0.2.2:3888: " in str(error)


def test_names_are_asked_for_and_all_their_addresses_dialled() -> None:
    attempt = Attempt(("zk1.example", 3888), ONE)
    assert attempt.dialled == [ONE]
    attempt.fail(0)
    assert attempt.failed == []  # the name may yet lead somewhere
    attempt.names.answer("zk1.example", "192.0.2.7", "2001:db8::7", "192.0.2.7")
    assert attempt.dialled == [ONE, ("192.0.2.7", 3888), ("2001:db8::7", 3888)]
    attempt.connect(2)
    assert len(attempt.made) == 1


def test_an_unknown_name_is_no_refusal() -> None:
    attempt = Attempt(("zk1.example", 3888), ONE)
    attempt.fail(0)
    attempt.names.answer("zk1.example")
    assert not attempt.error().refused
    assert "zk1.example is not known" in str(attempt.error())


def test_a_name_that_answers_after_the_end_is_not_dialled() -> None:
    attempt = Attempt(("zk1.example", 3888), ONE)
    attempt.connect(0)
    attempt.names.answer("zk1.example", "192.0.2.7")
    assert attempt.dialled == [ONE]
    assert len(attempt.made) == 1


def test_an_attempt_takes_no_longer_than_it_may() -> None:
    attempt = Attempt(ONE, timeout_ms=1500)
    assert attempt.reactor.tcpClients[0][3] == 1.5


def test_given_up_nothing_more_is_told() -> None:
    attempt = Attempt(ONE, TWO, ("zk1.example", 3888))
    attempt.dial.cancel()
    attempt.dial.cancel()
    attempt.names.answer("zk1.example", "192.0.2.7")
    assert attempt.dialled == [ONE, TWO]
    assert [connector.stoppedConnecting for connector in attempt.reactor.connectors] == [True, True]
    assert attempt.made == []
    assert attempt.failed == []


def test_literals() -> None:
    assert [is_literal(host) for host in ("10.0.0.1", "::1", "zk1", "10.0.0", "")] == [True, True, False, False, False]


class Socket:
    """Keeps the options that it is given."""

    def __init__(self) -> None:
        self.options: dict[int, int] = {}

    def setsockopt(self, level: int, option: int, value: int) -> None:
        assert level == socket.IPPROTO_TCP
        self.options[option] = value


class Tuned:
    """A transport, with or without a socket."""

    def __init__(self, handle: Socket | None) -> None:
        self.nodelay: bool | None = None
        self.keepalive: bool | None = None
        if handle is not None:
            self.getHandle = lambda: handle

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.nodelay = enabled

    def setTcpKeepAlive(self, enabled: bool) -> None:
        self.keepalive = enabled


def test_a_simulated_transport_has_no_socket_to_tune() -> None:
    transport = Tuned(None)
    tune(transport, nodelay=False, keepalive=True, user_timeout_ms=1000)
    assert (transport.nodelay, transport.keepalive) == (False, True)


@pytest.mark.parametrize(
    ("user_timeout_ms", "timeout", "idle"),
    [(10_000, 10_000, 10), (300, 300, 1), (2**40, 2**31 - 1, 32767)],
)
def test_a_socket_is_told_how_long_it_may_wait(user_timeout_ms: int, timeout: int, idle: int) -> None:
    handle = Socket()
    tune(Tuned(handle), keepalive=True, user_timeout_ms=user_timeout_ms)
    assert handle.options[socket.TCP_USER_TIMEOUT] == timeout
    assert handle.options[socket.TCP_KEEPIDLE] == idle
    # The system takes them: nothing here is out of its bounds.
    with socket.socket() as real:
        for option, value in handle.options.items():
            real.setsockopt(socket.IPPROTO_TCP, option, value)


def test_without_a_bound_the_system_s_own_stays() -> None:
    handle = Socket()
    tune(Tuned(handle))
    assert handle.options == {}
