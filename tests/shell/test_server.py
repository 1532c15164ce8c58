"""ZooKeeperServer: what it says of itself in each role, of its elections, its connections and its disk."""

import re

import pytest
from clientport import ClientPort
from dataport import host_alone
from kazoo.client import KazooClient
from twisted.internet.testing import MemoryReactorClock

from zktw.config import Config
from zktw.node.chronicle import Chronicle, RoleChange
from zktw.node.clock import Clock
from zktw.node.datahost import DataHost
from zktw.node.server import ZooKeeperServer
from zktw.quorum.ensemble import Ensemble
from zktw.terms.codes import PacketType
from zktw.terms.vote import PeerState, Vote
from zktw.wire.effects import Elected, EpochAgreed, Send, Serving
from zktw.wire.peers import QuorumPacket
from zktw.zab.committedlog import CommittedLog
from zktw.zab.leader import Leader
from zktw.zab.learnerhandler import LearnerHandler, LearnerPhase
from zktw.zab.office import History, Timing

MEMBERS = "\n".join(
    [*(f"server.{sid}=h{sid}:1:2:participant" for sid in (1, 2, 3)), "server.4=h4:1:2:observer", "version=0"]
)
ALONE = Config("zoo.cfg", "/d", "/d", client_port=2181, four_letter_words=None)
MEMBER = Config(
    "zoo.cfg", "/d", "/d", client_port=2181, four_letter_words=None, ensemble=Ensemble.from_text(MEMBERS), my_sid=3
)


class Unheard:
    """A leader's log, tree and connections, of which nobody takes notice."""

    def persist(self, zxid: int, payload: bytes) -> None:
        """See broadcast.Outlet."""

    def commit(self, zxid: int) -> None:
        """See broadcast.Outlet."""

    def write(self, connection: int, data: bytes) -> None:
        """See broadcast.Outlet."""


class Stage:
    """A server, its clock and its chronicle."""

    def __init__(self, config: Config = MEMBER) -> None:
        self.reactor = MemoryReactorClock()
        self.reactor.advance(100)
        clock = Clock(self.reactor)
        self.chronicle = Chronicle(clock, config.my_sid)
        self.server = ZooKeeperServer(config, clock, self.chronicle)
        self.looks = 0
        self.server.look_at_sizes = self._look

    def _look(self) -> None:
        self.looks += 1

    def serve_alone(self) -> None:
        """Without an ensemble, on a fresh disk."""
        self.server.serve_standalone(self.host())

    def text(self, word: str) -> str:
        return self.server.answer(word).decode()

    def figure(self, key: str) -> str | None:
        found = re.search(rf"^zk_{key}\t(.*)$", self.text("mntr"), re.M)
        return found.group(1) if found else None

    def play(self, state: PeerState) -> None:
        """Another role, as the peer announces it."""
        self.server.play(state)
        self.chronicle.tell(RoleChange(state, 1, "because"))

    def elect(self, state: PeerState, leader: int) -> None:
        """From LOOKING on: 10 ms of voting, 20 ms to the epoch."""
        self.play(PeerState.LOOKING)
        self.reactor.advance(0.010)
        self.chronicle.tell(Elected(state, Vote(0, 0, leader), 5, (1, 2, 3)))
        self.play(state)
        self.reactor.advance(0.020)
        self.chronicle.tell(EpochAgreed(7))

    def host(self) -> DataHost:
        """What serves clients, on a fresh disk."""
        return host_alone(self.server.config, self.reactor, self.server.stats)

    def read_only(self) -> None:
        """Serve readers."""
        self.server.serve_read_only(self.host())

    def follow(self, state: PeerState = PeerState.FOLLOWING) -> None:
        """Elect server 2, and follow it 30 ms later."""
        self.elect(state, 2)
        self.reactor.advance(0.030)
        self.chronicle.tell(Serving(7))
        self.server.follow(7, 2, self.host(), 2, None)

    def lead(self) -> Leader:
        """Be elected, and lead 30 ms later."""
        self.elect(PeerState.LEADING, 3)
        self.reactor.advance(0.030)
        verifier = Ensemble.from_text(MEMBERS).verifier()
        timing = Timing(2000, 10, 5)
        core = Leader(3, verifier, History(), timing, CommittedLog(), Unheard(), config_text=MEMBERS)
        self.chronicle.tell(Serving(7))
        self.server.lead(7, core, self.host())
        return core


def learner(connection: int, sid: int, phase: LearnerPhase, *, observer: bool = False) -> LearnerHandler:
    handler = LearnerHandler(connection, 0)
    handler.sid, handler.phase, handler.observer = sid, phase, observer
    return handler


# -- roles


def test_a_server_alone_serves_when_it_is_told_to() -> None:
    stage = Stage(ALONE)
    assert stage.text("isro") == "null"
    assert stage.server.status_line() == "starting"
    stage.serve_alone()
    assert "Mode: standalone\n" in stage.text("srvr")
    assert stage.figure("server_state") == "standalone"
    assert stage.figure("peer_state") is None
    assert stage.server.status_line() == "standalone, serving"


