"""FastLeaderElection: notifications in, notifications and one decision out (wire document, d.3 to d.6).

The object lives as long as the server: while LOOKING it takes part in an election, in the other states it answers those
who look. An election is a good guess, not a promise: what makes an early decision safe is the leader's check that no
follower is ahead of it (zab/leader.py).
"""

from dataclasses import dataclass

from zktw.quorum.ensemble import Ensemble, LearnerType
from zktw.quorum.verifier import QuorumVerifier
from zktw.terms.vote import NO_SID, Notification, PeerState, Vote
from zktw.wire.effects import ConfigSeen, Elected, ElectionEffect, RoundStarted, SendVote, VoteChanged

# How long to wait, once a quorum agrees, for a better vote from somebody who was not heard yet.
FINALIZE_WAIT_MS = 200

# What a server proposes that may not be elected itself: anybody's vote is better.
NO_VOTE = Vote(NO_SID, NO_SID, NO_SID)


@dataclass(frozen=True, slots=True)
class Ballot:
    """The last word of one voter."""

    vote: Vote
    round: int
    state: PeerState
    # Sent in a format of before 3.5: its peer epoch can't be compared with those of later formats.
    old_format: bool


def same_vote(one: Ballot, other: Ballot) -> bool:
    """Whether two ballots count for the same decision; not the order of votes, and no plain equality (d.4).

    Established servers may differ in zxid and round for the same leader (bugs 1732, 1805, 1810).
    """
    if PeerState.LOOKING in (one.state, other.state):
        return one.vote == other.vote and one.round == other.round
    if one.old_format != other.old_format:
        return one.vote.leader == other.vote.leader
    return one.vote.leader == other.vote.leader and one.vote.peer_epoch == other.vote.peer_epoch


