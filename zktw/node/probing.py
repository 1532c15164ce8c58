"""Probing: whether a leader that says nothing on the quorum port is there at all.

Before it serves it may be silent for initLimit, and a process that was stopped, or a host that was cut off, keeps its
connections all that time. On the election port whoever is asked answers at once.
"""

from collections.abc import Callable

from zktw.node.means import Means
from zktw.terms.vote import Notification, PeerState

ASK_MS = 1000
ASKED_MAX = 3
# A question is no vote: nobody counts what belongs to a round long ago, and everybody answers it.
NO_ROUND = 0


class Probing:
    """Asks server sid after each ASK_MS of silence; gone(reason) is told once, after ASKED_MAX questions in vain."""

    def __init__(self, means: Means, gone: Callable[[str], None]) -> None:
        self._means = means
        self._gone = gone
        self._sid = -1
        self._asked = 0
        self._alarm = means.clock.alarm(self._ask)

    def start(self, sid: int) -> None:
        """A connection to it is there."""
        self._sid = sid
        self._wait()

    def stop(self) -> None:
        """It serves us, or nobody needs to know any more."""
        self._sid = -1
        self._alarm.set(None)

    def heard(self, sid: int) -> None:
        """A server has said something, wherever."""
        if sid == self._sid:
            self._asked = 0

    def _wait(self) -> None:
        self._alarm.set(self._means.clock.now_ms() + ASK_MS)

    def _ask(self) -> None:
        means, sid = self._means, self._sid
        if not means.manager.is_connected(sid):
            # Nobody to ask; then initLimit must do.
            self._asked = 0
        elif self._asked >= ASKED_MAX:
            self.stop()
            self._gone(f"server {sid} has not answered {ASKED_MAX} times")
            return
        else:
            self._asked += 1
            vote = means.election.vote
            word = Notification(means.config.my_sid, PeerState.LOOKING, vote, NO_ROUND, means.ensemble.text())
            means.manager.send(sid, word)
        self._wait()
