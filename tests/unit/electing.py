"""What the tests of the election share: ensembles, notifications, and what effects hold."""

from collections.abc import Sequence

from zktw.quorum.election import FastLeaderElection
from zktw.quorum.ensemble import Ensemble
from zktw.terms.vote import Notification, PeerState, Vote
from zktw.wire.effects import Elected, ElectionEffect, SendVote

LOOKING, FOLLOWING, LEADING, OBSERVING = PeerState


def ensemble(
    voters: int, *, observers: Sequence[int] = (), weights: Sequence[tuple[int, int]] = (), version: int = 0
) -> Ensemble:
    """Voters 1 to `voters`, these observers, and one group of all voters if there are weights."""
    lines = [f"server.{sid}=h{sid}:1:2:participant" for sid in range(1, voters + 1)]
    lines += [f"server.{sid}=h{sid}:1:2:observer" for sid in observers]
    if weights:
        lines.append("group.1=" + ":".join(str(sid) for sid in range(1, voters + 1)))
        lines += [f"weight.{sid}={weight}" for sid, weight in weights]
    return Ensemble.from_text("\n".join([*lines, f"version={version:x}"]))


def looking(sid: int, members: Ensemble, *, zxid: int = 0, epoch: int = 0, round_: int = 1) -> FastLeaderElection:
    """A server in an election since time 0, in this round, with a vote for itself."""
    core = FastLeaderElection(sid, members)
    for _ in range(round_):
        core.look(Vote(epoch, zxid, sid), 0)
    return core


def word(
    sid: int,
    state: PeerState,
    leader: int,
    *,
    zxid: int = 0,
    epoch: int = 0,
    round_: int = 1,
    text: str | None = "version=0",
) -> Notification:
    """One message of server sid."""
    return Notification(sid, state, Vote(epoch, zxid, leader), round_, text)


def sent(effects: Sequence[ElectionEffect]) -> list[tuple[int, PeerState, int, int]]:
    """To whom, in which state, for which leader and in which round votes are sent."""
    return [
        (effect.sid, effect.notification.state, effect.notification.vote.leader, effect.notification.round)
        for effect in effects
        if isinstance(effect, SendVote)
    ]


def outcomes(effects: Sequence[ElectionEffect]) -> list[Elected]:
    """The decisions among effects: at most one."""
    found = [effect for effect in effects if isinstance(effect, Elected)]
    assert len(found) <= 1
    return found
