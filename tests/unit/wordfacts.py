"""A node that is nothing but facts, for the tests of the four-letter words."""

from dataclasses import dataclass, field

from zktw.admin.facts import Connection
from zktw.admin.stats import ServerStats
from zktw.config import Config
from zktw.pipeline.request import Client
from zktw.quorum.ensemble import Ensemble

MEMBERS = """\
server.1=127.0.0.1:2888:3888:participant
server.2=127.0.0.1:2889:3889:participant
server.3=127.0.0.1:2890:3890:participant
server.4=127.0.0.1:2891:3891|127.0.0.2:2892:3892:observer
version=0"""


@dataclass(slots=True)
class FakeConnection:
    peer: str
    is_reading: bool = True
    received: int = 0
    sent: int = 0
    client: Client | None = None

    def reset_stats(self) -> None:
        self.received = self.sent = 0
        if self.client is not None:
            self.client.reset_stats()


@dataclass
class FakeServed:
    """Sessions and tree, empty unless told otherwise."""

    outstanding: int = 0
    session_count: int = 0
    ephemeral_count: int = 0
    watch_count: int = 0
    auth_failures: int = 0
    local_session_count: int = 0
    timeouts: list[tuple[int, int]] = field(default_factory=list)
    buckets: list[tuple[str, list[int]]] = field(default_factory=list)
    local: list[tuple[str, list[int]]] | None = None
    owned: list[tuple[int, list[str]]] = field(default_factory=list)
    watched: list[tuple[int, str]] = field(default_factory=list)
    digested: list[tuple[int, int]] = field(default_factory=list)
    limited: list[tuple[str, int]] = field(default_factory=list)

    def sessions(self) -> list[tuple[int, int]]:
        return self.timeouts

    def local_buckets(self) -> list[tuple[str, list[int]]] | None:
        return self.local

    def session_buckets(self) -> list[tuple[str, list[int]]]:
        return self.buckets

    def ephemerals(self) -> list[tuple[int, list[str]]]:
        return self.owned

    def watches(self) -> list[tuple[int, str]]:
        return self.watched

    def digests(self) -> list[tuple[int, int]]:
        return self.digested

    def quotas(self) -> list[tuple[str, int]]:
        return self.limited


@dataclass
class FakeFacts:
    """Serves alone unless it is told otherwise."""

    config: Config = field(
        default_factory=lambda: Config("zoo.cfg", "/d", "/l", client_port=2181, four_letter_words=None)
    )
    stats: ServerStats = field(default_factory=ServerStats)
    version: str = "3.9.5-x, built on 2026-11-24 00:00 UTC"
    node_count: int = 5
    trace_mask: int = 306
    is_serving: bool = True
    is_read_only: bool = False
    role: str = "standalone"
    last_zxid: int = 0
    clients: list[Connection] = field(default_factory=list)
    buckets: list[tuple[str, list[Connection]]] = field(default_factory=list)
    learners: list[int] = field(default_factory=list)
    figures: list[tuple[str, object]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    served: FakeServed = field(default_factory=FakeServed)

    def mode(self) -> str:
        return self.role

    def zxid(self) -> int:
        return self.last_zxid

    def connections(self) -> list[Connection]:
        return self.clients

    def connection_count(self) -> int:
        return len(self.clients)

    def expiry_buckets(self) -> list[tuple[str, list[Connection]]]:
        return self.buckets

    def data_sizes(self) -> tuple[int, int]:
        return 426, 67_108_880

    def data_size(self) -> int:
        return 44

    def environment(self) -> list[tuple[str, str]]:
        return [("zookeeper.version", self.version), ("host.name", "here")]

    def descriptors(self) -> tuple[int, int]:
        return 17, 1024

    def uptime_ms(self) -> int:
        return 1077

    def leader_uptime_ms(self) -> int:
        return 1078

    def peer_state(self) -> str:
        return {"leader": "leading", "follower": "following", "observer": "observing"}[self.role] + " - broadcast"

    def leader_sid(self) -> int:
        return 3

    def master_sid(self) -> int:
        return 4

    def observer_master_synced(self) -> int | None:
        return None

    def learner_sids(self) -> list[int]:
        return self.learners

    def synced_followers(self) -> int:
        return 2

    def synced_non_voting_followers(self) -> int:
        return 0

    def synced_observers(self) -> int:
        return 1

    def quorum_size(self) -> int:
        return 3

    def election_figures(self) -> list[tuple[str, object]]:
        return self.figures

    def election_lines(self) -> list[str]:
        return self.lines


def member(role: str, *, my_sid: int = 3, words: frozenset[str] | None = None) -> FakeFacts:
    """Facts of a server of an ensemble of four that plays this role."""
    config = Config(
        "zoo.cfg",
        "/d",
        "/l",
        client_port=2181,
        ensemble=Ensemble.from_text(MEMBERS),
        my_sid=my_sid,
        is_observer=role == "observer",
        four_letter_words=words,
    )
    return FakeFacts(config, role=role, is_read_only=role == "read-only")
