"""What the words ask of a node: its connections, its sessions and tree, its role."""

from collections.abc import Iterable
from typing import Protocol

from zktw.admin.stats import ServerStats
from zktw.config import Config
from zktw.pipeline.request import Client


class Connection(Protocol):
    """What cons and stat say of a client's connection."""

    received: int
    sent: int

    @property
    def peer(self) -> str:
        """Its address, as /host:port."""

    @property
    def is_reading(self) -> bool:
        """Whether the server reads from it."""

    @property
    def client(self) -> Client | None:
        """What the pipeline knows of it, once its first frame has come."""

    def reset_stats(self) -> None:
        """Count from 0 again."""


class Served(Protocol):
    """The sessions and the tree behind the words. Sizes in bytes."""

    @property
    def outstanding(self) -> int:
        """Requests that wait for their turn."""

    @property
    def session_count(self) -> int:
        """Sessions that have begun and not ended."""

    @property
    def local_session_count(self) -> int:
        """The same of those that live on this server only."""

    @property
    def ephemeral_count(self) -> int:
        """Nodes that end with a session."""

    @property
    def watch_count(self) -> int:
        """Watches of all kinds, as Apache counts them."""

    @property
    def auth_failures(self) -> int:
        """Clients that said who they are and were not believed."""

    def sessions(self) -> list[tuple[int, int]]:
        """Ids and timeouts in milliseconds, of sessions of the whole ensemble."""

    def local_buckets(self) -> list[tuple[str, list[int]]] | None:
        """session_buckets() of those that live on this server only; None where there are none of that kind."""

    def session_buckets(self) -> list[tuple[str, list[int]]]:
        """When sessions end unless they are heard of, as dates, and which these are; soonest first."""

    def ephemerals(self) -> list[tuple[int, list[str]]]:
        """Sessions with the paths of their nodes."""

    def watches(self) -> Iterable[tuple[int, str]]:
        """Session and path of all watches but those of children."""

    def digests(self) -> Iterable[tuple[int, int]]:
        """zxid and digest of the tree, oldest first."""

    def quotas(self) -> list[tuple[str, int]]:
        """Limits and use of each part of the tree that has any, by the names of mntr."""


class Facts(Protocol):
    """What the words need to know of a node. All of it is at hand: nothing here may block."""

    config: Config
    stats: ServerStats
    version: str
    trace_mask: int

    @property
    def served(self) -> Served:
        """Sessions and tree; where none are served, of an empty one."""

    @property
    def node_count(self) -> int:
        """Nodes, of which the root counts twice."""

    @property
    def is_serving(self) -> bool:
        """Whether clients are served, if only for reading."""

    @property
    def is_read_only(self) -> bool:
        """Whether clients are served for reading only."""

    def mode(self) -> str:
        """leader, follower, observer, standalone or read-only."""

    def zxid(self) -> int:
        """The last one that was processed."""

    def connections(self) -> Iterable[Connection]:
        """The clients' connections, in the order of their coming."""

    def connection_count(self) -> int:
        """How many there are."""

    def expiry_buckets(self) -> list[tuple[str, list[Connection]]]:
        """When silent connections end, as dates, and whose these are."""

    def data_sizes(self) -> tuple[int, int]:
        """Bytes of the data and the log directory, as they last were looked at."""

    def data_size(self) -> int:
        """Bytes of the tree's paths and data, about."""

    def environment(self) -> list[tuple[str, str]]:
        """The lines of envi."""

    def descriptors(self) -> tuple[int, int]:
        """Open files and how many may be."""

    def uptime_ms(self) -> int:
        """Since this server serves."""

    def leader_uptime_ms(self) -> int:
        """Since it leads."""

    def peer_state(self) -> str:
        """State and phase, such as "following - broadcast"."""

    def leader_sid(self) -> int:
        """The leader that is followed, or ourselves."""

    def master_sid(self) -> int:
        """Whom an observer learns from: the leader, or a follower of it."""

    def observer_master_synced(self) -> int | None:
        """A follower's observers that hold its history; None where it serves none."""

    def learner_sids(self) -> list[int]:
        """A leader's learners."""

    def synced_followers(self) -> int:
        """Voting learners that hold the leader's history."""

    def synced_non_voting_followers(self) -> int:
        """Learners that follow without being voters."""

    def synced_observers(self) -> int:
        """Observers that hold the leader's history."""

    def quorum_size(self) -> int:
        """How many servers vote."""

    def election_figures(self) -> list[tuple[str, object]]:
        """Our own lines at the end of mntr: the election."""

    def election_lines(self) -> list[str]:
        """Our own lines at the end of srvr and stat: the election."""
