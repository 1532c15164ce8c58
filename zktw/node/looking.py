"""LookingRole: what a server owns while it looks for a leader."""

from typing import Any

from twisted.internet.defer import Deferred, succeed

from zktw.node.datahost import DataHost
from zktw.node.means import Means
from zktw.node.readonly import ReadOnly
from zktw.terms.vote import Notification, Vote

READ_ONLY_GRACE_MS = 2000


class LookingRole:
    """Takes part in an election, and serves readers meanwhile where that is allowed."""

    def __init__(self, means: Means, pause_ms: float = 0.0) -> None:
        self._means = means
        self._pause_ms = pause_ms
        self._over = False
        self._begin = means.clock.alarm(self._look)
        self._read_only = means.clock.alarm(self._serve_read_only)
        self._host: DataHost | None = None

    def start(self) -> None:
        means = self._means
        now_ms = means.clock.now_ms()
        means.quorum_port.hold()
        if means.config.is_observer:
            # Many observers lose their leader at the same time; they need not all ask at the same time.
            self._pause_ms += means.random.random() * means.config.observer_election_delay_ms
            self._look_soon()
        else:
            # A learner may have decided before we have: let it connect, and hold it. Until it can, we seek no votes: a
            # leader that nobody can reach would be elected again and again (bug 4203).
            # And not in the turn in which the last role's sockets were closed: the port may get the number of one that
            # events are still under way for.
            means.clock.soon(self._open)
        if means.config.read_only_mode:
            self._read_only.set(now_ms + max(READ_ONLY_GRACE_MS, means.config.tick_ms))

    def _open(self) -> None:
        means = self._means
        if self._over:
            return
        opened = means.quorum_listener.open(means.config.election_bind_retries)
        opened.addCallbacks(
            lambda _: self._look_soon(),
            lambda failure: means.fail(1, f"cannot bind the quorum port: {failure.getErrorMessage()}"),
        )
        opened.addErrback(means.broken)

    def _look_soon(self) -> None:
        if self._over:
            return
        if self._pause_ms:
            self._begin.set(self._means.clock.now_ms() + self._pause_ms)
        else:
            self._look()

    def _look(self) -> None:
        means = self._means
        history = means.history
        vote = Vote(history.current_epoch, history.last_zxid, means.config.my_sid)
        means.manager.hurry(True)
        means.elections.do(means.election.look(vote, means.clock.now_ms()))

    def _serve_read_only(self) -> None:
        means = self._means
        host = self._host = DataHost(
            means.config, means.clock, means.random, means.keeper, means.server.stats, read_only=True
        )
        host.start(ReadOnly(host))
        means.server.serve_read_only(host)

    def deafen(self) -> None:
        """See resigning.Ending."""

    @property
    def is_quiet(self) -> bool:
        """See resigning.Ending: whoever only reads waits for nothing."""
        return True

    def stop(self) -> Deferred[Any]:
        self._over = True
        self._begin.set(None)
        self._read_only.set(None)
        if self._host is not None:
            self._host.close()
        self._means.manager.hurry(False)
        return succeed(None)

    def on_notification(self, notification: Notification) -> None:
        """The election has heard it already."""

    def on_disconnected(self, sid: int) -> None:
        """The election has heard it already."""
