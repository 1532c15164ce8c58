"""zktw snapshot: dump, summary and diff, on snapshots of Apache and of our own, whole and damaged."""

import base64
import gzip
import json
from pathlib import Path

import pytest
from toolrun import DATADIRS, RECORDINGS, Zktw, database, flipped, snapshot

from zktw.storage.snapformat import SnapshotEncoder
from zktw.terms.codes import OpCode
from zktw.tree.database import Database
from zktw.tree.owner import CONTAINER_OWNER, OwnerRules
from zktw.wire.records import OPEN_ACL, Acl
from zktw.wire.txn import CreateSessionTxn, CreateTxn, SetAclTxn, SetDataTxn, Txn, TxnHeader

STOPPED = [name for name in DATADIRS if name.endswith("snap")]
NEWEST = RECORDINGS / "datadir-apache38-snap" / "version-2" / "snapshot.88"
OLDER = RECORDINGS / "datadir-apache38-snap" / "version-2" / "snapshot.64"


@pytest.fixture
def zktw(capsys: pytest.CaptureFixture[str]) -> Zktw:
    return Zktw(capsys)


def made(*txns: tuple[int, Txn], client: int = 7) -> Database:
    """A database after these, the zxids counted from 1."""
    database = Database(extended_types=True)
    for zxid, (type_, txn) in enumerate(txns, start=1):
        database.apply(TxnHeader(client, zxid, zxid, 1000 * zxid, type_), txn)
    return database


def create(path: str, data: bytes | None = b"", *, ephemeral: bool = False) -> tuple[int, Txn]:
    return OpCode.CREATE, CreateTxn(path, data, OPEN_ACL, ephemeral, 1)


def written(directory: Path, name: str, content: bytes) -> Path:
    path = directory / name
    path.write_bytes(content)
    return path


class TestDump:
    def test_a_node_a_line_parents_first_and_by_name(self, zktw: Zktw, tmp_path: Path) -> None:
        tree = made(create("/b", b"12"), create("/a"), create("/b/c", None), create("/b/a"))
        told = zktw("snapshot", "dump", written(tmp_path, "snapshot.4", snapshot(tree, digest=0x99)))
        assert told.status == 0
        assert [line.split()[0] for line in told.lines] == [
            *("/", "/a", "/b", "/b/a", "/b/c", "/zookeeper", "/zookeeper/config", "/zookeeper/quota")
        ]
        assert "8 nodes, 0 sessions" in told.out
        assert "digest 0x99 at 0x4" in told.out
        assert told.lines[2] == (
            "/b czxid=0x1 ctime=1970-01-01T00:00:01.000Z mzxid=0x1 mtime=1970-01-01T00:00:01.000Z pzxid=0x3 version=0"
            " cversion=0 aversion=0 children=2 bytes=2 acl=open"
        )
        assert "bytes=null" in told.lines[4]

    def test_what_keeps_a_node_alive(self, zktw: Zktw, tmp_path: Path) -> None:
        rules = OwnerRules(extended=True)
        tree = made(
            (OpCode.CREATE_SESSION, CreateSessionTxn(30_000)),
            create("/e", ephemeral=True),
            (OpCode.CREATE_CONTAINER, CreateTxn("/c", b"", OPEN_ACL, False, 1)),
            (OpCode.CREATE_TTL, CreateTxn("/t", b"", OPEN_ACL, False, 1, 5000)),
            create("/p"),
        )
        assert rules.owner_of_ttl(5000) != CONTAINER_OWNER
        told = zktw("snapshot", "dump", "--json", written(tmp_path, "snapshot.5", snapshot(tree)))
        head, session, *nodes = told.objects
        assert head["sessions"] == 1
        assert session == {"record": "session", "session": "0x7", "timeout_ms": 30_000}
        by_path = {node["path"]: node for node in nodes}
        assert by_path["/e"]["kind"] == "ephemeral"
        assert by_path["/e"]["session"] == "0x7"
        assert by_path["/c"]["kind"] == "container"
        assert by_path["/t"]["kind"] == "ttl"
        assert by_path["/t"]["ttl_ms"] == 5000
        assert by_path["/p"]["kind"] == "persistent"

    def test_data_and_lists(self, zktw: Zktw, tmp_path: Path) -> None:
        acls = (Acl(1, "world", "anyone"), Acl(24, "digest", "bob:hash"))
        tree = made(create("/b", b"\xff"), (OpCode.SET_ACL, SetAclTxn("/b", acls, 1)))
        path = written(tmp_path, "snapshot.2", snapshot(tree))
        line = zktw("snapshot", "dump", "--data", path).lines[1]
        assert line.endswith("acl=world:anyone:r,digest:bob:hash:da data=hex:ff")
        node = zktw("snapshot", "dump", "--data", "--json", path).objects[2]
        assert base64.b64decode(node["data_base64"]) == b"\xff"
        assert node["acl"] == ["world:anyone:r", "digest:bob:hash:da"]

    @pytest.mark.parametrize("packing", ["gz", "snappy"])
    def test_packed_ones(self, zktw: Zktw, tmp_path: Path, packing: str) -> None:
        plain = OLDER.read_bytes()
        if packing == "gz":
            content = gzip.compress(plain)
        else:
            encoder = SnapshotEncoder("snappy")
            # The header that begin() packs is in the plain bytes already.
            opening = encoder.begin()
            content = opening[: len(opening) - len(encoder.add(plain[:16]))] + encoder.add(plain)
        packed = zktw("snapshot", "dump", written(tmp_path, f"snapshot.64.{packing}", content))
        assert packed.status == 0
        assert packed.lines == zktw("snapshot", "dump", OLDER).lines
        unnamed = zktw("snapshot", "dump", written(tmp_path, "snapshot.64", content))
        assert unnamed.status == 2
        assert f"does not end with .{packing}" in unnamed.err

    @pytest.mark.parametrize("name", STOPPED)
    def test_figures_are_those_that_a_client_saw(self, zktw: Zktw, name: str) -> None:
        """Of nodes that have not changed since the snapshot was begun."""
        path = max((RECORDINGS / name / "version-2").glob("snapshot.*"), key=lambda path: int(path.suffix[1:], 16))
        zxid = int(path.suffix[1:], 16)
        seen = json.loads((RECORDINGS / name / "expected.json").read_text())["tree"]
        compared = 0
        for node in zktw("snapshot", "dump", "--json", "--data", path).objects:
            # Quota figures move without a zxid.
            if node["record"] != "node" or node["path"] not in seen or node["path"].endswith("zookeeper_stats"):
                continue
            stat = seen[node["path"]]["stat"]
            if max(stat["mzxid"], stat["pzxid"]) > zxid:
                continue
            compared += 1
            found = {
                "czxid": int(node["czxid"], 16),
                "mzxid": int(node["mzxid"], 16),
                "pzxid": int(node["pzxid"], 16),
                "ctime": node["ctime_ms"],
                "mtime": node["mtime_ms"],
                "version": node["version"],
                "cversion": node["cversion"],
                "aversion": node["aversion"],
                "dataLength": node["bytes"] or 0,
                "numChildren": node["children"],
                "ephemeralOwner": 0,
            }
            assert found == stat, node["path"]
            assert base64.b64decode(node["data_base64"]).hex() == seen[node["path"]]["data"]
        assert compared > 40


