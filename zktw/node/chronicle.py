"""Chronicle: the last elections, phase by phase, for the log, the admin interface and the simulator's checkers."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from twisted.logger import Logger

from zktw.node.clock import Clock
from zktw.terms.limits import CHRONICLE_ELECTIONS_MAX
from zktw.terms.vote import PeerState, Vote
from zktw.terms.zxid import format_zxid
from zktw.wire.effects import (
    ConfigSeen,
    Effect,
    Elected,
    EpochAgreed,
    LeaderLost,
    LearnerJoined,
    LearnerSynced,
    QuorumLost,
    RoundStarted,
    Serving,
    Synchronised,
    VoteChanged,
)

log = Logger()


@dataclass(frozen=True, slots=True)
class RoleChange:
    """The server plays another role from now on; term counts its roles."""

    state: PeerState
    term: int
    reason: str


@dataclass(frozen=True, slots=True)
class Connected:
    """A learner has reached its leader."""

    leader: int


@dataclass(frozen=True, slots=True)
class Phase:
    """One line of an election's story; at_ms counts from when it was noticed that a leader is needed."""

    name: str
    at_ms: float
    text: str


@dataclass(slots=True)
class Election:
    """One election of this server, from noticing that it has no leader to serving again (or the next attempt)."""

    number: int
    noticed_ms: float
    reason: str
    phases: list[Phase] = field(default_factory=list)
    leader: int | None = None
    round: int | None = None
    epoch: int | None = None
    decided_ms: float | None = None
    served_ms: float | None = None


Happening = Effect | RoleChange | Connected


class Chronicle:
    """Hears every effect and role change of one server, tells it as lines, and keeps the last elections."""

    def __init__(self, clock: Clock, my_sid: int) -> None:
        self.elections: deque[Election] = deque(maxlen=CHRONICLE_ELECTIONS_MAX)
        self._clock = clock
        self._my_sid = my_sid
        self._count = 0
        self._current: Election | None = None
        self._listeners: list[Callable[[float, Happening], None]] = []

    def listen(self, listener: Callable[[float, Happening], None]) -> None:
        """Call listener(now_ms, happening) for all that happens from now on."""
        self._listeners.append(listener)

    @property
    def last_served(self) -> Election | None:
        """The newest election that came to an end."""
        return next((election for election in reversed(self.elections) if election.served_ms is not None), None)

    def tell(self, happening: Happening) -> None:
        """Something happened just now."""
        now_ms = self._clock.now_ms()
        self._note(happening, now_ms)
        for listener in self._listeners:
            listener(now_ms, happening)

    def _note(self, happening: Happening, now_ms: float) -> None:
        match happening:
            case RoleChange(PeerState.LOOKING, _, reason):
                self._begin(reason, now_ms)
            case RoleChange(state, _, _):
                self._phase("role", now_ms, f"{state.name.lower()} from here on")
            case RoundStarted(round_, vote):
                self._phase("voting", now_ms, f"voting in round {round_} for {describe_vote(vote)}")
            case VoteChanged(_, vote, sender):
                why = f"server {sender} has a better one"
                self._phase("voting", now_ms, f"changed vote to {describe_vote(vote)}, because {why}")
            case ConfigSeen(_, anew):
                what = "starting over with a newer configuration" if anew else "the configuration has a later version"
                self._phase("voting", now_ms, what)
            case Elected():
                self._decided(happening, now_ms)
            case Connected(leader):
                self._phase("connected", now_ms, f"connected to leader {leader}")
            case EpochAgreed(epoch):
                if self._current is not None:
                    self._current.epoch = epoch
                self._phase("epoch", now_ms, f"epoch {epoch} agreed")
            case Synchronised(mode, zxid):
                self._phase("synchronised", now_ms, f"synchronised by {mode} at {format_zxid(zxid)}")
            case LearnerJoined(_, sid, observer):
                log.info("{kind} {sid} has connected", kind="observer" if observer else "follower", sid=sid)
            case LearnerSynced(sid):
                log.info("server {sid} holds our history", sid=sid)
            case Serving(epoch):
                self._served(epoch, now_ms)
            case LeaderLost(reason) | QuorumLost(reason):
                log.info("the role ends: {reason}", reason=reason)

    def _begin(self, reason: str, now_ms: float) -> None:
        self._count += 1
        self._current = Election(self._count, now_ms, reason)
        self.elections.append(self._current)
        self._phase("noticed", now_ms, f"looking for a leader: {reason}")

    def _decided(self, elected: Elected, now_ms: float) -> None:
        vote, round_ = elected.vote, elected.round
        if self._current is not None:
            self._current.leader, self._current.round, self._current.decided_ms = vote.leader, round_, now_ms
        who = "this server" if vote.leader == self._my_sid else f"server {vote.leader}"
        voters = ", ".join(map(str, elected.electors))
        how = "leads already, say" if elected.joined else "leads, by the votes of"
        self._phase("decided", now_ms, f"decided in round {round_}: {who} {how} {voters}")

    def _served(self, epoch: int, now_ms: float) -> None:
        if self._current is not None:
            self._current.served_ms = now_ms
            self._current.epoch = epoch
        self._phase("serving", now_ms, f"serving in epoch {epoch}")
        self._current = None

    def _phase(self, name: str, now_ms: float, text: str) -> None:
        if self._current is None:
            return
        at_ms = now_ms - self._current.noticed_ms
        self._current.phases.append(Phase(name, at_ms, text))
        log.info("election {number} +{at} ms: {text}", number=self._current.number, at=f"{at_ms:.1f}", text=text)


def describe_vote(vote: Vote) -> str:
    """A vote as people read it."""
    if vote.leader < 0:
        return "nobody yet"
    return f"{vote.leader} (epoch {vote.peer_epoch}, zxid {format_zxid(vote.zxid)})"
