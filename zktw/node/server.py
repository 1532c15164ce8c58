"""ZooKeeperServer: what a server is to its clients, whatever role it plays."""

from collections.abc import Callable, Iterable
from typing import Protocol

from zktw import __version__
from zktw.admin.commands import TELNET_CLOSE, TELNET_CLOSE_NAME, WORDS, answer, set_trace_mask
from zktw.admin.facts import Connection, Served
from zktw.admin.stats import ServerStats
from zktw.config import Config
from zktw.net.clientfactory import ClientCnxnFactory
from zktw.node.chronicle import Chronicle, Happening
from zktw.node.clock import Clock, format_date, wall_ms
from zktw.node.datahost import DataHost
from zktw.node.facts import NothingServed, ServedByHost
from zktw.node.host import descriptors, environment
from zktw.node.keeper import Keeper
from zktw.terms.codes import PacketType
from zktw.terms.vote import PeerState
from zktw.wire.effects import EpochAgreed, Send
from zktw.wire.peers import QuorumPacket
from zktw.zab.leader import Leader
from zktw.zab.learnerhandler import LearnerHandler, LearnerPhase
from zktw.zab.office import History

# Clients and scripts read a release number of Apache's from this text.
VERSION = f"3.9.5-zktw-{__version__}, built on 2026-11-24 00:00 UTC"
# The root counts twice, as it does in Apache's tree.
FRESH_NODE_COUNT = 5
FRESH_PATHS = ("", "/", "/zookeeper", "/zookeeper/config", "/zookeeper/quota")
TRACE_MASK = 0b100110010
EXPIRY_BUCKET_MS = 10_000
# Leaders change within tens of milliseconds, with Apache's servers among them within hundreds.
HOLD_MS = 500

_MODES = {PeerState.LEADING: "leader", PeerState.FOLLOWING: "follower", PeerState.OBSERVING: "observer"}


class Observers(Protocol):
    """A follower's observers."""

    @property
    def synced(self) -> int:
        """How many hold our history."""


