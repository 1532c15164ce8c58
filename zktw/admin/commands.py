"""The four-letter words: each once, from facts to text (wire document, f.1)."""

from collections.abc import Callable, Iterable
from typing import Protocol

from zktw.admin.monitor import format_double, monitor_lines
from zktw.admin.stats import ServerStats
from zktw.config import Config
from zktw.terms.zxid import format_zxid

NOT_SERVING = "This ZooKeeper instance is not currently serving requests\n"
NOT_ALLOWED = "{word} is not executed because it is not in the whitelist.\n"
# What a telnet client sends on its way out is a word too, with a name of its own.
TELNET_CLOSE = b"\xff\xf4\xff\xfd"
TELNET_CLOSE_NAME = "telnet close"


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

    def reset_stats(self) -> None:
        """Count from 0 again."""


class Facts(Protocol):
    """What the words need to know of a node. All of it is at hand: nothing here may block."""

    config: Config
    stats: ServerStats
    version: str
    trace_mask: int

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


def answer(word: str, facts: Facts) -> bytes:
    """What a word is answered, whitelist and state considered. Unknown words do not come here.

    To stmk, if it is allowed, nothing: its mask is still to come, and then it is for set_trace_mask. To a telnet's end
    nothing either: only a whitelist of everything has it.
    """
    if not _is_allowed(word, facts):
        return NOT_ALLOWED.format(word=word).encode()
    if word in ("stmk", TELNET_CLOSE_NAME):
        return b""
    always = _ALWAYS.get(word)
    if always is not None:
        return always(facts).encode()
    if not facts.is_serving:
        return (NOT_SERVING.rstrip("\n") if word == "hash" else NOT_SERVING).encode()
    return _WHILE_SERVING[word](facts).encode()


def set_trace_mask(mask: int, facts: Facts) -> bytes:
    """stmk: the mask that follows the word is kept and said again; nothing is traced by it."""
    if not _is_allowed("stmk", facts):
        return NOT_ALLOWED.format(word="stmk").encode()
    facts.trace_mask = mask
    return str(mask).encode()


def _is_allowed(word: str, facts: Facts) -> bool:
    allowed = facts.config.four_letter_words
    return allowed is None or word in allowed


def _envi(facts: Facts) -> str:
    return "Environment:\n" + "".join(f"{key}={value}\n" for key, value in facts.environment())


def _isro(facts: Facts) -> str:
    if not facts.is_serving:
        return "null"
    return "ro" if facts.is_read_only else "rw"


def _conf(facts: Facts) -> str:
    config = facts.config
    data_bytes, log_bytes = facts.data_sizes()
    lines = [
        f"clientPort={config.client_port if config.client_port is not None else -1}",
        "secureClientPort=-1",
        f"dataDir={config.data_dir}/version-2",
        f"dataDirSize={data_bytes}",
        f"dataLogDir={config.data_log_dir}/version-2",
        f"dataLogSize={log_bytes}",
        f"tickTime={config.tick_ms}",
        f"maxClientCnxns={config.max_client_cnxns}",
        f"minSessionTimeout={config.min_session_timeout_ms}",
        f"maxSessionTimeout={config.max_session_timeout_ms}",
        f"clientPortListenBacklog={config.client_backlog}",
        f"serverId={config.my_sid}",
    ]
    ensemble = config.ensemble
    if ensemble is None:
        return "\n".join(lines) + "\n"
    me = ensemble.members[config.my_sid]
    lines += [
        f"initLimit={config.init_limit}",
        f"syncLimit={config.sync_limit}",
        "electionAlg=3",
        f"electionPort={'|'.join(str(address.port) for address in me.election_addresses)}",
        f"quorumPort={'|'.join(str(address.port) for address in me.quorum_addresses)}",
        f"peerType={int(config.is_observer)}",
    ]
    if facts.is_read_only:
        # Who has no leader has no configuration that a quorum has confirmed.
        return "\n".join(lines) + "\n"
    lines.append("membership: ")
    return "\n".join(lines) + "\n" + ensemble.text()


