"""The four-letter words: each once, from facts to text (wire document, f.1)."""

from collections.abc import Callable

from zktw.admin.facts import Connection, Facts
from zktw.admin.monitor import format_double, monitor_lines
from zktw.pipeline.request import UNANSWERED, Client
from zktw.terms.codes import OpCode
from zktw.terms.zxid import format_zxid

NOT_SERVING = "This ZooKeeper instance is not currently serving requests\n"
NOT_ALLOWED = "{word} is not executed because it is not in the whitelist.\n"
# What a telnet client sends on its way out is a word too, with a name of its own.
TELNET_CLOSE = b"\xff\xf4\xff\xfd"
TELNET_CLOSE_NAME = "telnet close"

_MASK = 0xFFFF_FFFF_FFFF_FFFF
# What cons calls operations; refused writes have no name, nor has a client that asked for nothing since crst.
_OPERATIONS: dict[int | None, str] = {
    None: "NA",
    UNANSWERED: "null",
    OpCode.CREATE_SESSION: "SESS",
    OpCode.CLOSE_SESSION: "CLOS",
    OpCode.PING: "PING",
    OpCode.CREATE: "CREA",
    OpCode.CREATE2: "CREA",
    OpCode.CREATE_CONTAINER: "CREA",
    OpCode.CREATE_TTL: "CREA",
    OpCode.DELETE: "DELE",
    OpCode.SET_DATA: "SETD",
    OpCode.RECONFIG: "RECO",
    OpCode.SET_ACL: "SETA",
    OpCode.SYNC: "SYNC",
    OpCode.CHECK: "CHEC",
    OpCode.MULTI: "MULT",
    OpCode.MULTI_READ: "MLTR",
    OpCode.EXISTS: "EXIS",
    OpCode.GET_DATA: "GETD",
    OpCode.SET_WATCHES: "SETW",
    OpCode.SET_WATCHES2: "STW2",
    OpCode.ADD_WATCH: "ADDW",
    OpCode.GET_ACL: "GETA",
    OpCode.GET_CHILDREN: "GETC",
    OpCode.GET_CHILDREN2: "GETC",
    OpCode.GET_ALL_CHILDREN_NUMBER: "GETACN",
    OpCode.CHECK_WATCHES: "CHKW",
    OpCode.REMOVE_WATCHES: "REMW",
    OpCode.WHO_AM_I: "HOMI",
    OpCode.GET_EPHEMERALS: "GETE",
}


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
    return "".join(f"{_connection(cnxn, whole=True)}\n" for cnxn in facts.connections()) + "\n"


def _connection(cnxn: Connection, *, whole: bool) -> str:
    """One connection's line; of a session only where it is wanted whole."""
    client = cnxn.client
    queued = len(client.waiting) if client is not None else 0
    line = f" {cnxn.peer}[{int(cnxn.is_reading)}](queued={queued},recved={cnxn.received},sent={cnxn.sent}"
    if whole and client is not None and client.session is not None:
        line += _session(client, client.session.id, client.session.timeout_ms)
    return line + ")"


def _session(client: Client, session_id: int, timeout_ms: int) -> str:
    cxid = f",lcxid=0x{client.last_cxid:x}" if client.last_cxid >= 0 else ""
    count = client.latency_count
    return (
        f",sid=0x{session_id & _MASK:x},lop={_OPERATIONS.get(client.last_op, 'NA')},est={client.established_ms}"
        f",to={timeout_ms}{cxid},lzxid=0x{client.last_zxid & _MASK:x},lresp={int(client.responded_ms)}"
        f",llat={client.latency_last},minlat={max(0, client.latency_min)}"
        f",avglat={client.latency_total // count if count else 0},maxlat={client.latency_max}"
    )


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
    return f"SessionTracker dump:\n{_sessions(facts)}{_ephemerals(facts)}{_silences(facts)}"