class FastLeaderElection:
    """The election of one server. Times are monotonic milliseconds; deadline_ms is when it wants on_deadline."""

    def __init__(
        self,
        my_sid: int,
        ensemble: Ensemble,
        *,
        interval_min_ms: float = 200,
        interval_max_ms: float = 60_000,
        adopts_config: bool = False,
    ) -> None:
        self.my_sid = my_sid
        self.state = PeerState.LOOKING
        self.round = 0
        self.deadline_ms: float | None = None
        # Not before the first election is there anything to say. Its round may be any: Apache's servers count from -1
        # after a reconfiguration that has named their leader.
        self._begun = False
        # While LOOKING the vote that we propose; later the one that was elected and the round it was elected in.
        self.vote = NO_VOTE
        self.vote_round = 0
        self._given = NO_VOTE
        self._initial = NO_VOTE
        self._interval_min_ms = interval_min_ms
        self._interval_max_ms = interval_max_ms
        self._interval_ms = interval_min_ms
        self._adopts_config = adopts_config
        self._resend_ms = 0.0
        self._finalize_ms: float | None = None
        # Ballots of this round, and those of servers that already have a leader, of any round.
        self._received: dict[int, Ballot] = {}
        self._established: dict[int, Ballot] = {}
        # Who was heard LOOKING in this round on the present connection, and who of them was sent our vote since.
        self._heard: dict[int, None] = {}
        self._holders: dict[int, None] = {}
        # Whose connection ended and whose every address has refused a new one since: no process is there.
        self._gone: dict[int, None] = {}
        # Whether we observe whoever leads; a server that is no member follows, though its vote does not count.
        me = ensemble.members.get(my_sid)
        self._observes = me is not None and me.role is LearnerType.OBSERVER
        self.use(ensemble, observes=self._observes)

    def use(self, ensemble: Ensemble, *, observes: bool) -> None:
        """This configuration is in force."""
        self.ensemble = ensemble
        self._observes = observes
        self._verifier: QuorumVerifier = ensemble.verifier()
        self._config_text = ensemble.text()

    def appoint(self, leader: int, peer_epoch: int, zxid: int) -> Elected:
        """A reconfiguration has named the leader: there is no election."""
        return self._decided(Vote(peer_epoch, zxid, leader), self.round, ())

    @property
    def is_voter(self) -> bool:
        """Whether this server's own vote counts."""
        return self.my_sid in self._verifier.voters

    def look(self, initial: Vote, now_ms: float) -> list[ElectionEffect]:
        """Enter an election; initial is our vote for ourselves, which counts only if we are a voter."""
        self.state = PeerState.LOOKING
        self._begun = True
        self._given = initial
        self._initial = initial if self.is_voter else NO_VOTE
        self._interval_ms = self._interval_min_ms
        self._established.clear()
        self._enter_round(self.round + 1)
        self.vote = self._initial
        effects: list[ElectionEffect] = [RoundStarted(self.round, self.vote)]
        effects += self._broadcast(now_ms)
        return effects + self._count(now_ms)

    def adopt_epoch(self, epoch: int) -> None:
        """The elected leader is established in this epoch: answer with it, so that late joiners find equal votes."""
        assert self.state != PeerState.LOOKING
        self.vote = self.vote._replace(peer_epoch=epoch)

    def on_connected(self, sid: int) -> list[ElectionEffect]:
        """A connection with sid is new: what was said on an older one may be lost, so say where we stand."""
        self._gone.pop(sid, None)
        self._heard.pop(sid, None)
        self._holders.pop(sid, None)
        if not self._begun or sid not in self._verifier.voters:
            return []
        return [self._word_for(sid)]

    def on_disconnected(self, sid: int) -> list[ElectionEffect]:
        """The connection with sid ended. That alone does not say that the server is gone."""
        self._heard.pop(sid, None)
        self._holders.pop(sid, None)
        return []

    def on_refused(self, sid: int, now_ms: float) -> list[ElectionEffect]:
        """Without a connection to sid, each of its addresses has just refused a new one."""
        self._gone[sid] = None
        if self.state == PeerState.LOOKING:
            return self._count(now_ms)
        return []

    def is_gone(self, sid: int) -> bool:
        """Whether no process of sid is there, as far as its host can tell."""
        return sid in self._gone

    def on_deadline(self, now_ms: float) -> list[ElectionEffect]:
        """Time is up: decide, if a quorum has agreed for long enough, or say our vote again."""
        if self.state != PeerState.LOOKING:
            return []
        if self._finalize_ms is not None and now_ms >= self._finalize_ms:
            return self._decide(self.vote, self.round, self._supporters(self._own_ballot(), self._received))
        if now_ms < self._resend_ms:
            return []
        self._interval_ms = min(2 * self._interval_ms, self._interval_max_ms)
        return self._say_vote(now_ms)

    def on_notification(self, notification: Notification, now_ms: float) -> list[ElectionEffect]:
        """Take one message: answer it, count it, and decide if that can be done."""
        sid = notification.sid
        self._gone.pop(sid, None)
        if not self._begun:
            return []
        if sid not in self._verifier.voters:
            return [self._word_for(sid, self.round)]
        if self.state != PeerState.LOOKING:
            return [self._word_for(sid)] if notification.state == PeerState.LOOKING else []
        effects = self._adopt_config(notification, now_ms)
        if self.state != PeerState.LOOKING:
            return effects  # the newer configuration has decided it
        if notification.state == PeerState.LOOKING and notification.round < self.round:
            return [*effects, self._word_for(sid)]
        if notification.vote.leader not in self._verifier.voters:
            return effects
        if notification.state == PeerState.LOOKING:
            return effects + self._on_looking(notification, now_ms)
        # What this server was sent while it looked was for naught: it had decided before.
        self._heard.pop(sid, None)
        self._holders.pop(sid, None)
        if notification.state == PeerState.OBSERVING:
            return effects
        return effects + self._on_established(notification, now_ms)

    def _on_looking(self, notification: Notification, now_ms: float) -> list[ElectionEffect]:
        sid, vote = notification.sid, notification.vote
        if self._initial.zxid == -1 or vote.zxid == -1:
            return []  # an empty member that waits for a snapshot neither counts nor is elected
        effects: list[ElectionEffect] = []
        if notification.round > self.round:
            self._enter_round(notification.round)
            self.vote = vote if self._is_newer(vote, self._initial) else self._initial
            self._heard[sid] = None
            effects += [RoundStarted(self.round, self.vote), *self._broadcast(now_ms)]
        elif self._is_newer(vote, self.vote):
            self.vote = vote
            self._heard[sid] = None
            effects += [VoteChanged(self.round, vote, sid), *self._broadcast(now_ms)]
        self._heard[sid] = None
        self._received[sid] = _ballot(notification)
        if sid not in self._holders:
            effects.append(self._word_for(sid))
        return effects + self._count(now_ms)

    def _on_established(self, notification: Notification, now_ms: float) -> list[ElectionEffect]:
        ballot = _ballot(notification)
        leader = notification.vote.leader
        if notification.round == self.round:
            self._received[notification.sid] = ballot
            supporters = self._supporters(ballot, self._received)
            if self._verifier.contains_quorum(supporters) and self._leads(leader, ballot, self._received):
                return self._decide(notification.vote, self.round, supporters, joined=True)
        self._established[notification.sid] = ballot
        supporters = self._supporters(ballot, self._established)
        if self._verifier.contains_quorum(supporters) and self._leads(leader, ballot, self._established):
            # Leader and followers must end in the same round (bug 1514).
            self.round = notification.round
            return self._decide(notification.vote, self.round, supporters, joined=True)
        return self._count(now_ms)

    def _leads(self, leader: int, ballot: Ballot, ballots: dict[int, Ballot]) -> bool:
        """Whether the leader itself says so: without its word a quorum may be repeating old news (bug 975)."""
        if leader == self.my_sid:
            return self.round == ballot.round
        word = ballots.get(leader)
        return word is not None and word.state == PeerState.LEADING

    def _count(self, now_ms: float) -> list[ElectionEffect]:
        """Decide, or begin to wait for better votes, if a quorum has voted like us in this round."""
        supporters = self._supporters(self._own_ballot(), self._received)
        if self.vote.leader not in self._verifier.voters or not self._verifier.contains_quorum(supporters):
            self._finalize_ms = None
        elif all(sid in supporters or sid in self._gone for sid in self._verifier.voters):
            # Nobody is left who could still bring a better vote.
            return self._decide(self.vote, self.round, supporters)
        elif self._finalize_ms is None:
            self._finalize_ms = now_ms + FINALIZE_WAIT_MS
        self._set_deadline()
        return []

    def _decide(self, vote: Vote, round_: int, electors: list[int], *, joined: bool = False) -> list[ElectionEffect]:
        return [self._decided(vote, round_, tuple(electors), joined=joined)]

    def _decided(self, vote: Vote, round_: int, electors: tuple[int, ...], *, joined: bool = False) -> Elected:
        if vote.leader == self.my_sid:
            self.state = PeerState.LEADING
        else:
            self.state = PeerState.OBSERVING if self._observes else PeerState.FOLLOWING
        self.vote = vote
        self.vote_round = round_
        self.deadline_ms = None
        self._finalize_ms = None
        return Elected(self.state, vote, round_, electors, joined)

    def _enter_round(self, round_: int) -> None:
        self.round = round_
        self._finalize_ms = None
        self._received.clear()
        self._heard.clear()
        self._holders.clear()

    def _supporters(self, ballot: Ballot, ballots: dict[int, Ballot]) -> list[int]:
        return [sid for sid in sorted(ballots) if same_vote(ballot, ballots[sid])]

    def _own_ballot(self) -> Ballot:
        return Ballot(self.vote, self.round, PeerState.LOOKING, old_format=False)

    def _is_newer(self, one: Vote, other: Vote) -> bool:
        """The order of votes: weight first, since a server without weight can never be elected."""
        return self._verifier.weight(one.leader) != 0 and one > other

    def _broadcast(self, now_ms: float) -> list[ElectionEffect]:
        """Our vote is new: record it as our own, wait anew for a better one, and say it to every other voter."""
        # An empty member that waits for a snapshot counts for nobody, not even for itself.
        if self.is_voter and self._initial.zxid != -1:
            self._received[self.my_sid] = self._own_ballot()
        self._finalize_ms = None
        return self._say_vote(now_ms)

    def _say_vote(self, now_ms: float) -> list[ElectionEffect]:
        self._resend_ms = now_ms + self._interval_ms
        self._set_deadline()
        return [self._word_for(sid) for sid in self._verifier.voters if sid != self.my_sid]

    def _word_for(self, sid: int, round_: int | None = None) -> SendVote:
        """Where we stand, to one server, noting that it holds our vote if it is sure to take it in."""
        if self.state == PeerState.LOOKING:
            round_ = self.round
            if sid in self._heard:
                self._holders[sid] = None
        elif round_ is None:
            round_ = self.vote_round
        return SendVote(sid, Notification(self.my_sid, self.state, self.vote, round_, self._config_text))

    def _set_deadline(self) -> None:
        self.deadline_ms = self._resend_ms if self._finalize_ms is None else min(self._finalize_ms, self._resend_ms)

    def _adopt_config(self, notification: Notification, now_ms: float) -> list[ElectionEffect]:
        """Begin again with a newer configuration, where the members may change at run time (d.3)."""
        if not self._adopts_config or not notification.config_text:
            return []
        try:
            seen = Ensemble.from_text(notification.config_text)
        except ValueError:
            return []  # the vote is good all the same
        if seen.version <= self.ensemble.version:
            return []
        same = seen.same_members(self.ensemble)
        me = seen.members.get(self.my_sid)
        self.use(seen, observes=self._observes if me is None else me.role is LearnerType.OBSERVER)
        told = ConfigSeen(notification.config_text, anew=not same)
        return [told] if same else [told, *self.look(self._given, now_ms)]


def _ballot(notification: Notification) -> Ballot:
    return Ballot(notification.vote, notification.round, notification.state, notification.config_text is None)
