"""Snapshots and SNAP streams that Apache servers wrote: each is read to its end."""

import struct
from pathlib import Path

import pytest
from recorded import DATADIRS, RECORDINGS, expected, snapshots, streams

from zktw.storage.snapformat import encode_snapshot
from zktw.terms.codes import PacketType
from zktw.terms.errors import ProtocolError
from zktw.terms.limits import JUTE_MAXBUFFER
from zktw.wire.jute import ByteFeed
from zktw.wire.peers import PacketParser
from zktw.wire.snapstream import (
    CONFIG_NODE,
    FRESH_NODES,
    SIGNATURE,
    SnapStreamParser,
    fresh_snapshot_body,
    read_tree,
)

STAT = struct.Struct(">qqqqiiiqq")
STREAMS = [
    f"{name}-apache{release}" for name in ("sync-snap", "observer", "forming-and-broadcast") for release in ("38", "39")
]


class Tree:
    """The nodes that a parser has visited, in its order."""

    def __init__(self) -> None:
        self.data: dict[str, bytes | None] = {}
        self.mzxid: dict[str, int] = {}
        self.czxid: dict[str, int] = {}

    def visit(self, path: str, data: bytes | None, acl: int, stat: bytes) -> None:
        assert path not in self.data
        assert acl == -1 or acl > 0
        self.data[path] = data
        self.czxid[path], self.mzxid[path] = STAT.unpack(stat)[:2]


@pytest.mark.parametrize("path", snapshots(), ids=lambda path: "/".join(path.parts[-3::2]))
def test_a_snapshot_holds_what_a_client_saw(path: Path) -> None:
    tree = Tree()
    content = path.read_bytes()
    feed = ByteFeed()
    feed.feed(content[16:])
    with pytest.raises(StopIteration):
        next(read_tree(feed, JUTE_MAXBUFFER, tree.visit))
    order = list(tree.data)
    assert order[0] == ""
    assert all(node.rpartition("/")[0] in order[:at] for at, node in enumerate(order) if node), "parents first"

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
        key = "" if node == "/" else node
        assert tree.data[key] == (None if data is None else bytes.fromhex(data)), node
        assert tree.mzxid[key] == later[node]["stat"]["mzxid"], node
        assert tree.czxid[key] == later[node]["stat"]["czxid"], node


@pytest.mark.parametrize("name", DATADIRS)
def test_the_snapshot_of_an_empty_server_is_ours(name: str) -> None:
    """Byte for byte, up to the seal and what follows it."""
    recorded = (RECORDINGS / name / "version-2" / "snapshot.0").read_bytes()
    ours = bytearray(fresh_snapshot_body())
    # Standalone servers give the configuration node version 0, those of an ensemble -1 (and so do we).
    place = ours.index(CONFIG_NODE.encode()) + len(CONFIG_NODE) + 4 + 8 + 4 * 8
    assert ours[place + 8 : place + 12] == b"\xff" * 4
    assert encode_snapshot(bytes(ours))[:16] == recorded[:16]
    assert recorded.startswith(encode_snapshot(bytes(ours))[: 16 + place])


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("piece", [1, 7, 65536])
def test_a_snap_stream_is_read_to_its_end(name: str, piece: int) -> None:
    """And the packets behind it are packets again."""
    trees = 0
    for _, data in streams(name):
        parser = PacketParser(JUTE_MAXBUFFER)
        stream = ByteFeed()
        following = 0
        tree: Tree | None = None
        reading = None
        for start in range(0, len(data), piece):
            packets = parser.feed(data[start : start + piece])
            while True:
                if reading is not None and tree is not None:
                    stream.feed(parser.rest())
                    try:
                        next(reading)
                        break
                    except StopIteration:
                        reading = None
                        trees += 1
                        parser.put_back(stream.rest())
                        packets = parser.packets()
                packet = next(packets, None)
                if packet is None:
                    break
                following += trees
                if packet.type == PacketType.SNAP:
                    tree = Tree()
                    reading = read_to_signature(stream, tree)
        assert reading is None
        if tree is not None:
            assert following > 0
            assert next(iter(tree.data)) == ""
            assert set(FRESH_NODES) <= set(tree.data)
    assert trees >= 1


def read_to_signature(feed: ByteFeed, tree: Tree):  # type: ignore[no-untyped-def]  # a generator, run above
    yield from read_tree(feed, JUTE_MAXBUFFER, tree.visit)
    assert (yield from feed.string(len(SIGNATURE))) == SIGNATURE


@pytest.mark.parametrize("name", STREAMS)
def test_the_parser_takes_the_fresh_tree_and_refuses_data(name: str) -> None:
    seen = []
    for _, data in streams(name):
        parser = PacketParser(JUTE_MAXBUFFER)
        for packet in parser.feed(data):
            if packet.type == PacketType.SNAP:
                begin = parser.rest()
                feed = ByteFeed()
                feed.feed(begin)
                fresh = packet.zxid == 1 << 32
                seen.append(fresh)
                if fresh:
                    body = SnapStreamParser(JUTE_MAXBUFFER).advance(feed)
                    assert body == begin[: begin.index(SIGNATURE.encode()) - 4]
                else:
                    with pytest.raises(ProtocolError, match="this release carries no"):
                        SnapStreamParser(JUTE_MAXBUFFER).advance(feed)
                break
    assert seen == [name.startswith("forming")]