def _sessions(facts: Facts) -> str:
    buckets = facts.served.local_buckets()
    if facts.mode() == "read-only" and not facts.config.replication.local_sessions:
        # All of its sessions are of that kind, and Apache's says nothing of them.
        buckets = None
    local, which = ("", "") if buckets is None else (f"Local {_session_sets(buckets)}", "Global ")
    # Only a leader and a server alone keep the times at which sessions of all end.
    if facts.mode() in ("follower", "observer", "read-only"):
        sessions = facts.served.sessions()
        lines = "".join(f"0x{session_id & _MASK:x}\t{timeout_ms}ms\n" for session_id, timeout_ms in sessions)
        return f"{local}Global Sessions({len(sessions)}):\n{lines}"
    return f"{local}{which}{_session_sets(facts.served.session_buckets())}"


def _session_sets(buckets: list[tuple[str, list[int]]]) -> str:
    text = f"Session Sets ({len(buckets)})/({sum(len(ids) for _, ids in buckets)}):\n"
    for date, ids in buckets:
        text += f"{len(ids)} expire at {date}:\n"
        text += "".join(f"\t0x{session_id & _MASK:x}\n" for session_id in ids)
    return text


def _ephemerals(facts: Facts) -> str:
    owned = facts.served.ephemerals()
    text = f"ephemeral nodes dump:\nSessions with Ephemerals ({len(owned)}):\n"
    for session_id, paths in owned:
        text += f"0x{session_id & _MASK:x}:\n" + "".join(f"\t{path}\n" for path in paths)
    return text


def _silences(facts: Facts) -> str:
    buckets = facts.expiry_buckets()
    text = f"Connections dump:\nConnections Sets ({len(buckets)})/({sum(len(cnxns) for _, cnxns in buckets)}):\n"
    for date, cnxns in buckets:
        text += f"{len(cnxns)} expire at {date}:\n"
        text += "".join(f"\tip: {cnxn.peer} sessionId: 0x{_session_id(cnxn) & _MASK:x}\n" for cnxn in cnxns)
    return text


def _session_id(cnxn: Connection) -> int:
    client = cnxn.client
    return client.session.id if client is not None and client.session is not None else 0


def _hash(facts: Facts) -> str:
    digests = facts.served.digests()
    return "".join(f"{zxid & _MASK:x}: {digest - (digest >> 63 << 64)}\n" for zxid, digest in digests)


def _wchc(facts: Facts) -> str:
    by_session: dict[int, list[str]] = {}
    for session_id, path in facts.served.watches():
        by_session.setdefault(session_id, []).append(path)
    lines = [f"0x{session_id & _MASK:x}\n\t" + "\n\t".join(paths) for session_id, paths in by_session.items()]
    return "".join(f"{line}\n" for line in lines) + "\n"


def _wchp(facts: Facts) -> str:
    by_path: dict[str, list[int]] = {}
    for session_id, path in facts.served.watches():
        by_path.setdefault(path, []).append(session_id)
    text = ""
    for path, ids in by_path.items():
        text += f"{path}\n" + "".join(f"\t0x{session_id & _MASK:x}\n" for session_id in ids)
    return text + "\n"


def _wchs(facts: Facts) -> str:
    sessions: dict[int, None] = {}
    paths: dict[str, None] = {}
    count = 0
    for session_id, path in facts.served.watches():
        sessions[session_id] = paths[path] = None
        count += 1
    return f"{len(sessions)} connections watching {len(paths)} paths\nTotal watches:{count}\n"


def _mntr(facts: Facts) -> str:
    return "".join(f"{line}\n" for line in monitor_lines(facts))


def _srvr(facts: Facts) -> str:
    return _heading(facts) + _server(facts)


def _stat(facts: Facts) -> str:
    clients = "".join(f"{_connection(cnxn, whole=False)}\n" for cnxn in facts.connections())
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
        f"Outstanding: {facts.served.outstanding}",
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
    "hash": _hash,
    "mntr": _mntr,
    "srst": _srst,
    "srvr": _srvr,
    "stat": _stat,
    "wchc": _wchc,
    "wchp": _wchp,
    "wchs": _wchs,
}
WORDS = frozenset({*_ALWAYS, *_WHILE_SERVING, "stmk"})
