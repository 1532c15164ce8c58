"""Reconfiguring: what of a server follows when another configuration is proposed, comes into force, or is forgotten."""

from typing import Any

import pytest

from zktw.config import Config
from zktw.node.reconfiguring import Reconfiguring, ensemble_of, read_ensemble
from zktw.quorum.election import FastLeaderElection
from zktw.quorum.ensemble import Ensemble
from zktw.terms.codes import OpCode
from zktw.terms.vote import PeerState
from zktw.tree.database import Database
from zktw.tree.paths import CONFIG
from zktw.wire.txn import DeleteTxn, SetDataTxn, Txn, TxnHeader, encode_txn

ONE = "server.1=a:1:2:participant"
TWO = "server.2=b:1:2:participant"
THREE = "server.3=c:1:2:participant"
FIRST = Ensemble.from_text(f"{ONE}\n{TWO}\n{THREE}\nversion=0")


class Recorder:
    """Stands for whatever is told: keeps the calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **options: self.calls.append((name, args, options))

    def last(self, name: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of the last call of this name."""
        return next((args, options) for called, args, options in reversed(self.calls) if called == name)

    def named(self) -> list[str]:
        """What was called, in order."""
        return [name for name, _, _ in self.calls]


def part_of(part: Any) -> Any:
    """A recorder in the place of what it stands for."""
    return part


class Server:
    """A Reconfiguring of one server, and all that it tells."""

    def __init__(self, *, enabled: bool = True, settings: dict[str, str] | None = None) -> None:
        config = Config(
            "/zoo.cfg",
            "/data",
            tick_ms=100,
            ensemble=FIRST,
            my_sid=1,
            reconfig_enabled=enabled,
            settings=settings or {},
        )
        self.config = config
        self.manager, self.ports, self.quorum, self.files = (Recorder() for _ in range(4))
        self.election = FastLeaderElection(1, FIRST)
        manager, ports, quorum, files = (part_of(part) for part in (self.manager, self.ports, self.quorum, self.files))
        self.used: list[Config] = []
        self.clients: list[tuple[str, int]] = []
        self.reconfiguring = Reconfiguring(config, manager, self.election, ports, quorum, files, self.used.append)
        self.reconfiguring.move_clients = lambda host, port: self.clients.append((host, port))


def members(*lines: str, version: int = 0x1_0000_0005) -> Ensemble:
    """A configuration of these lines."""
    return Ensemble.from_text("\n".join([*lines, f"version={version:x}"]))


def payload(text: bytes, txn: Txn | None = None) -> bytes:
    """A transaction that brings this text."""
    header = TxnHeader(1, 1, 0x1_0000_0005, 0, OpCode.RECONFIG if txn is None else OpCode.DELETE)
    return encode_txn(header, txn or SetDataTxn(CONFIG, text, -1), None)


def holding(ensemble: Ensemble) -> Database:
    """A database whose history has brought this."""
    database = Database()
    database.set_config(ensemble.text().encode(), ensemble.version, 0)
    return database


def test_a_proposal_is_written_and_its_servers_dialled_and_nothing_else_changes() -> None:
    server = Server()
    server.reconfiguring.on_proposed(payload(members(ONE, TWO, THREE, "server.4=d:1:2").text().encode()))
    assert server.reconfiguring.is_pending
    assert server.reconfiguring.committed is FIRST
    assert server.files.named() == ["propose"]
    voters, others = server.manager.last("use")[0]
    assert list(voters) == [1, 2, 3, 4]
    assert others == {}
    assert not server.used


def test_who_is_to_leave_is_dialled_until_it_is_in_force() -> None:
    server = Server()
    server.reconfiguring.propose(members(ONE, TWO))
    assert list(server.manager.last("use")[0][0]) == [1, 2, 3]
    server.reconfiguring.commit()
    assert list(server.manager.last("use")[0][0]) == [1, 2]
    assert server.election.ensemble.voters == (1, 2)


def test_what_is_in_force_is_told_to_all() -> None:
    server = Server()
    new = members(f"{ONE};127.0.0.1:5", TWO)
    change = server.reconfiguring.adopt(new)
    assert change.client
    assert not change.role
    assert [config.ensemble for config in server.used] == [new]
    assert server.used[0].client_port == 5
    assert server.clients == [("127.0.0.1", 5)]
    assert server.files.last("commit") == ((new,), {"without_client_port": True})
    assert not server.reconfiguring.is_pending


