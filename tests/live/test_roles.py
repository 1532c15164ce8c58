"""Roles and sessions of the other kinds, on real servers; what our servers are held to, Apache's are held to as well.

Servers for readers, sessions of one server, observers that learn from followers or keep nothing, leaders that leave
clients to others.
"""

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from ensemble import Ensemble, Node, free_port, missing, wait_until
from rawclient import Link, Reply, Silent, Welcome, boolean, buffer, connect_body, create_body, i32, multi_body
from rawclient import reply as parse_reply
from rawclient import welcome as parse_welcome

pytestmark = pytest.mark.live

OPEN = [(31, "world", "anyone")]
CREATE, DELETE, EXISTS, GET_DATA, SET_DATA, SYNC, PING, MULTI, CREATE2, MULTI_READ = 1, 2, 3, 4, 5, 9, 11, 14, 15, 22
CLOSE_SESSION = -11
NO_NODE, NOT_READ_ONLY, EPHEMERAL_ON_LOCAL, SESSION_EXPIRED = -101, -119, -120, -112
NOT_SERVING = "This ZooKeeper instance is not currently serving requests\n"
EPHEMERAL = 1
APACHE = pytest.param("apache39", marks=pytest.mark.skipif(missing("apache39") is not None, reason="no Apache 3.9"))
KINDS = pytest.mark.parametrize("kind", ["zktw", APACHE])


class Session:
    """A client on the bare wire, one request at a time."""

    def __init__(
        self, node: Node, former: "Session | None" = None, *, read_only: bool = False, timeout_ms: int = 10_000
    ) -> None:
        self.link = Link(node.client_port)
        self.welcome: Welcome | None = None
        id_, password = (former.id, former.password) if former is not None else (0, bytes(16))
        self.link.send(connect_body(id_, password, timeout_ms, 0, read_only))
        answer = self.link.read()
        if answer is not None:
            self.welcome = parse_welcome(answer)
        self._xid = 0

    @property
    def id(self) -> int:
        assert self.welcome is not None
        return self.welcome.session

    @property
    def password(self) -> bytes:
        assert self.welcome is not None
        return self.welcome.password

    @property
    def refused(self) -> bool:
        """Whether the server does not know the session with which it came."""
        return self.welcome is not None and not self.welcome.session

    def ask(self, op: int, body: bytes = b"") -> Reply:
        self._xid += 1
        self.link.send(i32(self._xid) + i32(op) + body)
        answer = self.link.read(30)
        assert answer is not None
        return parse_reply(answer)

    def create(self, path: str, flags: int = 0) -> int:
        return self.ask(CREATE, create_body(path, b"x", OPEN, flags)).err

    def set(self, path: str, data: bytes) -> int:
        return self.ask(SET_DATA, buffer(path) + buffer(data) + i32(-1)).err

    def get(self, path: str) -> bytes | None:
        """A node's data as all have it by now; None where it is not there."""
        assert self.ask(SYNC, buffer(path)).err == 0
        found = self.ask(GET_DATA, buffer(path) + boolean(False))
        return None if found.err else found.body[4 : 4 + int.from_bytes(found.body[:4], "big")]

    def is_over(self, within_s: float = 20.0) -> bool:
        """Whether the server ends the connection in that time."""
        try:
            return self.link.read(within_s) is None
        except Silent:
            return False


def figure(node: Node, name: str) -> str | None:
    """One line of mntr."""
    found = re.search(rf"^zk_{name}\t(.*)$", node.ask("mntr"), re.M)
    return found.group(1) if found else None


def a_follower(servers: Ensemble) -> Node:
    return next(node for node in servers.nodes if node.mode() == "follower")


# -- readers while nobody leads ---------------------------------------------------------------------------------------


@contextmanager
def readers(kind: str) -> Iterator[tuple[Ensemble, Node, Session]]:
    """Two servers, of which one is gone; the other, and a client that knew both."""
    extra = ["localSessionsEnabled=true"] if kind != "zktw" else ["readonlymode.enabled=true"]
    extra += ["localSessionsUpgradingEnabled=true"] if kind != "zktw" else []
    properties = {"readonlymode.enabled": "true"} if kind != "zktw" else {}
    with Ensemble([kind, kind], extra=extra, properties=properties, tick_ms=1000) as servers:
        servers.start()
        servers.wait_serving()
        client = Session(servers[1])
        assert client.create("/a") == 0
        # Of the ensemble, also where there are local sessions.
        assert client.create("/e", EPHEMERAL) == 0
        servers[2].kill()
        wait_until("serving readers", lambda: servers[1].mode() == "read-only")
        yield servers, servers[1], client


