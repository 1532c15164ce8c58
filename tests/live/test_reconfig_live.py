"""Dynamic reconfiguration at real servers: members come, go, move and change roles while kazoo writes through them."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from ensemble import HOST, Ensemble, Node, free_port, missing, wait_until
from kazoo.client import KazooClient
from kazoo.exceptions import (
    BadVersionError,
    KazooException,
    NewConfigNoQuorumError,
    NoAuthError,
    ReconfigInProcessError,
)

pytestmark = pytest.mark.live

JVM = "-Xmx128m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto -Dzookeeper.skipACL=yes"
KINDS = [
    pytest.param(kinds, newcomer, marks=pytest.mark.skipif(bool(reason), reason=reason or ""))
    for kinds, newcomer, reason in (
        (("zktw", "zktw", "zktw"), "zktw", missing("zktw")),
        (("apache38", "zktw", "zktw"), "zktw", missing("apache38")),
        (("zktw", "zktw", "apache38"), "zktw", missing("apache38")),
        (("zktw", "zktw", "apache39"), "apache39", missing("apache39")),
    )
]


def line(node: Node, role: str = "participant") -> str:
    """Its server line, as a client sends it."""
    ports = f"{node.quorum_port}:{node.election_port}"
    return f"server.{node.sid}={HOST}:{ports}:{role};{HOST}:{node.client_port}"


@contextmanager
def client_of(*nodes: Node) -> Iterator[KazooClient]:
    """A started client of these servers."""
    client = KazooClient(",".join(node.address for node in nodes), timeout=10)
    client.start(30)
    try:
        yield client
    finally:
        client.stop()
        client.close()


def reconfig(
    client: KazooClient, *, joining: str | None = None, leaving: str | None = None, members: str | None = None
) -> str:
    """Ask until it is answered: while a leader is being replaced the connection may end. The new text."""
    texts: list[str] = []

    def answered() -> bool:
        try:
            data, _ = client.reconfig(joining=joining, leaving=leaving, new_members=members)
        except (NewConfigNoQuorumError, ReconfigInProcessError):
            return False
        except KazooException as error:
            if type(error).__name__ not in ("ConnectionLoss", "SessionExpiredError", "ConnectionClosedError"):
                raise
            return False
        texts.append(data.decode())
        return True

    wait_until("a reconfiguration", answered)
    return texts[0]


def config_of(node: Node) -> str:
    """What a server shows at /zookeeper/config."""
    with client_of(node) as client:
        data: bytes = client.get("/zookeeper/config")[0]
    return data.decode()


def write(client: KazooClient, data: bytes) -> None:
    """Write, however often the connection has to move."""

    def written() -> bool:
        try:
            client.set("/a", data)
        except KazooException:
            return False
        return True

    wait_until(f"the write of {data!r}", written)


def all_agree(ensemble: Ensemble, text: str, data: bytes) -> None:
    """Every server shows this configuration and what was written last."""
    for node in ensemble.nodes:
        with client_of(node) as client:
            client.sync("/a")
            assert client.get("/zookeeper/config")[0].decode() == text, node.sid
            assert client.get("/a")[0] == data, node.sid


def start_newcomer(ensemble: Ensemble, kind: str) -> Node:
    """A fourth server whose file lists all, itself among them."""
    node = Node(4, kind, ensemble.directory / "n4")
    ensemble.nodes.append(node)
    ensemble.write_files(node)
    ensemble.start(node)
    ensemble.wait_serving(node)
    return node


@pytest.mark.parametrize(("kinds", "newcomer"), KINDS)
def test_members_come_go_move_and_change_roles(kinds: tuple[str, ...], newcomer: str) -> None:
    with Ensemble(kinds, extra=["reconfigEnabled=true", "skipACL=yes"], jvm_flags=JVM) as ensemble:
        ensemble.start()
        ensemble.wait_serving()
        with client_of(*ensemble.nodes) as client:
            client.create("/a", b"0")
            first = config_of(ensemble[1])
            assert re.search(r"\nversion=[1-9a-f][0-9a-f]*00000000$", first), "a static configuration got no version"
            assert all(config_of(node) == first for node in ensemble.nodes)
            _joins(ensemble, client, start_newcomer(ensemble, newcomer))
            follower = next(node for node in ensemble.nodes if node.mode() == "follower" and node.sid != 4)
            _changes_roles(ensemble, client, follower)
            _moves(ensemble, client, follower)
            _leader_moves(ensemble, client)
            _leader_leaves(ensemble, client)
        _starts_again(ensemble)


def _joins(ensemble: Ensemble, client: KazooClient, node: Node) -> None:
    seen: list[object] = []
    with client_of(node) as its_client:
        its_client.get("/zookeeper/config", watch=seen.append)
        text = reconfig(client, joining=line(node))
        assert line(node) in text.split("\n")
        wait_until("the watch on the configuration's node", lambda: bool(seen), 10)
        write(its_client, b"joined")
    wait_until("agreement", lambda: all(config_of(other) == text for other in ensemble.nodes))
    all_agree(ensemble, text, b"joined")
    version = text.rpartition("=")[2]
    for other in ensemble.nodes:
        wait_until("files", (other.directory / f"zoo.cfg.dynamic.{version}").exists)
        assert (other.directory / "zoo.cfg.bak").exists()
        static = wait_static(other, version)
        assert not re.search(r"^server\.", static, re.M)
        # Only the newcomer's line says where its clients connect.
        assert bool(re.search(r"^clientPort=", static, re.M)) == (other is not node)


def wait_static(node: Node, version: str) -> str:
    """Its zoo.cfg, once it names the dynamic file of this version."""
    found: list[str] = []

    def names_it() -> bool:
        found[:] = [node.config_path.read_text()]
        return f"dynamicConfigFile={node.config_path}.dynamic.{version}\n" in found[0]

    wait_until("a static file that names the new one", names_it, 10)
    return found[0]


def _changes_roles(ensemble: Ensemble, client: KazooClient, node: Node) -> None:
    reconfig(client, joining=line(node, "observer"))
    wait_until("an observer", lambda: node.mode() == "observer")
    write(client, b"observed")
    reconfig(client, joining=line(node))
    wait_until("a follower", lambda: node.mode() == "follower")
    write(client, b"followed")


def _moves(ensemble: Ensemble, client: KazooClient, node: Node) -> None:
    old_port, node.client_port = node.client_port, free_port()
    reconfig(client, joining=line(node))
    wait_until("a new client port", lambda: node.mode() == "follower")
    assert node.ask("ruok") == "imok"
    node.quorum_port, node.election_port = free_port(), free_port()
    text = reconfig(client, joining=line(node))
    ensemble.wait_serving(node)
    write(client, b"moved")
    assert config_of(node) == text
    assert old_port != node.client_port


def _leader_moves(ensemble: Ensemble, client: KazooClient) -> None:
    leader = ensemble.wait_leader()
    leader.quorum_port = free_port()
    text = reconfig(client, joining=line(leader))
    write(client, b"handed over")
    ensemble.wait_serving()
    assert ensemble.wait_leader() is not leader
    wait_until("agreement", lambda: all(config_of(node) == text for node in ensemble.nodes))
    all_agree(ensemble, text, b"handed over")


def _leader_leaves(ensemble: Ensemble, client: KazooClient) -> None:
    leader = ensemble.wait_leader()
    text = reconfig(client, leaving=str(leader.sid))
    write(client, b"without it")
    left = [node for node in ensemble.nodes if node is not leader]
    ensemble.wait_serving(*left)
    assert ensemble.wait_leader(other_than=leader) is not leader
    leader.kill()
    ensemble.nodes.remove(leader)
    all_agree(ensemble, text, b"without it")


def _starts_again(ensemble: Ensemble) -> None:
    """From the files that the reconfigurations have left."""
    text = config_of(ensemble.nodes[0])
    for node in ensemble.nodes:
        node.kill()
    ensemble.start()
    ensemble.wait_serving()
    all_agree(ensemble, text, b"without it")


def test_only_who_may_and_only_what_was_seen() -> None:
    with Ensemble(["zktw"] * 3, extra=["reconfigEnabled=true"]) as ensemble:
        ensemble.start()
        ensemble.wait_serving()
        with client_of(ensemble[1]) as client, pytest.raises(NoAuthError):
            client.reconfig(joining=None, leaving="7", new_members=None)
    with Ensemble(["zktw"] * 3, extra=["reconfigEnabled=true", "skipACL=yes"]) as ensemble:
        ensemble.start()
        ensemble.wait_serving()
        for node in ensemble.nodes:
            with client_of(node) as client:
                version = int(client.get("/zookeeper/config")[0].decode().rpartition("=")[2], 16)
                data, stat = client.reconfig(joining=None, leaving="7", new_members=None, from_config=version)
                assert data.decode().endswith(f"\nversion={stat.mzxid:x}")
                assert stat.version == -1
                with pytest.raises(BadVersionError):
                    client.reconfig(joining=None, leaving="7", new_members=None, from_config=version)


def test_changed_lists_in_a_rolling_restart() -> None:
    """With reconfigEnabled=false the file's word holds, whatever snapshots and leaders say (bugs 2819 and 3829)."""
    with Ensemble(["zktw"] * 3) as ensemble:
        ensemble.start()
        ensemble.wait_serving()
        with client_of(*ensemble.nodes) as client:
            client.create("/a", b"0")
        newcomer = Node(4, "zktw", ensemble.directory / "n4")
        newcomer.data_dir.mkdir(parents=True)
        ensemble.nodes.append(newcomer)
        # Server 1 goes, server 4 comes.
        gone = ensemble.nodes.pop(0)
        # First who comes: of the new list two must be found that follow one leader.
        for node in (newcomer, *ensemble.nodes[:2]):
            if node.alive():
                node.term()
            ensemble.write_files(node)
            ensemble.start(node)
            ensemble.wait_serving(node)
        gone.kill()
        ensemble.wait_serving()
        with client_of(newcomer) as client:
            write(client, b"1")
        for node in ensemble.nodes:
            text = config_of(node)
            assert re.findall(r"server\.(\d)", text) == ["2", "3", "4"], node.sid
            assert text.endswith("\nversion=0")
            assert not list(node.directory.glob("zoo.cfg.*"))