@pytest.mark.parametrize(
    ("line", "listener"),
    [("server.1=a:9:2:participant", "quorum"), ("server.1=a:1:9:participant", "election")],
)
def test_only_the_port_that_moves_is_bound_anew(line: str, listener: str) -> None:
    server = Server()
    server.reconfiguring.adopt(members(line, TWO, THREE))
    moved = {"quorum": server.quorum.calls, "election": server.ports.calls}
    assert [name for name, calls in moved.items() if calls] == [listener]
    assert ("move" in server.manager.named()) == (listener == "election")


def test_our_role_may_change() -> None:
    server = Server()
    change = server.reconfiguring.adopt(members("server.1=a:1:2:observer", TWO, THREE))
    assert change.role
    assert server.used[0].is_observer
    back = server.reconfiguring.adopt(members(ONE, TWO, THREE, version=0x1_0000_0006))
    assert back.role
    assert not server.used[1].is_observer


def test_who_is_removed_plays_on_as_what_it_was_and_says_where_no_clients_connect() -> None:
    server = Server()
    change = server.reconfiguring.adopt(members(TWO, THREE))
    assert change.removed
    assert not change.role
    assert not server.used[0].is_observer
    assert not server.election.is_voter
    assert server.election.appoint(2, 1, 1).state == PeerState.FOLLOWING
    assert server.files.last("commit")[1] == {"without_client_port": False}


def test_the_same_once_more_is_nothing() -> None:
    server = Server()
    new = members(ONE, TWO)
    server.reconfiguring.adopt(new)
    told = len(server.used), len(server.files.calls)
    server.reconfiguring.adopt(new)
    assert (len(server.used), len(server.files.calls)) == told


def test_a_static_configuration_gets_its_first_version_from_the_leader() -> None:
    server = Server()
    server.reconfiguring.first(0x1_0000_0000)
    assert server.reconfiguring.is_pending
    assert server.reconfiguring.last_seen.members == FIRST.members
    server.reconfiguring.commit()
    server.reconfiguring.first(0x2_0000_0000)
    assert not server.reconfiguring.is_pending


def test_our_history_may_know_more_than_the_file() -> None:
    server = Server()
    later = members(ONE, TWO, "server.4=d:1:2")
    server.reconfiguring.recover(holding(later))
    assert server.reconfiguring.last_seen == later
    assert server.reconfiguring.committed is FIRST
    assert list(server.manager.last("use")[0][0]) == [1, 2, 3, 4]


def test_a_proposal_that_our_history_has_lost_is_none_any_more() -> None:
    server = Server()
    server.reconfiguring.propose(members(ONE, TWO))
    server.reconfiguring.look(holding(FIRST))
    assert not server.reconfiguring.is_pending


@pytest.mark.parametrize(("settings", "copied"), [({}, ["back_up"]), ({"dynamicConfigFile": "/d"}, [])])
def test_the_file_is_copied_while_it_holds_the_members(settings: dict[str, str], copied: list[str]) -> None:
    server = Server(settings=settings)
    server.reconfiguring.recover(Database())
    assert server.files.named() == copied


def test_where_it_is_off_nothing_ever_changes() -> None:
    server = Server(enabled=False)
    later = members(ONE, TWO)
    server.reconfiguring.recover(holding(later))
    server.reconfiguring.on_proposed(payload(later.text().encode()))
    server.reconfiguring.first(0x1_0000_0000)
    assert not server.reconfiguring.is_pending
    assert server.reconfiguring.committed is FIRST
    assert not server.files.calls


@pytest.mark.parametrize(
    "data",
    [
        payload(b"junk"),
        payload(b"\xff"),
        payload(b""),
        payload(b"version=5"),
        payload(b"server.1=a:1:2;0\nversion=5"),
        payload(b"", DeleteTxn("/a")),
        payload(b"server.1=a:1:2")[:-3],
        b"",
    ],
)
def test_a_transaction_that_brings_no_configuration_is_passed_over(data: bytes) -> None:
    assert ensemble_of(data) is None
    server = Server()
    server.reconfiguring.on_proposed(data)
    assert server.reconfiguring.last_seen is FIRST


def test_what_is_no_text_is_none() -> None:
    assert read_ensemble(FIRST.text().encode()) == FIRST
    assert read_ensemble(b"server.1=\n") is None
