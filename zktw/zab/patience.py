"""Patience: how long a leader goes on without hearing of its learners (wire document, e.10)."""

from collections.abc import Callable, Iterable
from math import inf

from zktw.zab.broadcast import Broadcast
from zktw.zab.learnerhandler import LearnerHandler, LearnerPhase
from zktw.zab.office import Timing


def heard_until_ms(
    my_sid: int,
    handlers: Iterable[LearnerHandler],
    has_quorum: Callable[[list[int]], bool],
    silence_ms: float,
) -> float:
    """Until when, in monotonic milliseconds, those heard within silence_ms are a quorum together with us.

    Infinity where we are one alone, and where all that serve are none, which is looked at apart.
    """
    voters = [handler for handler in handlers if handler.phase == LearnerPhase.SERVING and not handler.observer]
    heard = [my_sid]
    if has_quorum(heard):
        return inf
    for handler in sorted(voters, key=lambda each: -each.heard_ms):
        heard.append(handler.sid)
        if has_quorum(heard):
            return handler.heard_ms + silence_ms
    return inf


def patience_ms(handler: LearnerHandler, timing: Timing) -> float:
    """How long this one may be silent."""
    return timing.sync_ms + (0 if handler.phase == LearnerPhase.SERVING else timing.init_ms)


def lags(handler: LearnerHandler, broadcast: Broadcast, now_ms: float, sync_ms: float) -> bool:
    """Whether a follower keeps others waiting for their commits: it is dropped, not waited for."""
    if handler.phase != LearnerPhase.SERVING or handler.observer:
        return False
    if broadcast.acked_by(handler.sid) >= handler.mark_zxid or not handler.mark_zxid:
        outstanding = broadcast.outstanding
        handler.mark_zxid, handler.mark_ms = outstanding[-1][0] if outstanding else 0, now_ms
        return False
    return now_ms - handler.mark_ms > sync_ms