class ZooKeeperServer:
    """The facts behind the four-letter words, and the state of serving."""

    def __init__(self, config: Config, clock: Clock, chronicle: Chronicle) -> None:
        self.config = config
        self.version = VERSION
        self.stats = ServerStats()
        # What serves sessions, as long as a role does; and what it serves them from.
        self.data: DataHost | None = None
        self.keeper: Keeper | None = None
        self.served: Served = NothingServed()
        self.trace_mask = TRACE_MASK
        self.history = History()
        self.clients: ClientCnxnFactory | None = None
        # Asks for a new look at the directories' sizes; the answer comes by on_sizes.
        self.look_at_sizes: Callable[[], None] = lambda: None
        self._clock = clock
        self._chronicle = chronicle
        self._state: PeerState | None = None
        self._read_only = False
        self._serving_since_ms: float | None = None
        self._epoch = 0
        self._leader = self._master = 0
        self._observer_master: Observers | None = None
        self._leader_core: Leader | None = None
        self._sizes = (0, 0)
        self._lost_ms: float | None = None
        self.is_stopping = False
        self._epoch_agreed_ms: float | None = None
        chronicle.listen(self._on_happening)

    # -- what the roles say ------------------------------------------------------------------------------------------

    def serve_standalone(self, data: DataHost) -> None:
        """There is no ensemble: serve."""
        self._serve(data)
        self._begin_serving()

    def _serve(self, data: DataHost) -> None:
        self.data = data
        self.served = ServedByHost(data, self._clock)

    def play(self, state: PeerState) -> None:
        """The role from now on."""
        self._state = state
        if state == PeerState.LOOKING:
            self.stats.count("looking_count")

    def serve_read_only(self, data: DataHost) -> None:
        """Nobody leads for a while: serve those who only read."""
        self._serve(data)
        self._read_only = True
        self._begin_serving()

    def follow(self, epoch: int, leader: int, data: DataHost, master: int, observer_master: Observers | None) -> None:
        """A leader, or an observer master, has brought us up to date; and observers may come to us."""
        self._epoch, self._leader, self._master = epoch, leader, master
        self._observer_master = observer_master
        self._serve(data)
        self._begin_serving()
        self._note_election()
        if self._epoch_agreed_ms is not None:
            kind = "observer" if self._state == PeerState.OBSERVING else "follower"
            self.stats.add(f"{kind}_sync_time", int(self._clock.now_ms() - self._epoch_agreed_ms))

    def lead(self, epoch: int, core: Leader, data: DataHost) -> None:
        """A quorum holds our history."""
        self._serve(data)
        self._epoch, self._leader, self._leader_core = epoch, self.config.my_sid, core
        self._begin_serving()
        self._note_election()

    def stop_serving(self) -> None:
        """The role is over."""
        if self.is_established and not self._read_only and self._lost_ms is None:
            self._lost_ms = self._clock.now_ms()
        self._serving_since_ms = None
        self._read_only = False
        self._leader_core = None
        self._observer_master = None
        if self._state is not None:
            self.data = None
            self.served = NothingServed()

    def _on_happening(self, now_ms: float, happening: Happening) -> None:
        match happening:
            case EpochAgreed():
                self._epoch_agreed_ms = now_ms
            case Send(_, QuorumPacket(type=PacketType.DIFF)):
                self.stats.count("diff_count")
            case Send(_, QuorumPacket(type=PacketType.SNAP)):
                self.stats.count("snap_count")

    def on_sizes(self, sizes: tuple[int, int]) -> None:
        """The directories' sizes, as they are now."""
        self._sizes = sizes

    def _begin_serving(self) -> None:
        self._serving_since_ms = self._clock.now_ms()
        self.look_at_sizes()
        if self.clients is not None:
            # Not before the role has told its first.
            self._clock.soon(self.clients.admit)

    def _note_election(self) -> None:
        now_ms = self._clock.now_ms()
        election = self._chronicle.last_served
        since_ms = self._lost_ms
        if since_ms is None and election is not None:
            since_ms = election.noticed_ms
        if since_ms is not None:
            self.stats.add("unavailable_time", int(now_ms - since_ms))
            if self._leader_core is not None:
                self.stats.add("leader_unavailable_time", int(now_ms - since_ms))
        if election is not None and election.decided_ms is not None and self._state != PeerState.OBSERVING:
            # An observer does not elect: it learns of the outcome.
            self.stats.add("election_time", int(election.decided_ms - election.noticed_ms))
        self._lost_ms = None

    # -- what the client port asks -----------------------------------------------------------------------------------

    def word_for(self, first: bytes) -> str | None:
        """The word that four bytes are."""
        if first == TELNET_CLOSE:
            return TELNET_CLOSE_NAME
        word = first.decode("latin-1")
        return word if word in WORDS else None

    def answer(self, word: str) -> bytes:
        """What it is answered."""
        return answer(word, self)

    def answer_mask(self, mask: int) -> bytes:
        """What stmk is answered."""
        return set_trace_mask(mask, self)

    def count(self, name: str, by: int = 1) -> None:
        """Something happened that mntr counts."""
        self.stats.count(name, by)

    def packets_received(self, count: int) -> None:
        """So many packets or words have come."""
        self.stats.received += count

    def packets_sent(self, count: int) -> None:
        """So many answers have left."""
        self.stats.sent += count

    @property
    def pipeline(self) -> DataHost | None:
        """What serves sessions, as long as it does."""
        return self.data if self.is_serving else None

    @property
    def hold_ms(self) -> float:
        """How long a client that comes now may wait for a new leader, instead of asking elsewhere, or again."""
        if self._lost_ms is None or self.is_stopping or self.is_established:
            return 0
        return self._lost_ms + HOLD_MS - self._clock.now_ms()

    # -- facts -------------------------------------------------------------------------------------------------------

    @property
    def is_established(self) -> bool:
        """Whether what the role is for has begun, be it without clients."""
        return self._serving_since_ms is not None

    @property
    def is_serving(self) -> bool:
        """Whether clients are served, if only for reading. A leader may leave them to others."""
        return self.is_established and (self._leader_core is None or self.config.replication.leader_serves)

    @property
    def is_read_only(self) -> bool:
        """Whether clients are served for reading only."""
        return self._read_only

    def mode(self) -> str:
        """As srvr says it."""
        if self._state is None:
            return "standalone"
        return "read-only" if self._read_only else _MODES.get(self._state, "looking")

    @property
    def node_count(self) -> int:
        """Nodes, of which the root counts twice."""
        return FRESH_NODE_COUNT if self.keeper is None else len(self.keeper.database.tree.nodes) + 1

    def zxid(self) -> int:
        """The last one that was processed."""
        return self.history.last_zxid if self.keeper is None else self.keeper.database.last_zxid

    def connections(self) -> Iterable[Connection]:
        """The clients' connections."""
        return () if self.clients is None else self.clients.connections()

    def connection_count(self) -> int:
        """How many there are."""
        return 0 if self.clients is None else len(self.clients)

    def expiry_buckets(self) -> list[tuple[str, list[Connection]]]:
        """When silent connections end, in buckets of ten seconds."""
        buckets: dict[int, list[Connection]] = {}
        offset_ms = wall_ms() - self._clock.now_ms()
        for deadline_ms, cnxn in () if self.clients is None else self.clients.deadlines():
            bucket = (int(deadline_ms + offset_ms) // EXPIRY_BUCKET_MS + 1) * EXPIRY_BUCKET_MS
            buckets.setdefault(bucket, []).append(cnxn)
        return [(format_date(bucket), cnxns) for bucket, cnxns in sorted(buckets.items())]

    def data_sizes(self) -> tuple[int, int]:
        """As they last were looked at; asking has them looked at again."""
        self.look_at_sizes()
        return self._sizes

    def data_size(self) -> int:
        """Paths and data of the fresh tree; only the configuration's node has any."""
        if self.keeper is not None:
            return self.keeper.database.tree.data_bytes
        ensemble = self.config.ensemble
        return sum(map(len, FRESH_PATHS)) + (len(ensemble.text()) if ensemble is not None else 0)

    def environment(self) -> list[tuple[str, str]]:
        """The lines of envi."""
        return environment(self.version)

    def descriptors(self) -> tuple[int, int]:
        """Open files and how many may be."""
        return descriptors()

    def uptime_ms(self) -> int:
        """Since clients are served."""
        return 0 if self._serving_since_ms is None else int(self._clock.now_ms() - self._serving_since_ms)

    def leader_uptime_ms(self) -> int:
        """Since this server leads."""
        return self.uptime_ms() if self._leader_core is not None else 0

    def peer_state(self) -> str:
        """State and phase; whoever serves is in broadcast."""
        return f"{'' if self._state is None else self._state.name.lower()} - broadcast"

    def leader_sid(self) -> int:
        """Whom we follow, or ourselves."""
        return self._leader

    def master_sid(self) -> int:
        """Whom we learn from."""
        return self._master

    def observer_master_synced(self) -> int | None:
        """Observers of ours that hold our history; None where we serve none."""
        return None if self._observer_master is None else self._observer_master.synced

    def learner_sids(self) -> list[int]:
        """A leader's learners."""
        return sorted(handler.sid for handler in self._handlers())

    def synced_followers(self) -> int:
        """Voters that hold our history."""
        return self._count_synced(observers=False, voters=True)

    def synced_non_voting_followers(self) -> int:
        """Followers that hold it and do not vote."""
        return self._count_synced(observers=False, voters=False)

    def synced_observers(self) -> int:
        """Observers that hold it."""
        return self._count_synced(observers=True, voters=False)

    def _count_synced(self, *, observers: bool, voters: bool) -> int:
        ensemble = self.config.ensemble
        members = ensemble.voters if ensemble is not None else ()
        return sum(
            handler.phase == LearnerPhase.SERVING
            and handler.observer == observers
            and (handler.sid in members) == voters
            for handler in self._handlers()
        )

    def _handlers(self) -> list[LearnerHandler]:
        return [] if self._leader_core is None else list(self._leader_core.learners.values())

    def quorum_size(self) -> int:
        """How many servers vote."""
        return 0 if self.config.ensemble is None else len(self.config.ensemble.voters)

    def election_figures(self) -> list[tuple[str, object]]:
        """Epoch, leader and duration of the last election; nothing where there are no elections."""
        election = self._chronicle.last_served
        if self.config.ensemble is None or election is None or election.served_ms is None:
            return []
        return [
            ("election_epoch", self._epoch),
            ("election_leader", self._leader),
            ("election_round", election.round if election.round is not None else 0),
            ("election_count", election.number),
            ("last_election_ms", int(election.served_ms - election.noticed_ms)),
        ]

    def election_lines(self) -> list[str]:
        """The same for people, behind all that Apache says."""
        election = self._chronicle.last_served
        if self.config.ensemble is None or self._read_only or election is None or election.served_ms is None:
            return []
        ago_ms = self._clock.now_ms() - election.served_ms
        took_ms = election.served_ms - election.noticed_ms
        date = format_date(wall_ms() - int(ago_ms))
        return [f"Epoch: {self._epoch}", f"Leader: {self._leader}", f"Last election: {date}, {took_ms:.0f} ms"]

    def status_line(self) -> str:
        """One line for systemd."""
        if self._state is None:
            return "standalone, serving" if self.is_serving else "starting"
        if self._read_only:
            return "looking for a leader, serving readers"
        if not self.is_established:
            return (
                "looking for a leader"
                if self._state == PeerState.LOOKING
                else f"{_MODES[self._state]}, not serving yet"
            )
        return f"{_MODES[self._state]}, leader {self._leader}, epoch {self._epoch}"