def _cons(facts: Facts) -> str:
    return "".join(f"{_connection(cnxn)}\n" for cnxn in facts.connections()) + "\n"


def _connection(cnxn: Connection) -> str:
    return f" {cnxn.peer}[{int(cnxn.is_reading)}](queued=0,recved={cnxn.received},sent={cnxn.sent})"


def _crst(facts: Facts) -> str:
    for cnxn in facts.connections():
        cnxn.reset_stats()
    return "Connection stats reset.\n"


def _srst(facts: Facts) -> str:
    facts.stats.reset()
    return "Server stats reset.\n"


def _dirs(facts: Facts) -> str:
    data_bytes, log_bytes = facts.data_sizes()
    return f"datadir_size: {data_bytes}\nlogdir_size: {log_bytes}\n"


def _dump(facts: Facts) -> str:
    # Only a leader and a server alone keep the times at which sessions end.
    learner = facts.mode() in ("follower", "observer", "read-only")
    sessions = "Global Sessions(0):\n" if learner else "Session Sets (0)/(0):\n"
    buckets = facts.expiry_buckets()
    count = sum(len(cnxns) for _, cnxns in buckets)
    text = (
        f"SessionTracker dump:\n{sessions}ephemeral nodes dump:\nSessions with Ephemerals (0):\n"
        f"Connections dump:\nConnections Sets ({len(buckets)})/({count}):\n"
    )
    for date, cnxns in buckets:
        text += f"{len(cnxns)} expire at {date}:\n"
        text += "".join(f"\tip: {cnxn.peer} sessionId: 0x0\n" for cnxn in cnxns)
    return text


def _mntr(facts: Facts) -> str:
    return "".join(f"{line}\n" for line in monitor_lines(facts))


def _srvr(facts: Facts) -> str:
    return _heading(facts) + _server(facts)


def _stat(facts: Facts) -> str:
    clients = "".join(f"{_connection(cnxn)}\n" for cnxn in facts.connections())
    return f"{_heading(facts)}Clients:\n{clients}\n{_server(facts)}"


def _heading(facts: Facts) -> str:
    read_only = "READ-ONLY mode; serving only read-only clients\n" if facts.is_read_only else ""
    return f"Zookeeper version: {facts.version}\n{read_only}"


def _server(facts: Facts) -> str:
    mode, stats = facts.mode(), facts.stats
    latency = stats.latency
    lines = [
        f"Latency min/avg/max: {latency.smallest}/{format_double(latency.average)}/{latency.largest}",
        f"Received: {stats.received}",
        f"Sent: {stats.sent}",
        f"Connections: {facts.connection_count()}",
        "Outstanding: 0",
        f"Zxid: {format_zxid(facts.zxid())}",
        f"Mode: {mode}",
        f"Node count: {facts.node_count}",
    ]
    if mode == "leader":
        lines.append("Proposal sizes last/min/max: -1/-1/-1")
    return "\n".join(lines + facts.election_lines()) + "\n"


_ALWAYS: dict[str, Callable[[Facts], str]] = {
    "ruok": lambda facts: "imok",
    "envi": _envi,
    "isro": _isro,
    "gtmk": lambda facts: str(facts.trace_mask),
}
_WHILE_SERVING: dict[str, Callable[[Facts], str]] = {
    "conf": _conf,
    "cons": _cons,
    "crst": _crst,
    "dirs": _dirs,
    "dump": _dump,
    # One line for every 128 zxids: there are none before the first transactions.
    "hash": lambda facts: "",
    "mntr": _mntr,
    "srst": _srst,
    "srvr": _srvr,
    "stat": _stat,
    "wchc": lambda facts: "\n",
    "wchp": lambda facts: "\n",
    "wchs": lambda facts: "0 connections watching 0 paths\nTotal watches:0\n",
}
WORDS = frozenset({*_ALWAYS, *_WHILE_SERVING, "stmk"})