@KINDS
def test_readers_are_served_while_nobody_leads(kind: str) -> None:
    with readers(kind) as (servers, node, former):
        assert former.is_over()
        assert node.ask("isro") == "ro"
        assert "READ-ONLY mode; serving only read-only clients\n" in node.ask("srvr")
        assert figure(node, "server_state") == "read-only"
        # Who does not ask for it is turned away without a word, and so is a session that is the ensemble's.
        assert Session(node).welcome is None
        assert Session(node, former, read_only=True).welcome is None
        reader = Session(node, read_only=True)
        assert reader.welcome is not None
        assert reader.welcome.read_only is True
        assert reader.ask(GET_DATA, buffer("/a") + boolean(True)).err == 0
        assert reader.ask(GET_DATA, buffer("/none") + boolean(False)).err == NO_NODE
        assert reader.ask(PING).err == 0
        assert reader.ask(MULTI_READ, multi_body([])).err == 0
        assert reader.create("/b") == NOT_READ_ONLY
        assert reader.set("/a", b"y") == NOT_READ_ONLY
        assert reader.ask(DELETE, buffer("/a") + i32(-1)).err == NOT_READ_ONLY
        assert reader.ask(SYNC, buffer("/a")).err == NOT_READ_ONLY
        assert reader.ask(MULTI, multi_body([])).err == NOT_READ_ONLY
        # Its session goes on here, over another connection, and ends here.
        again = Session(node, reader, read_only=True)
        assert again.id == reader.id
        assert reader.is_over()
        assert again.ask(CLOSE_SESSION).err == 0
        assert again.is_over()
        assert Session(node, reader, read_only=True).refused
        silent = Session(node, read_only=True, timeout_ms=2000)
        assert silent.is_over(15)
        # The role ends, and its sessions with it.
        last = Session(node, read_only=True)
        servers.start(servers[2])
        assert last.is_over(60)
        servers.wait_serving()
        wait_until("a leader", lambda: node.mode() in ("leader", "follower"))
        assert Session(node, last).refused
        assert Session(node, former).id == former.id


def test_requests_of_a_reader_are_answered_in_their_order() -> None:
    with readers("zktw") as (_, node, _former):
        reader = Session(node, read_only=True)
        asked = [
            i32(1) + i32(CREATE) + create_body("/b", b"", OPEN, 0),
            i32(2) + i32(GET_DATA) + buffer("/a") + boolean(False),
            i32(3) + i32(SET_DATA) + buffer("/a") + buffer(b"y") + i32(-1),
            i32(4) + i32(CLOSE_SESSION),
        ]
        reader.link.send(*asked)
        answers = [parse_reply(reader.link.read() or b"") for _ in asked]
        assert [(answer.xid, answer.err) for answer in answers] == [
            (1, NOT_READ_ONLY),
            (2, 0),
            (3, NOT_READ_ONLY),
            (4, 0),
        ]
        assert reader.is_over()


# -- sessions of one server -------------------------------------------------------------------------------------------


@contextmanager
def local_sessions(kinds: Sequence[str], *, upgrades: bool) -> Iterator[Ensemble]:
    upgrading = f"localSessionsUpgradingEnabled={'true' if upgrades else 'false'}"
    with Ensemble(kinds, extra=["localSessionsEnabled=true", upgrading], tick_ms=1000) as servers:
        servers.start()
        servers.wait_serving()
        yield servers


@KINDS
@pytest.mark.parametrize("where", ["leader", "follower"])
def test_a_session_lives_on_its_server_until_it_owns_something(kind: str, where: str) -> None:
    with local_sessions([kind, kind], upgrades=True) as servers:
        leader, follower = servers.wait_leader(), a_follower(servers)
        here, there = (leader, follower) if where == "leader" else (follower, leader)
        before = leader.ask("srvr")
        client = Session(here)
        # Nothing has been agreed on for it.
        assert re.findall("Zxid: .*", leader.ask("srvr")) == re.findall("Zxid: .*", before)
        assert (figure(here, "local_sessions"), figure(here, "global_sessions")) == ("1", "0")
        assert here.ask("dump").startswith("SessionTracker dump:\nLocal Session Sets (1)/(1):\n")
        assert client.create("/a") == 0
        assert client.set("/a", b"y") == 0
        assert Session(there, client).refused
        again = Session(here, client)
        assert again.id == client.id
        assert client.is_over()
        assert again.create("/e", EPHEMERAL) == 0
        assert again.ask(MULTI, multi_body([(CREATE, create_body("/f", b"", OPEN, EPHEMERAL))])).err == 0
        assert (figure(here, "local_sessions"), figure(here, "global_sessions")) == ("0", "1")
        moved = Session(there, again)
        assert moved.id == client.id
        assert moved.ask(CLOSE_SESSION).err == 0
        other = Session(there)
        assert other.get("/e") is None
        assert other.get("/f") is None
        assert other.get("/a") == b"y"


