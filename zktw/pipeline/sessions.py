"""SessionTracker: who is alive (wire document, b.2 and b.11). Told the time; decides who has expired."""

import struct

from zktw.terms.limits import STALL_MS

_MASK = 0xFFFF_FFFF_FFFF_FFFF
_LCG_MULTIPLIER, _LCG_ADDEND, _LCG_MASK = 0x5DEECE66D, 0xB, (1 << 48) - 1
_SUPER_SECRET = 0xB3415C00
_WORD = struct.Struct("<I")
NO_PASSWORD = bytes(16)
# Who speaks for a session whose connection has ended: nobody, until somebody comes with it. None is not known yet.
NOBODY = object()


def password_of(session_id: int) -> bytes:
    """The sixteen bytes that prove a session, the same on every server: Java's generator seeded with the id."""
    state = ((session_id ^ _SUPER_SECRET) ^ _LCG_MULTIPLIER) & _LCG_MASK
    password = b""
    for _ in range(4):
        state = (state * _LCG_MULTIPLIER + _LCG_ADDEND) & _LCG_MASK
        password += _WORD.pack((state >> 16) & 0xFFFF_FFFF)
    return password


def first_session_id(sid: int, wall_ms: int) -> int:
    """Where a server begins to count: its number in the top byte, then the time.

    Apache takes a monotonic time; that of the wall does not begin again with the host, so no id is given twice.
    """
    value = (((wall_ms << 24) & _MASK) >> 8 | (sid & 0xFF) << 56) & _MASK
    signed = value - (1 << 64) if value >> 63 else value
    return signed + 1 if signed == -(2**63) else signed


class Session:
    """One client's session. owner is who speaks for it here: a connection, NOBODY, or None where that is not known."""

    __slots__ = ("bucket_ms", "closing", "heard_ms", "id", "owner", "timeout_ms")

    def __init__(self, session_id: int, timeout_ms: int, now_ms: float) -> None:
        self.id = session_id
        self.timeout_ms = timeout_ms
        self.heard_ms = now_ms
        self.bucket_ms = 0
        self.owner: object | None = None
        # Its end is on its way: nothing that it asks is taken any more.
        self.closing = False


class SessionTracker:
    """Sessions in buckets of one tick. Whoever spoke stays in its bucket until that is due, and is then moved on.

    So hearing of a session is one assignment: session.heard_ms = now_ms.
    """

    def __init__(self, sid: int, tick_ms: int, now_ms: float, wall_ms: int) -> None:
        self.sessions: dict[int, Session] = {}
        self._tick_ms = tick_ms
        self._buckets: dict[int, dict[int, None]] = {}
        self._next_id = first_session_id(sid, wall_ms)
        # The first bucket that was not looked at yet.
        self._next_ms = self._bucket_of(now_ms)

    def _bucket_of(self, at_ms: float) -> int:
        return (int(at_ms) // self._tick_ms + 1) * self._tick_ms

    def new_id(self) -> int:
        """An id that no session has had."""
        while self._next_id in self.sessions:
            self._next_id += 1
        session_id = self._next_id
        self._next_id += 1
        return session_id

    def add(self, session_id: int, timeout_ms: int, now_ms: float) -> Session:
        """A session begins, or is known from before; it has its whole timeout before it."""
        session = self.sessions.get(session_id)
        if session is None:
            session = self.sessions[session_id] = Session(session_id, timeout_ms, now_ms)
        session.timeout_ms = timeout_ms
        session.heard_ms = now_ms
        self._place(session)
        return session

    def adopt(self, session: Session) -> None:
        """A session of another tracker is to be looked after here."""
        self.sessions[session.id] = session
        session.bucket_ms = 0
        self._place(session)

    def _place(self, session: Session) -> None:
        self._take_out(session)
        session.bucket_ms = max(self._bucket_of(session.heard_ms + session.timeout_ms), self._next_ms)
        self._buckets.setdefault(session.bucket_ms, {})[session.id] = None

    def remove(self, session_id: int) -> Session | None:
        """It has ended."""
        session = self.sessions.pop(session_id, None)
        if session is not None:
            self._take_out(session)
        return session

    def _take_out(self, session: Session) -> None:
        bucket = self._buckets.get(session.bucket_ms)
        if bucket is not None:
            bucket.pop(session.id, None)
            if not bucket:
                # Where another server judges sessions no clock comes by that would remove it.
                del self._buckets[session.bucket_ms]

    @property
    def deadline_ms(self) -> float:
        """When to call on_clock: at the end of each tick."""
        return self._next_ms

    def on_clock(self, now_ms: float) -> list[Session]:
        """Who has not been heard of in time; each is told of once and is closing from now on.

        A call that comes late tells of a stall of ours: what the clients sent meanwhile is still to be read, so nobody
        is judged before the next tick.
        """
        late_ms = now_ms - self._next_ms
        if late_ms > max(STALL_MS, self._tick_ms / 2):
            moved = self._bucket_of(now_ms)
            while self._next_ms < moved:
                self._merge(self._next_ms, moved)
                self._next_ms += self._tick_ms
            return []
        expired = []
        while self._next_ms <= now_ms:
            due = self._buckets.pop(self._next_ms, {})
            bucket_ms = self._next_ms
            self._next_ms += self._tick_ms
            for session_id in due:
                session = self.sessions[session_id]
                if session.closing:
                    continue
                if self._bucket_of(session.heard_ms + session.timeout_ms) > bucket_ms:
                    self._place(session)
                else:
                    session.closing = True
                    expired.append(session)
        return expired

    def _merge(self, bucket_ms: int, into_ms: int) -> None:
        for session_id in self._buckets.pop(bucket_ms, {}):
            self.sessions[session_id].bucket_ms = into_ms
            self._buckets.setdefault(into_ms, {})[session_id] = None

    def buckets(self) -> list[tuple[int, list[int]]]:
        """(when, the sessions that end then unless they are heard of), soonest first, by what is known now."""
        by_time: dict[int, list[int]] = {}
        for session in self.sessions.values():
            by_time.setdefault(self._bucket_of(session.heard_ms + session.timeout_ms), []).append(session.id)
        return sorted(by_time.items())
