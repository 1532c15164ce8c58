"""Search: a learner finds whom it learns from: the leader, or, an observer, one of those who follow it."""

from collections.abc import Callable

from twisted.internet.interfaces import IProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from zktw.net.dialler import Dial, DialError, tune
from zktw.net.quorumcnxn import LearnerCnxn
from zktw.node.means import Means
from zktw.terms.vote import Notification

log = Logger()

# An Apache leader binds its quorum port only after its own finalize wait, which ours may have cut short.
LEADER_PATIENCE_MS = 2500
# Followers open their ports a little after the leader does.
FOLLOWERS_PATIENCE_MS = 1000


class Search:
    """connected(cnxn, sid) is told once, or failed(reason).

    Where followers serve observers (observerMasterPort) an observer asks all voters for it, in an order of chance, and
    waits for a while after each such round. When none of them has opened for a time it asks the leader as well, at its
    quorum port, which Apache's observers never do.
    """

    def __init__(
        self,
        means: Means,
        leader: int,
        connected: Callable[[LearnerCnxn, int], None],
        failed: Callable[[str], None],
    ) -> None:
        self._means = means
        self._leader = leader
        self._tell_connected = connected
        self._tell_failed = failed
        self._began_ms = means.clock.now_ms()
        self._again = means.clock.alarm(self._dial)
        self._dialling: Dial | None = None
        self._over = False
        # Whom to ask, by server and addresses; and who of them is next.
        self._doors = [*self._followers(), (leader, self._addresses(leader))]
        self._next = 0

    def _addresses(self, sid: int) -> list[tuple[str, int]]:
        member = self._means.ensemble.members[sid]
        return [(address.host, address.port) for address in member.quorum_addresses]

    def _followers(self) -> list[tuple[int, list[tuple[str, int]]]]:
        config, port = self._means.config, self._means.config.replication.observer_master_port
        if not (config.is_observer and port):
            return []
        left = sorted(self._means.ensemble.voters)
        shuffled = [left.pop(self._means.random.randrange(len(left))) for _ in range(len(left))]
        return [(sid, [(host, port) for host, _ in self._addresses(sid)]) for sid in shuffled]

    def start(self) -> None:
        """Begin."""
        self._began_ms = self._means.clock.now_ms()
        # Not in the turn in which sockets were closed: a new one may get a number that events are still under way for.
        self._means.clock.soon(self._dial)

    def stop(self) -> None:
        """Nobody is told anything any more."""
        self._over = True
        self._again.set(None)
        if self._dialling is not None:
            self._dialling.cancel()

    def _dial(self) -> None:
        means = self._means
        if self._over:
            return
        limit_ms = means.config.tick_ms * means.config.connect_limit
        self._dialling = Dial(
            means.reactor,
            self._doors[self._next][1],
            lambda: LearnerCnxn(means.data_bytes_max, self._made),
            max(limit_ms, LEADER_PATIENCE_MS),
        )
        self._dialling.done.addCallbacks(self._connected, self._not_connected)

    def _made(self, cnxn: LearnerCnxn) -> None:
        tune(
            cnxn.transport,
            nodelay=self._means.config.follower_nodelay,
            keepalive=True,
            user_timeout_ms=int(self._means.timing.sync_ms),
        )

    def _connected(self, protocol: IProtocol) -> None:
        assert isinstance(protocol, LearnerCnxn)
        self._dialling = None
        self._over = True
        self._tell_connected(protocol, self._doors[self._next][0])

    def _not_connected(self, failure: Failure) -> None:
        self._dialling = None
        if self._over:
            return
        means = self._means
        now_ms = means.clock.now_ms()
        waited_ms = now_ms - self._began_ms
        last = len(self._doors) - (1 if waited_ms >= FOLLOWERS_PATIENCE_MS else 2)
        if self._next < last:
            self._next += 1
            self._dial()
            return
        refused = isinstance(failure.value, DialError) and failure.value.refused
        limit_ms = means.config.tick_ms * means.config.connect_limit
        patience_ms = LEADER_PATIENCE_MS if refused else max(limit_ms, LEADER_PATIENCE_MS)
        if waited_ms >= patience_ms:
            self._fail(f"leader {self._leader} was not reached in {waited_ms:.0f} ms: {failure.getErrorMessage()}")
            return
        self._next = 0
        pause_ms: float = means.config.leader_connect_delay_ms
        if len(self._doors) > 1:
            pause_ms += means.random.random() * means.config.replication.observer_reconnect_delay_ms
        self._again.set(now_ms + pause_ms)

    def on_notification(self, notification: Notification) -> None:
        """While nobody answers the door, the leader's vote may tell that it is no leader."""
        if not self._over and notification.sid == self._leader and notification.vote.leader != self._leader:
            self._fail(f"server {self._leader} votes for {notification.vote.leader}")

    def on_disconnected(self, sid: int) -> None:
        """While nobody answers the door, the end of the leader's election connection tells that it is gone."""
        if not self._over and sid == self._leader:
            self._fail(f"the election connection of server {sid} ended")

    def _fail(self, reason: str) -> None:
        self.stop()
        self._tell_failed(reason)