@KINDS
@pytest.mark.parametrize("where", ["leader", "follower"])
def test_a_local_session_that_may_not_become_more_owns_nothing(kind: str, where: str) -> None:
    with local_sessions([kind, kind], upgrades=False) as servers:
        here = servers.wait_leader() if where == "leader" else a_follower(servers)
        client = Session(here)
        assert client.create("/e", EPHEMERAL) == EPHEMERAL_ON_LOCAL
        answer = client.ask(MULTI, multi_body([(CREATE, create_body("/f", b"", OPEN, EPHEMERAL))]))
        code = EPHEMERAL_ON_LOCAL if where == "leader" else SESSION_EXPIRED
        assert i32(code) in answer.body
        # What comes together, the good-bye too, is answered one by one.
        asked = [
            i32(11) + i32(CREATE) + create_body("/g", b"", OPEN, EPHEMERAL),
            i32(12) + i32(EXISTS) + buffer("/g") + boolean(False),
            i32(13) + i32(CREATE) + create_body("/h", b"", OPEN, 0),
            i32(14) + i32(EXISTS) + buffer("/h") + boolean(False),
            i32(15) + i32(CLOSE_SESSION),
        ]
        client.link.send(*asked)
        answers = [parse_reply(client.link.read() or b"") for _ in asked]
        assert [answer.err for answer in answers] == [EPHEMERAL_ON_LOCAL, NO_NODE, 0, 0, 0]
        assert client.is_over()
        assert Session(here, client).refused
        assert Session(here, timeout_ms=2000).is_over(15)


@pytest.mark.skipif(missing("apache39") is not None, reason="no Apache 3.9")
@pytest.mark.parametrize("kinds", [("zktw", "apache39"), ("apache39", "zktw")])
def test_local_sessions_of_mixed_ensembles(kinds: tuple[str, str]) -> None:
    with local_sessions(kinds, upgrades=True) as servers:
        for here, there in ((servers[1], servers[2]), (servers[2], servers[1])):
            client = Session(here)
            assert client.create(f"/a{here.sid}") == 0
            assert Session(there, client).refused
            assert client.create(f"/e{here.sid}", EPHEMERAL) == 0
            assert client.set(f"/e{here.sid}", b"y") == 0
            moved = Session(there, client)
            assert moved.id == client.id
            assert moved.get(f"/e{here.sid}") == b"y"


# -- observers --------------------------------------------------------------------------------------------------------


def own_addresses(servers: Ensemble) -> None:
    """Each server gets an address of its own: they have the port for observers in common."""
    for node in servers.nodes:
        text = node.config_path.read_text()
        node.config_path.write_text(re.sub(r"^server\.(\d)=127\.0\.0\.1:", r"server.\1=127.0.0.\1:", text, flags=re.M))


def serves_a_client(observer: Node, voter: Node) -> None:
    """Writes, syncs, a session that moves and is kept alive by pings, a watch: all through the one it learns from."""
    client = Session(observer, timeout_ms=3000)
    assert client.create("/a") == 0
    for number in range(30):
        assert client.set("/a", b"%d" % number) == 0
    assert client.get("/a") == b"29"
    assert client.create("/e", EPHEMERAL) == 0
    away = Session(voter, client, timeout_ms=3000)
    assert away.id == client.id
    assert away.get("/e") == b"x"
    back = Session(observer, away, timeout_ms=3000)
    assert back.id == client.id
    assert Session(observer, timeout_ms=3000).id != client.id
    until = time.monotonic() + 7
    while time.monotonic() < until:
        assert back.ask(PING).err == 0
        time.sleep(0.5)
    other = Session(voter)
    assert other.get("/e") == b"x"
    assert back.ask(EXISTS, buffer("/e") + boolean(True)).err == 0
    assert other.ask(DELETE, buffer("/e") + i32(-1)).err == 0
    event = back.link.read()
    assert event is not None
    assert event[:4] == i32(-1)
    assert back.get("/e") is None
    assert back.ask(CLOSE_SESSION).err == 0


