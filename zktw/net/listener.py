"""Listener: one factory on one or several addresses, bound with retries."""

import errno
from collections.abc import Sequence
from typing import Any

from twisted.internet.abstract import isIPv6Address
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred, succeed
from twisted.internet.endpoints import TCP4ServerEndpoint, TCP6ServerEndpoint, serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.logger import Logger
from twisted.python.failure import Failure

log = Logger()

BIND_PAUSE_MS = 1000
# As an address: IPv6, and with it IPv4, as a server in Java listens; IPv4 alone where the system has nothing else.
BOTH = "*"
_NO_IPV6 = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
# Ports below this need privileges, which twistd sheds after privilegedStartService.
UNPRIVILEGED_PORT_MIN = 1024


def endpoint_for(reactor: Any, host: str, port: int, backlog: int = -1) -> Any:
    """The endpoint of a configured address; "" is every one of IPv4, "systemd:..." a socket that systemd has opened."""
    if host.startswith("systemd:"):
        try:
            return serverFromString(reactor, host)
        except (LookupError, TypeError, ValueError) as error:
            raise ValueError(f"{host}: systemd has opened no such socket for us ({error})") from error
    if host == BOTH:
        host = "::"
    kind = TCP6ServerEndpoint if isIPv6Address(host) else TCP4ServerEndpoint
    return kind(reactor, port, backlog=backlog if backlog > 0 else 50, interface=host)


class Listener:
    """Binds every address or none. open() and close() may alternate as roles change."""

    def __init__(
        self,
        reactor: Any,
        what: str,
        addresses: Sequence[tuple[str, int]],
        factory: IProtocolFactory,
        backlog: int = -1,
    ) -> None:
        self._reactor = reactor
        self._what = what
        self._addresses = addresses
        self._factory = factory
        self._backlog = backlog
        self._ports: list[IListeningPort] = []
        self._wanted = False
        self._closing: Deferred[Any] = succeed(None)

    @property
    def needs_privileges(self) -> bool:
        """Whether a port is so low that it can't be bound again once privileges are shed."""
        return any(0 < port < UNPRIVILEGED_PORT_MIN for _, port in self._addresses)

    def bind(self) -> None:
        """Bind now, once; raises CannotListenError, which names the address. Nothing if bound already."""
        if self._ports:
            return
        endpoints = [endpoint_for(self._reactor, host, port, self._backlog) for host, port in self._addresses]
        for (host, port), endpoint in zip(self._addresses, endpoints, strict=True):
            failure = self._listen(endpoint)
            if failure is not None and host == BOTH and _lacks_ipv6(failure):
                failure = self._listen(endpoint_for(self._reactor, "", port, self._backlog))
            if failure is not None:
                self._close_ports()
                failure.raiseException()

    def _listen(self, endpoint: Any) -> Failure | None:
        failures: list[Failure] = []
        # Server endpoints listen at once or fail at once.
        endpoint.listen(self._factory).addCallbacks(self._ports.append, failures.append)
        return failures[0] if failures else None

    def open(self, retries: int) -> Deferred[None]:
        """Bind, again and again at a pause, `retries` times (0: for ever). Fails with the last CannotListenError."""
        done: Deferred[None] = Deferred()
        self._wanted = True
        # A port that is closing still holds its address.
        self._closing.addCallback(lambda _: self._attempt(retries, 1, done))
        return done

    def _attempt(self, retries: int, number: int, done: Deferred[None]) -> None:
        if not self._wanted:
            done.callback(None)
            return
        try:
            self.bind()
        except CannotListenError as error:
            if retries and number >= retries:
                done.errback(error)
                return
            log.warn("cannot bind the {what} port, trying again: {error}", what=self._what, error=error)
            self._reactor.callLater(BIND_PAUSE_MS / 1000, self._attempt, retries, number + 1, done)
        except Exception as error:
            # An address that is none, a socket that systemd did not hand over: trying again would not help.
            done.errback(error)
        else:
            done.callback(None)

    def readdress(self, addresses: Sequence[tuple[str, int]]) -> None:
        """Listen elsewhere: now, where it is open. What fails is told, and tried again and again."""
        if list(addresses) == list(self._addresses):
            return
        self._addresses = addresses
        if self._wanted or self._ports:
            self._close_ports()
            self.open(0).addErrback(
                lambda failure: log.error(
                    "cannot bind the {what} port: {error}", what=self._what, error=failure.getErrorMessage()
                )
            )

    def close(self) -> Deferred[None]:
        """The ports refuse from now on; fires when they are free again."""
        self._wanted = False
        return self._close_ports()

    def _close_ports(self) -> Deferred[None]:
        ports, self._ports = self._ports, []
        closed: Deferred[None] = Deferred()
        if ports:
            stopped = DeferredList([maybeDeferred(port.stopListening) for port in ports])
            self._closing.addCallback(lambda _: stopped)
        self._closing.addCallback(lambda _: closed.callback(None))
        return closed


def _lacks_ipv6(failure: Failure) -> bool:
    error = failure.value
    return isinstance(error, CannotListenError) and getattr(error.socketError, "errno", None) in _NO_IPV6