class TestDamage:
    @pytest.mark.parametrize("at", [100, 3000, -20, -10])
    def test_what_stands_before_it_is_shown(self, zktw: Zktw, tmp_path: Path, at: int) -> None:
        content = OLDER.read_bytes()
        told = zktw("snapshot", "dump", written(tmp_path, "snapshot.64", flipped(content, at % len(content))))
        assert told.status == 1
        assert "damaged" in told.err

    def test_one_that_is_cut_off(self, zktw: Zktw, tmp_path: Path) -> None:
        content = OLDER.read_bytes()
        path = written(tmp_path, "snapshot.64", content[:3000])
        told = zktw("snapshot", "dump", path)
        assert told.status == 1
        assert 5 < len(told.lines) < len(zktw("snapshot", "dump", OLDER).lines)
        assert "it ends too early" in told.err
        assert zktw("snapshot", "summary", path).status == 1
        assert zktw("snapshot", "diff", path, path).status == 1

    @pytest.mark.parametrize("size", [0, 3, 16, 20])
    def test_one_that_holds_nothing(self, zktw: Zktw, tmp_path: Path, size: int) -> None:
        told = zktw("snapshot", "dump", written(tmp_path, "snapshot.64", OLDER.read_bytes()[:size]))
        assert told.status == 1
        assert told.lines == []
        assert zktw("snapshot", "summary", tmp_path / "snapshot.64").status == 1

    def test_other_files(self, zktw: Zktw, tmp_path: Path) -> None:
        log = zktw("snapshot", "dump", NEWEST.with_name("log.1"))
        assert (log.status, log.out) == (2, "")
        assert "is a transaction log" in log.err
        assert "is no snapshot" in zktw("snapshot", "dump", written(tmp_path, "x", b"strange things")).err
        assert zktw("snapshot", "dump", tmp_path).status == 2
        assert zktw("snapshot", "dump", tmp_path / "none").status == 2


