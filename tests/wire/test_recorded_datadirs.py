"""Data directories that Apache servers left, killed, stopped, after many snapshots: read to the tree a client saw."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from recorded import DATADIRS, RECORDINGS, expected, snapshots

from zktw.storage.datadir import DataDir, zxid_of_name
from zktw.storage.files import RealFiles
from zktw.storage.logformat import HEADER, HEADER_BYTES, End, encode_entry
from zktw.storage.recovery import Recovered, Rules, recover
from zktw.storage.snapformat import Compression, Ending, SnapshotEncoder, read_snapshot
from zktw.storage.txnlog import TxnLog
from zktw.tree.database import Database
from zktw.tree.node import data_of, stat_of

# The recordings do not have this node, which each kind of server makes for itself.
CONFIG = "/zookeeper/config"
RULES = Rules(epochs=False)


def make_database() -> Database:
    return Database(extended_types=True)


def copied(name: str, tmp_path: Path, *, but: tuple[str, ...] = ()) -> DataDir:
    """A recorded directory of our own, without files of these names."""
    shutil.copytree(RECORDINGS / name / "version-2", tmp_path / "version-2", ignore=shutil.ignore_patterns(*but))
    return DataDir(RealFiles(), str(tmp_path), str(tmp_path))


def tree_of(recovered: Recovered) -> dict[str, Any]:
    """A tree as the recordings have it."""
    tree = recovered.database.tree
    found = {}
    for path, record in tree.nodes.items():
        if path != CONFIG:
            stat = stat_of(record)
            data = data_of(record)
            found[path] = {
                "acl": [[entry.perms, entry.scheme, entry.id] for entry in tree.acls_of(record)],
                "data": None if data is None else data.hex(),
                "stat": {
                    "aversion": stat.aversion,
                    "ctime": stat.ctime,
                    "cversion": stat.cversion,
                    "czxid": stat.czxid,
                    "dataLength": stat.data_length,
                    "ephemeralOwner": stat.ephemeral_owner,
                    "mtime": stat.mtime,
                    "mzxid": stat.mzxid,
                    "numChildren": stat.num_children,
                    "pzxid": stat.pzxid,
                    "version": stat.version,
                },
            }
    return found


@pytest.mark.parametrize("name", DATADIRS)
def test_the_tree_is_what_a_client_saw(name: str, tmp_path: Path) -> None:
    recorded = expected(RECORDINGS / name)
    recovered = recover(copied(name, tmp_path), make_database, RULES)
    assert tree_of(recovered) == recorded["tree"]
    assert recovered.last_zxid == recorded["last_zxid"]
    assert recovered.warnings == ()
    assert recovered.database.digest_mismatches == 0
    assert recovered.txns_replayed > 0
    if recorded["sessions_open"]:
        assert recovered.database.sessions == {
            session["id"]: session["timeout_ms"] for session in recorded["sessions_open"].values()
        }


@pytest.mark.parametrize("name", [name for name in DATADIRS if name.endswith("snap")])
def test_so_it_is_from_every_older_snapshot(name: str, tmp_path: Path) -> None:
    """Also where it was dumped while the tree changed: replay must add up to the same."""
    recorded = expected(RECORDINGS / name)
    names = sorted((path.name for path in snapshots() if path.parts[-3] == name), key=zxid_of_name)
    assert len(names) > 3
    for kept in range(1, len(names)):
        directory = tmp_path / str(kept)
        recovered = recover(copied(name, directory, but=tuple(names[kept:])), make_database, RULES)
        assert tree_of(recovered) == recorded["tree"], names[kept - 1]
        assert recovered.database.digest_mismatches == 0
        assert recovered.warnings == ()


@pytest.mark.parametrize("name", DATADIRS)
def test_a_log_written_by_us_from_the_same_transactions_is_theirs(name: str, tmp_path: Path) -> None:
    theirs = copied(name, tmp_path / "theirs")
    for log_name in theirs.log_names():
        reader = theirs.log_reader(log_name)
        entries = [(zxid, payload) for _, zxid, payload in reader.entries()]
        assert reader.end is End.CLEAN
        content = (tmp_path / "theirs" / "version-2" / log_name).read_bytes()
        assert HEADER + b"".join(encode_entry(payload) for _, payload in entries) == content[: reader.end_offset]
        (tmp_path / "ours" / "version-2").mkdir(parents=True, exist_ok=True)
        log = TxnLog(DataDir(RealFiles(), str(tmp_path / "ours"), str(tmp_path / "ours")), preallocate_bytes=1 << 20)
        log.append(entries)
        ours = (tmp_path / "ours" / "version-2" / log_name).read_bytes()
        assert len(ours) == 1 << 20
        assert ours.rstrip(b"\0") == content.rstrip(b"\0")
        log.close()
        assert (tmp_path / "ours" / "version-2" / log_name).stat().st_size == reader.end_offset > HEADER_BYTES


def loaded(name: str, content: bytes) -> tuple[Database, Ending]:
    database = make_database()
    ending = read_snapshot(name, [content[at : at + 999] for at in range(0, len(content), 999)], database.parser())
    database.settle(0)
    return database, ending


@pytest.mark.parametrize("path", snapshots(), ids=lambda path: "/".join(path.parts[-3::2]))
@pytest.mark.parametrize("compression", ["", "gz", "snappy"])
def test_a_snapshot_is_written_again_as_it_was_read(path: Path, compression: Compression) -> None:
    content = path.read_bytes()
    database, ending = loaded(path.name, content)
    encoder = SnapshotEncoder(compression)
    ours = encoder.begin()
    for piece in database.image().pieces(7):
        ours += encoder.add(piece)
    ours += encoder.end(ending.digest_zxid or 0, digest=ending.digest, last_zxid=ending.last_zxid)
    if not compression:
        # Siblings may stand in another order, and so may the parts of a list.
        assert len(ours) == len(content)
        assert ours[:16] == content[:16]
    again, ending_again = loaded(f"snapshot.0.{compression}" if compression else "snapshot.0", ours)
    assert ending_again == ending
    assert again.tree.nodes == database.tree.nodes
    assert again.sessions == database.sessions
    assert again.tree.digest == database.tree.digest
