"""Asks servers for their roles, all at once and without waiting for any: the word srvr on each client port."""

import errno
import re
import selectors
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from zktw.tools.ensemble_members import HOST, Member, State

# Often where something is about to change, else seldom: each question costs a server a connection.
FAST_MS, SLOW_MS = 10.0, 200.0
# A server that accepts and says nothing, as one that was stopped from outside, has no role that it could act in.
ANSWER_MS = 1000.0
_ANSWER_BYTES_MAX = 65_536

_MODE = re.compile(r"^Mode: (\S+)", re.MULTILINE)
_ZXID = re.compile(r"^Zxid: (\S+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server says of itself: leader, follower, observer, standalone or read-only; its last zxid as text."""

    role: str
    zxid: str


def answer_in(text: str) -> Answer | None:
    """What an answer to srvr tells; None if it tells no role."""
    role, zxid = _MODE.search(text), _ZXID.search(text)
    return Answer(role[1], zxid[1] if zxid else "?") if role else None


Seen = Callable[[int, "Answer | None", float], None]


class _Question:
    """One srvr on its way. Calls done once, with the text, "" where there is none."""

    def __init__(
        self, selector: selectors.BaseSelector, port: int, asked_ms: float, done: Callable[[str], None]
    ) -> None:
        self.asked_ms = asked_ms
        self._selector = selector
        self._done = done
        self._text = bytearray()
        self._socket = socket.socket()
        self._socket.setblocking(False)
        if self._socket.connect_ex((HOST, port)) not in (0, errno.EINPROGRESS):
            self._socket.close()
            done("")
            return
        selector.register(self._socket, selectors.EVENT_WRITE, self._connected)

    def _connected(self) -> None:
        try:
            self._socket.send(b"srvr")
        except OSError:
            self.end("")
            return
        self._selector.modify(self._socket, selectors.EVENT_READ, self._readable)

    def _readable(self) -> None:
        try:
            piece = self._socket.recv(_ANSWER_BYTES_MAX)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        self._text += piece
        if not piece or len(self._text) > _ANSWER_BYTES_MAX:
            self.end(self._text.decode("utf-8", "replace"))

    def end(self, text: str | None) -> None:
        """Close; None: nobody is told."""
        self._selector.unregister(self._socket)
        self._socket.close()
        if text is not None:
            self._done(text)


class Watch:
    """One question at a time to each member that runs. seen(sid, answer, when it was asked in ms) is told of each.

    The selector's data are calls without arguments, for whoever selects to make.
    """

    def __init__(self, selector: selectors.BaseSelector, seen: Seen) -> None:
        self._selector = selector
        self._seen = seen
        self._asking: dict[int, _Question] = {}
        self._answered_ms: dict[int, float] = {}

    def ask(self, members: Iterable[Member], now_ms: float, interval_ms: float) -> float:
        """Ask those whose time has come; the milliseconds until one's next time."""
        soonest_ms = interval_ms
        for member in members:
            sid = member.sid
            question = self._asking.get(sid)
            if question is not None and (now_ms - question.asked_ms >= ANSWER_MS or member.state is not State.RUNNING):
                question.end("" if member.state is State.RUNNING else None)
                self._asking.pop(sid, None)
            if member.state is not State.RUNNING or sid in self._asking:
                continue
            left_ms = self._answered_ms.get(sid, now_ms - interval_ms) + interval_ms - now_ms
            if left_ms <= 0:
                self._begin(member, now_ms)
                left_ms = interval_ms
            soonest_ms = min(soonest_ms, left_ms)
        return soonest_ms

    def _begin(self, member: Member, now_ms: float) -> None:
        sid = member.sid
        ended = False

        def done(text: str) -> None:
            nonlocal ended
            ended = True
            self._asking.pop(sid, None)
            self._answered_ms[sid] = now_ms
            self._seen(sid, answer_in(text), now_ms)

        question = _Question(self._selector, member.seat.client_port, now_ms, done)
        if not ended:
            self._asking[sid] = question

    def close(self) -> None:
        """Drop all questions."""
        for question in self._asking.values():
            question.end(None)
        self._asking.clear()