class TestSummary:
    def test_sums_hold_what_is_below(self, zktw: Zktw, tmp_path: Path) -> None:
        tree = made(create("/a", b"1"), create("/a/b", b"22"), create("/a/b/c", b"333"), create("/d", b"4444"))
        path = written(tmp_path, "snapshot.4", snapshot(tree))
        told = zktw("snapshot", "summary", path)
        assert [line.split() for line in told.lines[1:]] == [
            ["8", "10", "/"],
            ["3", "6", "/a"],
            ["1", "4", "/d"],
            ["3", "0", "/zookeeper"],
        ]
        deeper = zktw("snapshot", "summary", "--json", "--depth", "1", path, "/a/").objects
        assert [(node["path"], node["nodes"], node["data_bytes"]) for node in deeper] == [("/a", 3, 6), ("/a/b", 2, 5)]
        only = zktw("snapshot", "summary", "--json", "--depth", "0", path).objects
        assert [node["path"] for node in only] == ["/"]

    def test_a_node_that_is_not_there(self, zktw: Zktw) -> None:
        told = zktw("snapshot", "summary", NEWEST, "/none")
        assert told.status == 2
        assert "holds no node /none" in told.err


class TestDiff:
    def test_one_with_itself(self, zktw: Zktw) -> None:
        told = zktw("snapshot", "diff", NEWEST, NEWEST)
        assert told.status == 0
        assert told.lines == ["nodes: 0 came, 0 went, 0 changed; sessions: 0 came, 0 went"]

    def test_what_came_went_and_changed(self, zktw: Zktw, tmp_path: Path) -> None:
        session: tuple[int, Txn] = (OpCode.CREATE_SESSION, CreateSessionTxn(30_000))
        before = made(create("/a"), create("/b", b"x"), create("/c"))
        after = made(create("/a"), create("/b", b"x"), session, create("/d"))
        after.apply(TxnHeader(7, 5, 5, 5, OpCode.SET_DATA), SetDataTxn("/b", b"y", 1))
        one = written(tmp_path, "snapshot.3", snapshot(before))
        other = written(tmp_path, "snapshot.5", snapshot(after))
        told = zktw("snapshot", "diff", one, other)
        assert told.status == 1
        assert told.lines[-1] == "nodes: 1 came, 1 went, 1 changed; sessions: 1 came, 0 went"
        assert "- /c czxid=0x3 mzxid=0x3 bytes=0" in told.lines
        assert "+ /d czxid=0x4 mzxid=0x4 bytes=0" in told.lines
        assert "+ session 0x7" in told.lines
        changed = {
            fields["path"]: fields["fields"]
            for fields in zktw("snapshot", "diff", "--json", one, other).objects
            if fields["change"] == "~"
        }
        assert changed["/b"]["version"] == [0, 1]
        assert changed["/b"]["mzxid"] == ["0x2", "0x5"]
        assert "data" in changed["/b"]
        assert set(changed) == {"/b"}

    def test_lists_are_compared_not_their_numbers(self, zktw: Zktw, tmp_path: Path) -> None:
        acls = (Acl(1, "ip", "::1"),)
        other = (Acl(1, "ip", "::2"),)
        one = made(create("/a"), create("/b"), (OpCode.SET_ACL, SetAclTxn("/b", acls, 1)))
        numbered = Database()
        numbered.tree.acls.intern((Acl(1, "ip", "::3"),))
        for zxid, (type_, txn) in enumerate(
            [create("/a"), create("/b"), (OpCode.SET_ACL, SetAclTxn("/b", acls, 1))], start=1
        ):
            numbered.apply(TxnHeader(7, zxid, zxid, 1000 * zxid, type_), txn)
        changed = made(create("/a"), create("/b"), (OpCode.SET_ACL, SetAclTxn("/b", other, 1)))
        path = written(tmp_path, "snapshot.1", snapshot(one))
        assert zktw("snapshot", "diff", path, written(tmp_path, "snapshot.2", snapshot(numbered))).status == 0
        assert zktw("snapshot", "diff", path, written(tmp_path, "snapshot.3", snapshot(changed))).status == 1


def test_a_long_field_is_damage_unless_the_server_took_it(zktw: Zktw, tmp_path: Path) -> None:
    path = written(tmp_path, "snapshot.1", snapshot(made(create("/a", bytes(2_000_000)))))
    assert zktw("snapshot", "dump", path).status == 1
    assert zktw("snapshot", "dump", "--maxbuffer", "4000000", path).status == 0
    assert zktw("snapshot", "dump", "--maxbuffer", "0", path).status == 2


def test_of_one_database_all_is_found(zktw: Zktw, tmp_path: Path) -> None:
    path = written(tmp_path, "snapshot.9", snapshot(database(*range(1, 10))))
    nodes = [fields["path"] for fields in zktw("snapshot", "dump", "--json", path).objects[1:]]
    assert {f"/n{zxid:x}" for zxid in range(1, 10)} < set(nodes)
