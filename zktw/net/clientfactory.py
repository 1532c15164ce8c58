"""ClientCnxnFactory: the connections of a client port, or of several."""

from collections.abc import Iterator
from typing import Any

from twisted.internet.protocol import ServerFactory
from twisted.logger import Logger

from zktw.net.clientcnxn import ClientCnxn
from zktw.net.clientservice import Service
from zktw.net.hosts import plain_host
from zktw.net.quiet import Quiet
from zktw.wire.client import ConnectRequest

log = Logger()

# Clients that are refused come again at once, and all of them do: one line of the log stands for many.
QUIET_MS = 10_000


class ClientCnxnFactory(ServerFactory):
    """How many connections there may be, and how long each may say nothing.

    A connection without a session has one deadline: by then its first word or frame has come whole, and the answer is
    taken. Bytes that drip in do not move it. Limits of 0 are none.
    """

    noisy = False

    def __init__(
        self,
        service: Service,
        reactor: Any,
        *,
        max_client_cnxns: int,
        max_cnxns: int,
        sessionless_timeout_ms: float,
        frame_bytes_max: int,
        keepalive: bool,
    ) -> None:
        self.service = service
        self.frame_bytes_max = frame_bytes_max
        self._reactor = reactor
        self._max_client_cnxns = max_client_cnxns
        self._max_cnxns = max_cnxns
        self._timeout_ms = max(1.0, sessionless_timeout_ms)
        self._keepalive = keepalive
        self._cnxns: dict[ClientCnxn, None] = {}
        # Deadlines. Patience is the same for all, so the first in the dict is the first to be too late.
        self._deadlines: dict[ClientCnxn, float] = {}
        # Clients that came while a new leader was looked for, and when they have waited long enough.
        self._waiting: dict[ClientCnxn, None] = {}
        self._hold: Any = None
        self._is_deaf = False
        self._number = 0
        self._by_host: dict[str, int] = {}
        self._alarm: Any = None
        self._rejections = Quiet(QUIET_MS)
        self._departures = Quiet(QUIET_MS)
        self._silences = Quiet(QUIET_MS)

    def buildProtocol(self, addr: Any) -> ClientCnxn | None:
        host = plain_host(str(getattr(addr, "host", "?")))
        if self._is_deaf:
            return None
        if 0 < self._max_client_cnxns <= self._by_host.get(host, 0):
            self._reject(host, f"its address has {self._max_client_cnxns} connections (maxClientCnxns)")
        elif 0 < self._max_cnxns <= len(self._cnxns):
            self._reject(host, f"there are {self._max_cnxns} connections (maxCnxns)")
        else:
            return ClientCnxn(self)
        return None

    def _reject(self, host: str, reason: str) -> None:
        self.service.count("connection_rejected")
        if count := self._rejections.due(self._now_ms()):
            log.warn(
                "rejecting client connection of {host}: {reason}{more}", host=host, reason=reason, more=_others(count)
            )

    def opened(self, cnxn: ClientCnxn) -> None:
        """A connection is there."""
        cnxn.transport.setTcpNoDelay(True)
        cnxn.transport.setTcpKeepAlive(self._keepalive)
        self._by_host[cnxn.host] = self._by_host.get(cnxn.host, 0) + 1
        self._cnxns[cnxn] = None
        self._deadlines[cnxn] = self._now_ms() + self._timeout_ms
        self._set_alarm()

    def answering(self, cnxn: ClientCnxn) -> None:
        """Its last answer is on its way: from now on its time runs anew."""
        if cnxn in self._cnxns:
            self._deadlines.pop(cnxn, None)
            self._deadlines[cnxn] = self._now_ms() + self._timeout_ms
            self._set_alarm()

    def has_session(self, cnxn: ClientCnxn) -> None:
        """It has sent its first frame: from now on its session's time counts."""
        self._deadlines.pop(cnxn, None)

    def next_number(self) -> int:
        """A number that no other client has."""
        self._number += 1
        return self._number

    def bytes_received(self, count: int) -> None:
        """So many have come."""
        self.service.count("bytes_received_count", count)

    def holds(self, cnxn: ClientCnxn) -> bool:
        """Whether a client may wait for a service that is soon to come: it need not connect again and again."""
        hold_ms = self.service.hold_ms
        if hold_ms <= 0:
            return False
        self._waiting[cnxn] = None
        if self._hold is None:
            self._hold = self._reactor.callLater(hold_ms / 1000, self.admit)
        return True

    def is_held(self, cnxn: ClientCnxn) -> bool:
        """Whether it waits so."""
        return cnxn in self._waiting

    def admit(self) -> None:
        """Clients that waited are served now, or turned away."""
        if self._hold is not None and self._hold.active():
            self._hold.cancel()
        self._hold = None
        waiting, self._waiting = self._waiting, {}
        for cnxn in waiting:
            cnxn.admit()

    def turned_away(self, cnxn: ClientCnxn, request: ConnectRequest) -> None:
        """A client came while none is served. It learns of that as from an Apache server: the connection ends."""
        self.service.count("cnxn_closed_without_zk_server_running")
        if count := self._departures.due(self._now_ms()):
            log.info(
                "closing client connection of {peer}: sessions are not served here yet ({wish}){more}",
                peer=cnxn.peer,
                wish=f"it has session 0x{request.session_id & (2**64 - 1):x}" if request.session_id else "a new one",
                more=_others(count),
            )

    def closed(self, cnxn: ClientCnxn) -> None:
        """A connection ended."""
        self._deadlines.pop(cnxn, None)
        self._waiting.pop(cnxn, None)
        if cnxn not in self._cnxns:
            return
        del self._cnxns[cnxn]
        left = self._by_host[cnxn.host] - 1
        if left:
            self._by_host[cnxn.host] = left
        else:
            del self._by_host[cnxn.host]
        if not self._deadlines and self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def connections(self) -> Iterator[ClientCnxn]:
        """The connections that are open."""
        return iter(list(self._cnxns))

    def deadlines(self) -> list[tuple[float, ClientCnxn]]:
        """When each connection ends if it stays silent, in the reactor's milliseconds."""
        deadlines = [(deadline_ms, cnxn) for cnxn, deadline_ms in self._deadlines.items()]
        for cnxn in self._cnxns:
            session = cnxn.client.session if cnxn.client is not None else None
            if session is not None:
                deadlines.append((session.heard_ms + session.timeout_ms, cnxn))
        return deadlines

    def __len__(self) -> int:
        return len(self._cnxns)

    def deafen_all(self) -> None:
        """The server is about to stop: what was asked is answered, and nothing more is taken."""
        self._is_deaf = True
        self.admit()
        for cnxn in self._cnxns:
            cnxn.deafen()

    def close_all(self) -> None:
        """The server stops: what was written still leaves."""
        for cnxn in list(self._cnxns):
            cnxn.close()

    def _set_alarm(self) -> None:
        """One for all: at the first deadline, or before it, where the connection that it was set for is gone."""
        if self._deadlines and self._alarm is None:
            delay_ms = max(0.0, next(iter(self._deadlines.values())) - self._now_ms())
            self._alarm = self._reactor.callLater(delay_ms / 1000, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        now_ms = self._now_ms()
        late = [cnxn for cnxn, deadline_ms in self._deadlines.items() if deadline_ms <= now_ms]
        for cnxn in late:
            self.service.count("sessionless_connections_expired")
            if count := self._silences.due(now_ms):
                log.info(
                    "closing client connection of {peer}: nothing whole came from it in {timeout:.0f} ms{more}",
                    peer=cnxn.peer,
                    timeout=self._timeout_ms,
                    more=_others(count),
                )
            # Should the transport not end by being asked to, it is asked less kindly then.
            self.answering(cnxn)
            cnxn.expire()
        self._set_alarm()

    def _now_ms(self) -> float:
        now: float = self._reactor.seconds() * 1000
        return now


def _others(count: int) -> str:
    return f" (and {count - 1} more since the last such line)" if count > 1 else ""