def test_who_looks_for_a_leader_does_not_serve() -> None:
    stage = Stage()
    stage.play(PeerState.LOOKING)
    assert stage.text("srvr") == "This ZooKeeper instance is not currently serving requests\n"
    assert stage.server.status_line() == "looking for a leader"
    assert stage.server.stats.counters["looking_count"] == 1


def test_readers_may_be_served_meanwhile() -> None:
    stage = Stage()
    stage.play(PeerState.LOOKING)
    stage.read_only()
    assert "READ-ONLY mode; serving only read-only clients\n" in stage.text("srvr")
    assert "Mode: read-only\n" in stage.text("stat")
    assert stage.text("isro") == "ro"
    assert stage.server.status_line() == "looking for a leader, serving readers"
    stage.server.stop_serving()
    assert stage.text("isro") == "null"


@pytest.mark.parametrize(("state", "mode"), [(PeerState.FOLLOWING, "follower"), (PeerState.OBSERVING, "observer")])
def test_a_learner_serves_once_it_is_up_to_date(state: PeerState, mode: str) -> None:
    stage = Stage()
    stage.elect(state, 2)
    assert stage.text("isro") == "null"
    assert stage.server.status_line() == f"{mode}, not serving yet"
    stage.follow(state)
    assert stage.text("isro") == "rw"
    assert stage.figure("server_state") == mode
    assert stage.figure("peer_state") == f"{state.name.lower()} - broadcast"
    assert stage.server.status_line() == f"{mode}, leader 2, epoch 7"


def test_a_leader_serves_and_counts_its_learners() -> None:
    stage = Stage()
    core = stage.lead()
    core.learners = {
        1: learner(1, 2, LearnerPhase.SERVING),
        2: learner(2, 4, LearnerPhase.SERVING, observer=True),
        3: learner(3, 1, LearnerPhase.SYNCING),
        # A follower that is no member may learn, and is not counted among the voters.
        4: learner(4, 9, LearnerPhase.SERVING),
    }
    assert "Mode: leader\n" in stage.text("srvr")
    assert stage.server.status_line() == "leader, leader 3, epoch 7"
    figures = {key: stage.figure(key) for key in ("learners", "synced_followers", "synced_observers", "quorum_size")}
    assert figures == {"learners": "4", "synced_followers": "1", "synced_observers": "1", "quorum_size": "3"}
    assert stage.figure("synced_non_voting_followers") == "1"
    assert [sid for sid in range(10) if stage.figure(f"avg_{sid}_learner_handler_qp_size")] == [1, 2, 4, 9]


def test_uptime_counts_from_serving() -> None:
    stage = Stage()
    stage.lead()
    stage.reactor.advance(1.5)
    assert (stage.figure("uptime"), stage.figure("leader_uptime")) == ("1500", "1500")
    stage.server.stop_serving()
    assert stage.server.uptime_ms() == stage.server.leader_uptime_ms() == 0


def test_who_leads_no_more_has_no_learners() -> None:
    stage = Stage()
    stage.lead().learners = {1: learner(1, 2, LearnerPhase.SERVING)}
    stage.server.stop_serving()
    assert stage.server.learner_sids() == []
    stage.follow()
    assert stage.figure("learners") is None


# -- elections


def test_the_election_is_reported_behind_all_else() -> None:
    stage = Stage()
    stage.follow()
    stage.reactor.advance(1)
    for word in ("srvr", "stat"):
        *_, epoch, leader, last, end = stage.text(word).split("\n")
        assert (epoch, leader, end) == ("Epoch: 7", "Leader: 2", "")
        assert re.fullmatch(r"Last election: \w{3} \w{3} \d\d \d\d:\d\d:\d\d \S+ \d{4}, 60 ms", last)
    assert stage.text("mntr").splitlines()[-5:] == [
        "zk_election_epoch\t7",
        "zk_election_leader\t2",
        "zk_election_round\t5",
        "zk_election_count\t1",
        "zk_last_election_ms\t60",
    ]


def test_where_nobody_was_elected_nothing_is_reported() -> None:
    alone = Stage(ALONE)
    alone.serve_alone()
    reader = Stage()
    reader.play(PeerState.LOOKING)
    reader.read_only()
    for stage in (alone, reader):
        assert "Epoch:" not in stage.text("srvr")
        assert "election_epoch" not in stage.text("mntr")


def test_the_times_of_an_election_are_counted() -> None:
    stage = Stage()
    stage.follow()
    summaries = stage.server.stats.summaries
    assert summaries["election_time"].total == 10
    assert summaries["follower_sync_time"].total == 30
    assert summaries["unavailable_time"].total == 60
    assert summaries["leader_unavailable_time"].count == summaries["observer_sync_time"].count == 0


def test_the_time_without_a_leader_counts_from_its_loss() -> None:
    stage = Stage()
    stage.lead()
    assert stage.server.stats.summaries["leader_unavailable_time"].total == 60
    stage.server.stop_serving()
    stage.reactor.advance(0.5)
    stage.lead()
    stage.server.stop_serving()
    assert stage.server.stats.summaries["unavailable_time"].largest == 560
    assert stage.server.stats.summaries["leader_unavailable_time"].count == 2


