"""Desertion: which voters want another leader than the one that waits for them to come (wire document, e.10)."""

from zktw.quorum.verifier import QuorumVerifier
from zktw.terms.vote import Notification, PeerState, Vote
from zktw.zab.office import History


class Desertion:
    """Of one leader that does not serve yet. Times are monotonic milliseconds.

    electors are the voters whose votes elected it, in round `round_`; epoch_wait_ms is leader.maxTimeToWaitForEpoch.
    """

    def __init__(
        self, my_sid: int, history: History, electors: tuple[int, ...], round_: int, epoch_wait_ms: float
    ) -> None:
        self._my_sid = my_sid
        self._history = history
        self._electors = electors
        self._round = round_
        self._epoch_wait_ms = epoch_wait_ms
        self._deserters: dict[int, None] = {}

    def on_vote(self, notification: Notification, verifier: QuorumVerifier, waited_ms: float) -> str:
        """A voter's word on the election port, so long after the term began. Why to lead no more, or ""."""
        sid = notification.sid
        looks = notification.state == PeerState.LOOKING
        if looks and self._epoch_wait_ms >= 0 and waited_ms >= self._epoch_wait_ms and sid in self._electors:
            # Without it the epoch may never be agreed (bug 3109).
            return f"voter {sid} looks for a leader again after {waited_ms:.0f} ms without an epoch"
        if self._deserts(notification):
            self._deserters[sid] = None
        elif notification.vote.leader == self._my_sid:
            self._deserters.pop(sid, None)
        return self._judge(verifier, "want another leader")

    def on_gone(self, sids: list[int], verifier: QuorumVerifier) -> str:
        """No processes of these are there: started anew, they will know nothing of us. Why to lead no more, or ""."""
        for sid in sids:
            self._deserters[sid] = None
        return self._judge(verifier, "will not come")

    def _judge(self, verifier: QuorumVerifier, what: str) -> str:
        loyal = [voter for voter in verifier.voters if voter not in self._deserters]
        if not verifier.contains_quorum(loyal):
            return f"voters {', '.join(map(str, self._deserters))} {what}"
        return ""

    def _deserts(self, notification: Notification) -> bool:
        """Whether a voter has gone on to a later round, or to a better candidate of ours."""
        if notification.round != self._round:
            return notification.round > self._round
        vote, history = notification.vote, self._history
        return vote.leader != self._my_sid and vote > Vote(history.current_epoch, history.last_zxid, self._my_sid)

    def came(self, sid: int) -> None:
        """It has come after all."""
        self._deserters.pop(sid, None)
