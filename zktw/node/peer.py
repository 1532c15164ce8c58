"""QuorumPeer: holds exactly one role and changes it by the table (quorum/peerstate.py).

Changes are queued, never nested. Each role has a term of office; what a role says after its term is void.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred, succeed
from twisted.logger import Logger

from zktw.config import Config
from zktw.net.cnxmanager import QuorumCnxManager
from zktw.net.listener import Listener
from zktw.net.quorumcnxn import QuorumPort
from zktw.node.chronicle import Chronicle, RoleChange
from zktw.node.clock import Clock, Random
from zktw.node.configfiles import ConfigFiles
from zktw.node.driver import Driver
from zktw.node.following import FollowingRole
from zktw.node.keeper import Keeper
from zktw.node.leading import LeadingRole
from zktw.node.looking import LookingRole
from zktw.node.means import Means, Role
from zktw.node.reconfiguring import Reconfiguring, read_ensemble
from zktw.node.resigning import drain, in_turn
from zktw.node.server import ZooKeeperServer
from zktw.quorum.election import FastLeaderElection
from zktw.quorum.ensemble import QuorumServer
from zktw.quorum.peerstate import PeerEvent, elected_event, next_state
from zktw.storage.files import IWorker
from zktw.storage.logtail import LogTail
from zktw.terms.vote import Notification, PeerState
from zktw.tree.database import Database
from zktw.wire.effects import ConfigSeen, Effect, Elected, SendVote
from zktw.zab.office import History

log = Logger()

# So many terms of office without service follow one another at once; then there are growing pauses.
FRUITLESS_MAX = 3
PAUSE_MIN_MS = 25
PAUSE_MAX_MS = 1000


class QuorumPeer:
    """One server of an ensemble, from LOOKING to LOOKING. fail(code, reason) ends the process."""

    def __init__(
        self,
        config: Config,
        reactor: Any,
        clock: Clock,
        random: Random,
        reader: IWorker,
        make_log_tail: Callable[[], LogTail],
        chronicle: Chronicle,
        server: ZooKeeperServer,
        fail: Callable[[int, str], None],
        config_files: ConfigFiles | None = None,
    ) -> None:
        assert config.ensemble is not None
        self.state = PeerState.LOOKING
        self.term = 0
        self._config = config
        self._ensemble = config.ensemble
        self._chronicle = chronicle
        self._server = server
        self._history = History()
        self._fail = fail
        self._clock = clock
        self._role: Role | None = None
        self._changing = False
        # Fires when the role that was left last is over.
        self._leaving: Deferred[Any] = succeed(None)
        # Terms of office in a row that ended before anybody was served.
        self._fruitless = 0
        self._changes: deque[tuple[int, PeerEvent, str, Elected | None]] = deque()
        self._running = False
        me = self._ensemble.members[config.my_sid]
        self._election = FastLeaderElection(
            config.my_sid,
            self._ensemble,
            interval_min_ms=config.election_min_interval_ms,
            interval_max_ms=config.election_max_interval_ms,
            adopts_config=config.reconfig_enabled,
        )
        self._elections = Driver(clock, self._election, self._carry_out)
        self._manager = self._make_manager(reactor)
        self._election_listener = Listener(
            reactor, "election", self._bindings(_election_addresses(me)), self._manager.factory
        )
        self._quorum_port = QuorumPort(
            min(config.jute_maxbuffer + config.jute_extra, 2**31 - 1),
            clock.soon,
            nodelay=config.leader_nodelay,
            user_timeout_ms=config.sync_limit * config.tick_ms,
        )
        quorum_addresses = [(address.host, address.port) for address in me.quorum_addresses]
        self._quorum_listener = Listener(reactor, "quorum", self._bindings(quorum_addresses), self._quorum_port)
        self.reconfiguring = Reconfiguring(
            config,
            self._manager,
            self._election,
            self._election_listener,
            self._quorum_listener,
            config_files,
            self._use,
        )
        self._reactor = reactor
        self._random = random
        self._reader = reader
        self._make_log_tail = make_log_tail
        self._means: Means

    def _make_means(self, keeper: Keeper, reload: Callable[[], Database]) -> Means:
        return Means(
            config=self._config,
            ensemble=self._ensemble,
            reactor=self._reactor,
            clock=self._clock,
            random=self._random,
            chronicle=self._chronicle,
            history=self._history,
            keeper=keeper,
            reader=self._reader,
            make_log_tail=self._make_log_tail,
            reload=reload,
            manager=self._manager,
            quorum_port=self._quorum_port,
            quorum_listener=self._quorum_listener,
            server=self._server,
            election=self._election,
            elections=self._elections,
            reconfiguring=self.reconfiguring,
            end=self._end,
            appoint=self._appoint,
            fail=self._fail,
        )

    def _make_manager(self, reactor: Any) -> QuorumCnxManager:
        config, members = self._config, self._ensemble.members
        sync_ms = config.sync_limit * config.tick_ms
        return QuorumCnxManager(
            reactor,
            config.my_sid,
            {sid: _election_addresses(members[sid]) for sid in self._ensemble.voters},
            {sid: _election_addresses(members[sid]) for sid in self._ensemble.observers},
            self,
            multi_address=config.multi_address,
            connect_timeout_ms=config.connect_timeout_ms,
            opening_timeout_ms=config.quorum_connect_timeout_ms if config.quorum_connect_timeout_ms > 0 else sync_ms,
            keepalive=config.tcp_keepalive,
            user_timeout_ms=sync_ms,
        )

    @property
    def election(self) -> FastLeaderElection:
        """The election core, for the figures."""
        return self._election

    @property
    def history(self) -> History:
        """What is on disk, as far as this server has been told."""
        return self._history

    def bind(self) -> None:
        """Bind the low ports among the election and quorum ports now, while there are privileges for them."""
        if self._election_listener.needs_privileges:
            self._election_listener.bind()
        if self._quorum_listener.needs_privileges and not self._config.is_observer:
            self._quorum_listener.bind()

    def start(self, history: History, keeper: Keeper, reload: Callable[[], Database]) -> Deferred[None]:
        """Look for a leader, from what was found on disk. Fires when the election port is bound."""
        self._history = history
        self._means = self._make_means(keeper, reload)
        self._running = True
        bound = self._election_listener.open(self._config.election_bind_retries)
        bound.addCallbacks(
            lambda _: self._begin(),
            lambda failure: self._fail(14, f"cannot bind the election port: {failure.getErrorMessage()}"),
        )
        bound.addErrback(self._means.broken)
        return bound

    def _begin(self) -> None:
        if self._running:
            self._manager.start()
            self._changing = True
            self._play(PeerState.LOOKING, LookingRole(self._means), "start")

    def drain(self, limit_ms: float) -> Deferred[None]:
        """Begin nothing more for anybody; fires when what is in flight is done, or after limit_ms."""
        return succeed(None) if self._role is None else drain(self._clock, self._role, limit_ms)

    def stop(self) -> Deferred[Any]:
        """Resign: vote no more, then close the learners' sockets; fires when the writes under way have ended.

        Those who lose us with the latter are to see at once that we are gone, and to wait for no vote of ours.
        """
        if not self._running:
            return succeed(None)
        self._running = False
        self._changes.clear()
        self._elections.stop()
        # The port first: who dials it is refused then, and need not wonder whether we have only hung up.
        return in_turn(self._clock, self._election_listener.close(), self._hang_up)

    def _hang_up(self) -> Deferred[Any]:
        self._manager.stop()
        return in_turn(self._clock, succeed(None), self._leave)

    def _leave(self) -> Deferred[Any]:
        role, self._role = self._role, None
        # The one that was left just before may still be writing, a tree perhaps.
        left = self._leaving if role is None else role.stop()
        self._quorum_port.drop()
        return DeferredList([left, self._quorum_listener.close()])

    # -- election port -----------------------------------------------------------------------------------------------

    def on_notification(self, notification: Notification) -> None:
        """A message came on the election port."""
        if not self._running:
            return
        self._elections.do(self._election.on_notification(notification, self._clock.now_ms()))
        if self._role is not None:
            self._role.on_notification(notification)

    def on_connected(self, sid: int) -> None:
        """A connection to sid is new."""
        self._elections.do(self._election.on_connected(sid))

    def on_disconnected(self, sid: int) -> None:
        """The connection to sid ended."""
        if not self._running:
            return
        self._elections.do(self._election.on_disconnected(sid))
        if self._role is not None:
            self._role.on_disconnected(sid)

    def on_refused(self, sid: int) -> None:
        """No process of sid is there."""
        if not self._running:
            return
        self._elections.do(self._election.on_refused(sid, self._clock.now_ms()))
        if self._role is not None:
            self._role.on_disconnected(sid)

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case SendVote(sid, notification):
                self._manager.send(sid, notification)
            case Elected():
                self._chronicle.tell(effect)
                self._change(elected_event(effect.state), "", effect)
            case ConfigSeen(text, _):
                self._chronicle.tell(effect)
                seen = read_ensemble(text.encode("utf-8"))
                if seen is not None:
                    self.reconfiguring.adopt(seen)
            case _:
                self._chronicle.tell(effect)

    def _use(self, config: Config) -> None:
        """Another configuration is in force."""
        assert config.ensemble is not None
        self._config = self._means.config = self._server.config = config
        self._means.ensemble = config.ensemble

    # -- roles -------------------------------------------------------------------------------------------------------

    def _end(self, event: PeerEvent, reason: str) -> None:
        self._change(event, reason, None)

    def _appoint(self, leader: int, reason: str) -> None:
        """A reconfiguration names the leader, or (-1) leaves it to an election."""
        elected = None
        if leader in self._means.ensemble.voters:
            elected = self._election.appoint(leader, self._history.current_epoch, self._history.last_zxid)
        self._change(PeerEvent.RECONFIGURED, reason, elected)

    def _change(self, event: PeerEvent, reason: str, elected: Elected | None) -> None:
        if not self._running:
            return
        self._changes.append((self.term, event, reason, elected))
        self._next_change()

    def _next_change(self) -> None:
        while self._changes and self._running and not self._changing:
            term, event, reason, elected = self._changes.popleft()
            if term != self.term:
                continue  # said by a role that is over
            self._changing = True
            state = next_state(self.state, event)
            if elected is not None:
                state = elected.state
            if state == PeerState.LOOKING:
                self._fruitless = 0 if self._server.is_established else self._fruitless + 1
            role, self._role = self._role, None
            self._server.stop_serving()
            left = self._leaving = succeed(None) if role is None else maybeDeferred(role.stop)
            left.addCallback(self._left, state, elected, reason)
            left.addErrback(self._means.broken)

    def _left(self, _: Any, state: PeerState, elected: Elected | None, reason: str) -> None:
        self._play(state, self._make_role(state, elected), reason)

    def _make_role(self, state: PeerState, elected: Elected | None) -> Role:
        if state == PeerState.LOOKING:
            # A leader that can't be followed would be found again at once, and again.
            patience = self._fruitless - FRUITLESS_MAX
            return LookingRole(self._means, 0 if patience < 0 else min(PAUSE_MAX_MS, PAUSE_MIN_MS * 2**patience))
        assert elected is not None
        return (LeadingRole if state == PeerState.LEADING else FollowingRole)(self._means, elected)

    def _play(self, state: PeerState, role: Role, reason: str) -> None:
        if not self._running:
            return
        self.state = state
        self.term += 1
        self._role = role
        self._server.play(state)
        self._chronicle.tell(RoleChange(state, self.term, reason))
        role.start()
        self._changing = False
        self._next_change()

    def _bindings(self, addresses: list[tuple[str, int]]) -> list[tuple[str, int]]:
        if self._config.listen_on_all_ips:
            return [("", port) for port in dict.fromkeys(port for _, port in addresses)]
        return addresses


def _election_addresses(member: QuorumServer) -> list[tuple[str, int]]:
    return [(address.host, address.port) for address in member.election_addresses]