@pytest.mark.parametrize(
    ("kinds", "observer"),
    [
        (("zktw", "zktw"), "zktw"),
        pytest.param(
            ("zktw", "zktw"), "apache39", marks=pytest.mark.skipif(missing("apache39") is not None, reason="no 3.9")
        ),
        pytest.param(
            ("apache39", "apache39"), "zktw", marks=pytest.mark.skipif(missing("apache39") is not None, reason="no 3.9")
        ),
        pytest.param(
            ("zktw", "zktw"), "apache38", marks=pytest.mark.skipif(missing("apache38") is not None, reason="no 3.8")
        ),
    ],
)
def test_an_observer_learns_from_a_follower(kinds: tuple[str, ...], observer: str) -> None:
    with Ensemble(kinds, [observer], extra=[f"observerMasterPort={free_port()}"], tick_ms=1000) as servers:
        own_addresses(servers)
        servers.start(*servers.nodes[:2])
        servers.wait_serving(*servers.nodes[:2])
        servers.start(servers[3])
        servers.wait_serving()
        follower, leader = a_follower(servers), servers.wait_leader()
        assert figure(servers[3], "observer_master_id") == str(follower.sid)
        assert figure(follower, "synced_observers") == "1"
        assert figure(leader, "learners") == "1"
        serves_a_client(servers[3], leader)


def test_an_observer_goes_to_another_follower_and_keeps_its_sessions() -> None:
    with Ensemble(["zktw"] * 3, ["zktw"], extra=[f"observerMasterPort={free_port()}"], tick_ms=1000) as servers:
        own_addresses(servers)
        servers.start(*servers.nodes[:3])
        servers.wait_serving(*servers.nodes[:3])
        servers.start(servers[4])
        servers.wait_serving()
        observer = servers[4]
        master = servers[int(figure(observer, "observer_master_id") or 0)]
        assert master.mode() == "follower"
        client = Session(observer)
        assert client.create("/a") == 0
        master.kill()
        assert client.is_over()
        wait_until("another master", lambda: observer.mode() == "observer")
        assert figure(observer, "observer_master_id") != str(master.sid)
        again = Session(observer, client)
        assert again.id == client.id
        assert again.set("/a", b"y") == 0
        # What it has missed is read from the log, or comes with the tree.
        servers.start(master)
        servers.wait_serving(master)
        observer.kill()
        writer = Session(master)
        for number in range(700):
            assert writer.set("/a", b"%d" % number) == 0
        servers.start(observer)
        servers.wait_serving(observer)
        assert Session(observer).get("/a") == b"699"


@pytest.mark.parametrize("kind", ["zktw", APACHE])
def test_an_observer_without_a_disk(kind: str) -> None:
    with Ensemble([kind, kind], ["zktw"], extra=["syncEnabled=false"], tick_ms=1000) as servers:
        servers.start()
        servers.wait_serving()
        observer, files = servers[3], servers[3].data_dir / "version-2"
        client = Session(observer)
        assert client.create("/a") == 0
        assert sorted(path.name for path in files.iterdir()) == ["acceptedEpoch", "currentEpoch"]
        # It holds nothing of the epoch, and does not say so.
        assert (files / "currentEpoch").read_text().strip() == "0"
        observer.kill()
        assert Session(servers[1]).set("/a", b"new") == 0
        servers.start(observer)
        servers.wait_serving(observer)
        assert Session(observer).get("/a") == b"new"
        assert sorted(path.name for path in files.iterdir()) == ["acceptedEpoch", "currentEpoch"]


# -- a leader that leaves clients to others ---------------------------------------------------------------------------


@KINDS
def test_a_leader_may_leave_clients_to_others(kind: str) -> None:
    properties = {"leaderServes": "no"} if kind != "zktw" else {}
    extra = ["leaderServes=no"] if kind == "zktw" else []
    with Ensemble([kind, kind], extra=extra, properties=properties, tick_ms=1000) as servers:
        servers.start()
        wait_until("a follower", lambda: any(node.mode() == "follower" for node in servers.nodes))
        follower = a_follower(servers)
        leader = next(node for node in servers.nodes if node is not follower)
        assert leader.ask("ruok") == "imok"
        assert leader.ask("isro") == "null"
        for word in ("srvr", "stat", "mntr", "cons", "dump"):
            assert leader.ask(word) == NOT_SERVING
        assert Session(leader).welcome is None
        client = Session(follower)
        assert client.create("/e", EPHEMERAL) == 0
        assert client.get("/e") == b"x"
