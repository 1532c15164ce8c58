"""Dial: one attempt to reach a server by any of its addresses, all at the same time.

Names are looked up off the reactor at each attempt, so that a changed address is found (bug 1506) and a dead name
server delays nobody else (bug 2930).
"""

import errno
import socket
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import ConnectError, ConnectionRefusedError
from twisted.internet.interfaces import IAddress, IHostResolution, IProtocol, IResolutionReceiver
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

# What Linux takes.
KEEPALIVE_MAX_S = 32767
USER_TIMEOUT_MAX_MS = 2**31 - 1


class DialError(Exception):
    """No address could be reached.

    refused says that each one is there and has no process listening; reset, that one hung up before it had answered, as
    a port does that is just being closed.
    """

    def __init__(self, reason: str, refused: bool, reset: bool = False) -> None:
        super().__init__(reason)
        self.refused = refused
        self.reset = reset


def is_literal(host: str) -> bool:
    """Whether host is an address already, of either family."""
    return isIPAddress(host) or isIPv6Address(host)


@implementer(IResolutionReceiver)
class _Resolution:
    """Collects the addresses of one name."""

    def __init__(self, done: Callable[[list[str]], None]) -> None:
        self._done = done
        self._hosts: list[str] = []

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        pass

    def addressResolved(self, address: IAddress) -> None:
        assert isinstance(address, IPv4Address | IPv6Address)
        host = address.host
        if host not in self._hosts:
            self._hosts.append(host)

    def resolutionComplete(self) -> None:
        self._done(self._hosts)


class Dial:
    """One attempt. `done` fires with the protocol that connected first, or fails with DialError.

    reactor is as for build(): IReactorTCP, IReactorTime and a nameResolver. make is called for each connection tried.
    """

    def __init__(
        self, reactor: Any, addresses: Sequence[tuple[str, int]], make: Callable[[], Protocol], timeout_ms: float
    ) -> None:
        self.done: Deferred[IProtocol] = Deferred(lambda _: self.cancel())
        self._reactor = reactor
        self._factory = Factory.forProtocol(make)
        self._factory.noisy = False
        self._timeout_s = timeout_ms / 1000
        self._pending: dict[int, Deferred[IProtocol] | None] = {}
        self._failures: list[str] = []
        self._refused = True
        self._reset = False
        self._next = 0
        self._ended = False
        # Counted down when every name was asked for, so that a quick refusal does not end the attempt too soon.
        self._asking = len(addresses)
        for host, port in addresses:
            self._ask(host, port)

    def cancel(self) -> None:
        """Give up; `done` fires with nothing more."""
        if self._ended:
            return
        self._ended = True
        for attempt in list(self._pending.values()):
            if attempt is not None:
                attempt.cancel()

    def _ask(self, host: str, port: int) -> None:
        if is_literal(host):
            self._resolved(host, port, [host])
            return
        receiver = _Resolution(lambda hosts: self._resolved(host, port, hosts))
        self._reactor.nameResolver.resolveHostName(receiver, host, port)

    def _resolved(self, name: str, port: int, hosts: list[str]) -> None:
        self._asking -= 1
        if self._ended:
            return
        if not hosts:
            self._refused = False
            self._failures.append(f"{name} is not known")
        for host in hosts:
            self._connect(host, port)
        self._check()

    def _connect(self, host: str, port: int) -> None:
        endpoint_type = TCP6ClientEndpoint if isIPv6Address(host) else TCP4ClientEndpoint
        number = self._next
        self._next += 1
        self._pending[number] = None
        attempt = endpoint_type(self._reactor, host, port, timeout=self._timeout_s).connect(self._factory)
        if number in self._pending:
            self._pending[number] = attempt
        attempt.addCallbacks(
            self._connected, self._failed, callbackArgs=(number,), errbackArgs=(number, f"{host}:{port}")
        )

    def _connected(self, protocol: Any, number: int) -> None:
        self._pending.pop(number, None)
        if self._ended:
            protocol.transport.abortConnection()
            return
        self.cancel()
        self.done.callback(protocol)

    def _failed(self, failure: Failure, number: int, where: str) -> None:
        self._pending.pop(number, None)
        if isinstance(failure.value, CancelledError) and self._ended:
            return
        if not isinstance(failure.value, ConnectionRefusedError):
            self._refused = False
        if isinstance(failure.value, ConnectError) and failure.value.osError == errno.ECONNRESET:
            self._reset = True
        self._failures.append(f"{where}: {failure.getErrorMessage()}")
        self._check()

    def _check(self) -> None:
        if not self._ended and not self._asking and not self._pending:
            self._ended = True
            self.done.errback(DialError("; ".join(self._failures), self._refused and bool(self._failures), self._reset))


def tune(transport: Any, *, nodelay: bool = True, keepalive: bool = False, user_timeout_ms: int = 0) -> None:
    """Set what a long-lived connection between servers needs; the simulator's transports have no socket to tune.

    user_timeout_ms bounds how long sent bytes may go without an acknowledgement: keepalive alone does not see a host
    that vanishes while data is under way, and probes an idle connection only after two hours.
    """
    transport.setTcpNoDelay(nodelay)
    transport.setTcpKeepAlive(keepalive)
    handle = getattr(transport, "getHandle", lambda: None)()
    if handle is None or not user_timeout_ms:
        return
    seconds = min(max(1, user_timeout_ms // 1000), KEEPALIVE_MAX_S)
    for name, value in (
        ("TCP_USER_TIMEOUT", min(user_timeout_ms, USER_TIMEOUT_MAX_MS)),
        ("TCP_KEEPIDLE", seconds),
        ("TCP_KEEPINTVL", seconds),
        ("TCP_KEEPCNT", 2),
    ):
        option = getattr(socket, name, None)
        if option is not None:
            handle.setsockopt(socket.IPPROTO_TCP, option, value)