def test_an_observer_elects_nobody() -> None:
    stage = Stage()
    stage.follow(PeerState.OBSERVING)
    assert stage.server.stats.summaries["election_time"].count == 0
    assert stage.server.stats.summaries["observer_sync_time"].total == 30


def test_a_leader_counts_how_it_synchronises() -> None:
    stage = Stage()
    for kind in (PacketType.DIFF, PacketType.SNAP, PacketType.DIFF, PacketType.NEWLEADER):
        stage.chronicle.tell(Send(1, QuorumPacket(kind, 0)))
    counters = stage.server.stats.counters
    assert (counters["diff_count"], counters["snap_count"]) == (2, 1)


# -- connections, disk, host


def test_connections_are_those_of_the_client_port() -> None:
    stage = Stage(ALONE)
    stage.serve_alone()
    port = ClientPort()
    stage.server.clients = port.factory
    port.factory.service = stage.server
    port.connected("192.0.2.7")
    link = port.connected("192.0.2.8")
    link.send(b"cons")
    assert link.written == (
        b" /192.0.2.7:40001[1](queued=0,recved=0,sent=0)\n /192.0.2.8:40002[0](queued=0,recved=1,sent=0)\n\n"
    )
    # One word came, and its answer had not left when stat was asked.
    link = port.connected()
    link.send(b"srvr")
    assert b"Received: 2\nSent: 1\nConnections: 3\n" in link.written
    assert stage.server.stats.counters["bytes_received_count"] == 8


def test_silent_connections_are_dumped_in_tens_of_seconds() -> None:
    stage = Stage(ALONE)
    stage.serve_alone()
    port = ClientPort()
    port.reactor = stage.reactor
    stage.server.clients = port.factory
    assert "Connections Sets (0)/(0):" in stage.text("dump")
    port.connected()
    port.connected()
    dump = stage.text("dump")
    assert re.search(r"Connections Sets \(1\)/\(2\):\n2 expire at .{3} .{3} \d\d \d\d:\d\d:\d[0-9] ", dump)
    assert dump.count("\tip: /192.0.2.1:4000") == 2


def test_sizes_are_those_that_were_last_seen() -> None:
    stage = Stage(ALONE)
    stage.serve_alone()
    looks = stage.looks
    assert stage.text("dirs") == "datadir_size: 0\nlogdir_size: 0\n"
    assert stage.looks == looks + 1
    stage.server.on_sizes((426, 12))
    assert stage.text("dirs") == "datadir_size: 426\nlogdir_size: 12\n"
    assert "dataDirSize=426\n" in stage.text("conf")
    assert "dataLogSize=12\n" in stage.text("conf")


def test_mntr_makes_nobody_look_at_the_disk() -> None:
    stage = Stage(ALONE)
    stage.serve_alone()
    looks = stage.looks
    stage.text("mntr")
    stage.text("srvr")
    assert stage.looks == looks


def test_an_empty_member_has_the_zxid_of_nobody() -> None:
    stage = Stage()
    stage.server.history = History(0, 0, -1)
    stage.follow()
    assert "Zxid: 0xffffffffffffffff\n" in stage.text("srvr")


@pytest.mark.parametrize(
    ("first", "word"), [(b"srvr", "srvr"), (b"stmk", "stmk"), (b"\xff\xf4\xff\xfd", "telnet close")]
)
def test_a_word_is_known_by_its_bytes(first: bytes, word: str) -> None:
    assert Stage().server.word_for(first) == word


@pytest.mark.parametrize("first", [b"SRVR", b"xxxx", b"\x00\x00\x00\x2d", b"\xff\xff\xff\xff"])
def test_other_bytes_are_no_word(first: bytes) -> None:
    assert Stage().server.word_for(first) is None


def test_clients_read_a_release_from_our_version(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(ALONE)
    client = KazooClient()
    monkeypatch.setattr(client, "command", lambda word: stage.text(word.decode()))
    assert client.server_version() == (3, 9, 5)


def test_the_environment_is_told_under_apaches_names() -> None:
    lines = Stage(ALONE).text("envi").splitlines()
    assert lines[0] == "Environment:"
    keys = [line.partition("=")[0] for line in lines[1:]]
    assert keys[:3] == ["zookeeper.version", "host.name", "java.version"]
    assert keys[-3:] == ["os.memory.free", "os.memory.max", "os.memory.total"]
    assert all(re.fullmatch(r"\d+MB", line.partition("=")[2]) for line in lines[-3:])


def test_open_files_are_counted() -> None:
    stage = Stage(ALONE)
    stage.serve_alone()
    before = stage.figure("open_file_descriptor_count")
    with open("/dev/null"), open("/dev/null"):
        after = stage.figure("open_file_descriptor_count")
    assert before is not None
    assert after is not None
    assert int(after) == int(before) + 2
