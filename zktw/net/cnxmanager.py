"""QuorumCnxManager: a connection for each pair of servers, dialled by either and kept if the greater sid dialled.

It decides nothing about elections: it keeps connections up, hands messages over, and tells when a server is heard,
lost, or known to be gone (wire document, d.1 and d.2).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from zktw.net.dialler import Dial, DialError, tune
from zktw.net.electioncnxn import ElectionCnxn
from zktw.terms.limits import ELECTION_STRANGERS_MAX
from zktw.terms.vote import Notification
from zktw.wire.votes import OBSERVER_SID, Opening, decode_notification, encode_notification, encode_opening

log = Logger()

# After a refusal: the pace while we look for a leader, and while all is well (the peer dials us when it starts).
REDIAL_HURRIED_MS = 100
REDIAL_SETTLED_MS = 1000
# A greater sid closes what we dialled and dials back; if that does not come, we knock again.
DIAL_BACK_WAIT_MS = 1000
# A port that is just being closed, its process being dead, hangs up instead of refusing: look again soon.
HUNG_UP_MS = 20


class ElectionEvents(Protocol):
    """What the manager tells the election."""

    def on_notification(self, notification: Notification) -> None:
        """A message came."""

    def on_connected(self, sid: int) -> None:
        """A connection to sid is new."""

    def on_disconnected(self, sid: int) -> None:
        """The connection to sid ended."""

    def on_refused(self, sid: int) -> None:
        """Without a connection to sid, every address of it has refused one."""


class _Peer:
    """One other server: its addresses, its connection, and the attempts to have one."""

    def __init__(
        self, sid: int, addresses: Sequence[tuple[str, int]], wanted: bool, *, configured: bool = True
    ) -> None:
        self.sid = sid
        self.configured = configured
        self.addresses = addresses
        # Dialled again and again; other servers (observers) are only dialled back.
        self.wanted = wanted
        self.cnxn: ElectionCnxn | None = None
        self.dial: Dial | None = None
        self.alarm: Any = None
        self.knocked_ms = float("-inf")
        self.said = ""

    def quiet(self) -> None:
        """Stop trying."""
        if self.alarm is not None and self.alarm.active():
            self.alarm.cancel()
        self.alarm = None
        dial, self.dial = self.dial, None
        if dial is not None:
            dial.cancel()


class QuorumCnxManager:
    """All election connections of one server. addresses are (host, port) as configured, by sid, ours included."""

    def __init__(
        self,
        reactor: Any,
        my_sid: int,
        voters: Mapping[int, Sequence[tuple[str, int]]],
        others: Mapping[int, Sequence[tuple[str, int]]],
        events: ElectionEvents,
        *,
        multi_address: bool = False,
        connect_timeout_ms: float = 5000,
        opening_timeout_ms: float = 10_000,
        keepalive: bool = False,
        user_timeout_ms: int = 0,
    ) -> None:
        self.my_sid = my_sid
        self._reactor = reactor
        self._events = events
        self._connect_timeout_ms = connect_timeout_ms
        self._opening_timeout_ms = opening_timeout_ms
        self._keepalive = keepalive
        self._user_timeout_ms = user_timeout_ms
        self._multi_address = multi_address
        self._opening = b""
        self.move({**voters, **others}[my_sid])
        self._peers: dict[int, _Peer] = {}
        # Accepted connections that have not said who they are, each with the alarm that ends it.
        self._strangers: dict[ElectionCnxn, Any] = {}
        # Connections by which we have knocked at a greater sid, until it closes them.
        self._knocks: dict[ElectionCnxn, _Peer] = {}
        self._configured = 0
        self._nameless = 0
        self._hurried = True
        self._running = False
        self.use(voters, others)
        self.factory = Factory.forProtocol(self._accept)
        self.factory.noisy = False

    def move(self, addresses: Sequence[tuple[str, int]]) -> None:
        """Whom we connect to from now on is told that we listen here."""
        texts = [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in addresses]
        self._opening = encode_opening(self.my_sid, texts, self._multi_address)

    def use(
        self, voters: Mapping[int, Sequence[tuple[str, int]]], others: Mapping[int, Sequence[tuple[str, int]]]
    ) -> None:
        """The members, from now on; connections there are last, even with those that are none any more."""
        members = {**others, **voters}
        members.pop(self.my_sid, None)
        for sid, peer in list(self._peers.items()):
            if sid not in members and peer.configured:
                peer.configured = peer.wanted = False
                peer.quiet()
                self._release(peer)
        for sid, addresses in members.items():
            peer = self._peers.setdefault(sid, _Peer(sid, addresses, False))
            moved = peer.addresses != addresses
            peer.addresses, peer.wanted, peer.configured = addresses, sid in voters, True
            if moved:
                peer.quiet()
            if peer.wanted and peer.cnxn is None:
                self._dial(peer)
        self._configured = len(members)

    def start(self) -> None:
        """Dial every voter."""
        self._running = True
        for peer in list(self._peers.values()):
            if peer.wanted:
                self._dial(peer)

    def stop(self) -> None:
        """Close everything at once: this server has no more to say."""
        self._running = False
        for peer in self._peers.values():
            peer.quiet()
            if peer.cnxn is not None:
                peer.cnxn.abort()
        for other in [*self._strangers, *self._knocks]:
            other.abort()

    def hurry(self, hurried: bool) -> None:
        """Whether we look for a leader: then whoever is not connected is dialled now, and often."""
        self._hurried = hurried
        if not hurried or not self._running:
            return
        for peer in list(self._peers.values()):
            if peer.wanted and peer.cnxn is None and peer.dial is None:
                self._dial(peer)

    def send(self, sid: int, notification: Notification) -> None:
        """Hand a message to the connection; without one it is void, since where we stand is said on each new one."""
        peer = self._peers.get(sid)
        if peer is not None and peer.cnxn is not None:
            peer.cnxn.send(encode_notification(notification))

    def is_connected(self, sid: int) -> bool:
        """Whether there is a connection to sid."""
        peer = self._peers.get(sid)
        return peer is not None and peer.cnxn is not None

    # -- dialling ----------------------------------------------------------------------------------------------------

    def _dial(self, peer: _Peer) -> None:
        if not self._running or peer.dial is not None or not peer.addresses:
            return
        peer.quiet()
        for knock in [cnxn for cnxn, other in self._knocks.items() if other is peer]:
            del self._knocks[knock]
            knock.abort()
        dial = Dial(self._reactor, peer.addresses, self._dialled, self._connect_timeout_ms)
        peer.dial = dial
        dial.done.addCallbacks(
            self._dial_connected, self._dial_failed, callbackArgs=(peer, dial), errbackArgs=(peer, dial)
        )

    def _dialled(self) -> ElectionCnxn:
        return ElectionCnxn(self, self._opening, self._made)

    def _dial_connected(self, protocol: IProtocol, peer: _Peer, dial: Dial) -> None:
        assert isinstance(protocol, ElectionCnxn)
        if peer.dial is dial:
            peer.dial = None
        if peer.sid > self.my_sid or not self._running:
            # The smaller sid only knocks: the other end closes and dials back.
            if self._running:
                self._knocks[protocol] = peer
                peer.knocked_ms = self._now_ms()
                self._redial_in(peer, DIAL_BACK_WAIT_MS)
            else:
                protocol.abort()
            return
        peer.said = ""
        self._adopt(peer, protocol)

    def _dial_failed(self, failure: Failure, peer: _Peer, dial: Dial) -> None:
        if peer.dial is dial:
            peer.dial = None
        if not self._running or peer.cnxn is not None:
            return
        refused = isinstance(failure.value, DialError) and failure.value.refused
        reason = failure.getErrorMessage()
        if reason != peer.said:
            peer.said = reason
            log.info("cannot reach server {sid} for election: {reason}", sid=peer.sid, reason=reason)
        if peer.wanted:
            hung_up = isinstance(failure.value, DialError) and failure.value.reset
            pace_ms = REDIAL_HURRIED_MS if self._hurried else REDIAL_SETTLED_MS
            self._redial_in(peer, HUNG_UP_MS if hung_up else pace_ms)
        self._release(peer)
        if refused:
            self._events.on_refused(peer.sid)

    def _redial_in(self, peer: _Peer, delay_ms: float) -> None:
        if not self._running or peer.cnxn is not None or not peer.wanted:
            return
        if peer.alarm is not None and peer.alarm.active():
            peer.alarm.cancel()
        peer.alarm = self._reactor.callLater(delay_ms / 1000, self._dial, peer)

    # -- connections -------------------------------------------------------------------------------------------------

    def _accept(self) -> ElectionCnxn:
        return ElectionCnxn(self, None, self._made_stranger)

    def _made(self, cnxn: ElectionCnxn) -> None:
        cnxn.connected_ms = self._now_ms()
        tune(cnxn.transport, keepalive=self._keepalive, user_timeout_ms=self._user_timeout_ms)

    def _made_stranger(self, cnxn: ElectionCnxn) -> None:
        self._made(cnxn)
        if not self._running or len(self._strangers) >= ELECTION_STRANGERS_MAX:
            log.warn("closing election connection of {peer}: too many that say nothing", peer=cnxn.peer)
            cnxn.abort()
            return
        self._strangers[cnxn] = self._reactor.callLater(self._opening_timeout_ms / 1000, self._too_late, cnxn)

    def _too_late(self, cnxn: ElectionCnxn) -> None:
        log.warn("closing election connection of {peer}: it does not say who it is", peer=cnxn.peer)
        cnxn.abort()

    def _forget_stranger(self, cnxn: ElectionCnxn) -> None:
        alarm = self._strangers.pop(cnxn, None)
        if alarm is not None and alarm.active():
            alarm.cancel()

    def on_opening(self, cnxn: ElectionCnxn, opening: Opening) -> None:
        """Somebody has dialled us and says who it is."""
        self._forget_stranger(cnxn)
        sid = opening.sid
        if sid == OBSERVER_SID:
            self._nameless -= 1
            sid = self._nameless
        if sid == self.my_sid:
            log.warn(
                "closing election connection of {peer}: it says that it is server {sid}, as we are",
                peer=cnxn.peer,
                sid=sid,
            )
            cnxn.abort()
            return
        peer = self._peers.get(sid)
        if peer is None:
            if len(self._peers) - self._configured >= ELECTION_STRANGERS_MAX:
                log.warn("closing election connection of server {sid}: too many that are not configured", sid=sid)
                cnxn.abort()
                return
            peer = self._peers[sid] = _Peer(sid, (), False, configured=False)
        if sid < self.my_sid and sid >= 0:
            self._dial_back(peer, cnxn, opening)
            return
        peer.quiet()
        self._adopt(peer, cnxn)

    def _dial_back(self, peer: _Peer, cnxn: ElectionCnxn, opening: Opening) -> None:
        """A smaller sid has knocked: it has no connection to us, as it sees it, so make a new one."""
        cnxn.close()
        reachable = [(host, port) for host, port in opening.addresses if host not in ("0.0.0.0", "::")]
        if reachable and not peer.wanted:
            peer.addresses = reachable
        if peer.cnxn is not None:
            if self._now_ms() - peer.cnxn.connected_ms < DIAL_BACK_WAIT_MS:
                return  # both have dialled at the same time, and ours is the one to keep
            stale, peer.cnxn = peer.cnxn, None
            stale.abort()
            self._events.on_disconnected(peer.sid)
        self._dial(peer)
        self._release(peer)

    def _adopt(self, peer: _Peer, cnxn: ElectionCnxn) -> None:
        older, peer.cnxn = peer.cnxn, cnxn
        cnxn.sid = peer.sid
        if peer.alarm is not None and peer.alarm.active():
            peer.alarm.cancel()
        if older is not None:
            older.abort()
        self._events.on_connected(peer.sid)

    def on_message(self, cnxn: ElectionCnxn, frame: bytes) -> None:
        """A message on a connection whose other end is known; others have no business to send any."""
        peer = None if cnxn.sid is None else self._peers.get(cnxn.sid)
        if peer is not None and peer.cnxn is cnxn:
            self._events.on_notification(decode_notification(peer.sid, frame))

    def on_lost(self, cnxn: ElectionCnxn, reason: str) -> None:
        """A connection ended: dial again at once, which tells a server that is gone from one that has hung up."""
        self._forget_stranger(cnxn)
        knocked = self._knocks.pop(cnxn, None)
        if knocked is not None and knocked.dial is None:
            self._redial_in(knocked, HUNG_UP_MS)
        peer = None if cnxn.sid is None else self._peers.get(cnxn.sid)
        if peer is None or peer.cnxn is not cnxn:
            return
        peer.cnxn = None
        if not self._running:
            return
        if self._now_ms() - peer.knocked_ms < DIAL_BACK_WAIT_MS:
            # Our knock may have crossed its dial: then it has ended this connection for another, and if we knocked at
            # once, an Apache server would end that one too, and so on for ever.
            self._redial_in(peer, REDIAL_HURRIED_MS)
        elif peer.wanted:
            self._dial(peer)
        self._release(peer)
        self._events.on_disconnected(peer.sid)

    def _release(self, peer: _Peer) -> None:
        """Keep nothing of a server that is not configured, once it has neither a connection nor an attempt."""
        if not peer.configured and peer.cnxn is None and peer.dial is None and self._peers.get(peer.sid) is peer:
            del self._peers[peer.sid]

    def _now_ms(self) -> float:
        now: float = self._reactor.seconds() * 1000
        return now
