"""Snapshots and SNAP streams that Apache servers wrote: each is read to its end."""

from pathlib import Path

import pytest
from recorded import DATADIRS, RECORDINGS, expected, snapshots, streams

from zktw.storage.snapformat import SnapshotEncoder
from zktw.terms.codes import PacketType
from zktw.terms.limits import JUTE_MAXBUFFER
from zktw.tree.database import Database
from zktw.tree.node import data_of, stat_of
from zktw.wire.peers import TREE_SIGNATURE, PacketParser

CONFIG_NODE = "/zookeeper/config"
FRESH_NODES = ("/", "/zookeeper", CONFIG_NODE, "/zookeeper/quota")
STREAMS = [
    f"{name}-apache{release}" for name in ("sync-snap", "observer", "forming-and-broadcast") for release in ("38", "39")
]


@pytest.mark.parametrize("path", snapshots(), ids=lambda path: "/".join(path.parts[-3::2]))
def test_a_snapshot_holds_what_a_client_saw(path: Path) -> None:
    database = Database()
    assert database.parser(JUTE_MAXBUFFER).feed(path.read_bytes()[16:])
    nodes = database.tree.nodes
    order = list(nodes)
    assert order[0] == "/"
    assert all((node.rpartition("/")[0] or "/") in order[:at] for at, node in enumerate(order) if at), "parents first"

    later = expected(path.parents[1])["tree"]
    zxid = int(path.name.split(".")[1], 16)
    # Nodes that were not written again between the snapshot and the client's look at the tree. A quota's statistics
    # change without a transaction, and the configuration node's stat is not kept.
    lasting = {
        node: entry["data"]
        for node, entry in later.items()
        if entry["stat"]["mzxid"] <= zxid and node != CONFIG_NODE and not node.endswith("/zookeeper_stats")
    }
    assert len(lasting) > (10 if zxid else 1)
    for node, data in lasting.items():
        record = nodes[node]
        assert data_of(record) == (None if data is None else bytes.fromhex(data)), node
        assert stat_of(record).mzxid == later[node]["stat"]["mzxid"], node
        assert stat_of(record).czxid == later[node]["stat"]["czxid"], node


@pytest.mark.parametrize("name", DATADIRS)
def test_the_snapshot_of_an_empty_server_is_ours(name: str) -> None:
    """Byte for byte, up to the seal and what follows it."""
    recorded = (RECORDINGS / name / "version-2" / "snapshot.0").read_bytes()
    encoder = SnapshotEncoder()
    ours = b"".join(Database().image().pieces())
    # Standalone servers give the configuration node version 0, those of an ensemble -1 (and so do we).
    place = ours.index(CONFIG_NODE.encode()) + len(CONFIG_NODE) + 4 + 8 + 4 * 8
    assert ours[place + 8 : place + 12] == b"\xff" * 4
    assert recorded.startswith(encoder.begin() + encoder.add(ours[:place]))


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("piece", [1, 7, 65536])
def test_a_snap_stream_is_read_to_its_end(name: str, piece: int) -> None:
    """And the word behind it, and packets again."""
    trees = 0
    for _, data in streams(name):
        parser = PacketParser(JUTE_MAXBUFFER)
        for packet in parser.feed(data):
            if packet.type == PacketType.SNAP:
                break
        else:
            continue
        trees += 1
        database = Database()
        tree, stream = database.parser(JUTE_MAXBUFFER), parser.rest()
        at = 0
        while not tree.feed(stream[at : at + piece]):
            at += piece
        behind = tree.rest + stream[at + piece :]
        assert next(iter(database.tree.nodes)) == "/"
        assert set(FRESH_NODES) <= set(database.tree.nodes)
        assert behind.startswith(TREE_SIGNATURE)
        parser.put_back(behind[len(TREE_SIGNATURE) :])
        assert len(list(parser.packets())) > 0
        assert parser.available == 0
    assert trees >= 1
