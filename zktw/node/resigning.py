"""Resigning: a server that is told to stop lets what is in flight come to its end before it goes."""

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred, succeed

from zktw.node.clock import Clock

LOOK_MS = 1


class Ending(Protocol):
    """A role that can end in order."""

    def deafen(self) -> None:
        """Begin nothing more for anybody."""

    @property
    def is_quiet(self) -> bool:
        """Whether all that was begun is done, and told to whom it concerns."""


def drain(clock: Clock, role: Ending, limit_ms: float) -> Deferred[None]:
    """Fires when the role is quiet, or after limit_ms at the latest."""
    role.deafen()
    if role.is_quiet or limit_ms <= 0:
        return succeed(None)
    drained: Deferred[None] = Deferred()
    ends_ms = clock.now_ms() + limit_ms

    def look() -> None:
        now_ms = clock.now_ms()
        if role.is_quiet or now_ms >= ends_ms:
            drained.callback(None)
        else:
            alarm.set(now_ms + LOOK_MS)

    alarm = clock.alarm(look)
    alarm.set(clock.now_ms() + LOOK_MS)
    return drained


def in_turn(clock: Clock, first: Deferred[None], then: Callable[[], Deferred[Any]]) -> Deferred[Any]:
    """then() in a turn of its own, after first has fired: closed sockets are closed by then."""
    done: Deferred[Any] = Deferred()

    def go_on() -> None:
        then().chainDeferred(done)

    first.addCallback(lambda _: clock.soon(go_on))
    return done
