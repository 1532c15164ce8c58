"""The tree as bytes: the SNAP stream, and the body of a snapshot file (wire document, c.4 and e.4).

This release holds no data, so the tree is the fresh one, and a tree with more in it is refused at the first such node.
"""

import struct
from collections.abc import Callable

from zktw.terms.errors import ProtocolError, WireError
from zktw.terms.limits import ACL_ITEMS_MAX, SNAPSHOT_BYTES_MAX
from zktw.wire.jute import ByteFeed, Parsing, put_buffer, put_int, put_long, put_string

SIGNATURE = "BenWasHere"
# What a snapshot file has around a tree: its header and one seal.
SNAPSHOT_FRAME_BYTES = 29
ROOT = ""
TREE_END = "/"
CONFIG_NODE = "/zookeeper/config"
# A fresh tree's nodes, in the order in which they are written.
FRESH_NODES = (ROOT, "/zookeeper", CONFIG_NODE, "/zookeeper/quota")

OPEN_ACL = -1
_SESSION_BYTES = 12
_STAT_BYTES = 60
_STAT = struct.Struct(">qqqqiiiqq")
_CONFIG_ACL = 1
_READ = 1
# A path in a message: enough to find it by.
_SHOWN_CHARS = 80

# Called with path, data, the number of its ACL and the 60 bytes of its StatPersisted.
Visit = Callable[[str, bytes | None, int, bytes], None]


def read_tree(feed: ByteFeed, length_max: int, visit: Visit) -> Parsing[int]:
    """Parse sessions, ACLs and nodes up to the end of the tree, visiting each node; returns the number of sessions."""
    sessions = yield from _count(feed, "sessions")
    for _ in range(sessions):
        yield from feed.read(_SESSION_BYTES)
    yield from _read_nodes(feed, length_max, visit)
    return sessions


def _read_nodes(feed: ByteFeed, length_max: int, visit: Visit) -> Parsing[None]:
    for _ in range((yield from _count(feed, "access control lists"))):
        yield from feed.i64()
        yield from _read_acl(feed, length_max)
    rooted = False
    while True:
        path = yield from feed.string(length_max)
        if path is None:
            raise WireError("a node without a path")
        if not rooted and path != ROOT:
            raise WireError(f"a tree that begins with {path[:_SHOWN_CHARS]!r} instead of its root")
        if path == TREE_END:
            return
        rooted = True
        data = yield from feed.buffer(length_max)
        acl = yield from feed.i64()
        visit(path, data, acl, (yield from feed.read(_STAT_BYTES)))


def _count(feed: ByteFeed, what: str) -> Parsing[int]:
    count = yield from feed.i32()
    if count < 0:
        raise WireError(f"{count} {what}")
    return count


def _read_acl(feed: ByteFeed, length_max: int) -> Parsing[None]:
    entries = yield from _count(feed, "entries of an access control list")
    if entries > ACL_ITEMS_MAX:
        raise WireError(f"{entries} entries of an access control list (at most {ACL_ITEMS_MAX})")
    for _ in range(entries):
        yield from feed.i32()
        yield from feed.string(length_max)
        yield from feed.string(length_max)


def refuse_data(path: str, data: bytes | None, acl: int, stat: bytes) -> None:
    """Visit a node: raises ProtocolError where the tree is more than the fresh one."""
    if path not in FRESH_NODES:
        raise ProtocolError(f"the tree holds {path[:_SHOWN_CHARS]!r}, and this release carries no data")
    if data and path != CONFIG_NODE:
        raise ProtocolError(f"the node {path or TREE_END!r} holds data, and this release carries none")


class SnapStreamParser:
    """The tree that follows a SNAP packet, read as it arrives."""

    def __init__(self, length_max: int) -> None:
        self._length_max = length_max
        self._body = bytearray()
        self._parsing: Parsing[bytes] | None = None

    def advance(self, feed: ByteFeed) -> bytes | None:
        """Take what has arrived. The tree's bytes once it has ended, without the signature; None while it has not.

        Raises WireError for what is no tree, ProtocolError for a tree with data. Not to be called after its end.
        """
        if self._parsing is None:
            self._parsing = self._parse(feed)
        body: bytes | None = None
        ended = False
        try:
            next(self._parsing)
        except StopIteration as done:
            body, ended = done.value, True
        # A generator that has ended, by an error too, ends again with nothing: part of a tree is not one.
        assert ended == (body is not None)
        self._check_size()
        return body

    def _check_size(self) -> None:
        # No single length is too great, but lists and nodes could go on for ever.
        if len(self._body) > SNAPSHOT_BYTES_MAX - SNAPSHOT_FRAME_BYTES:
            raise ProtocolError(f"the tree has over {SNAPSHOT_BYTES_MAX} bytes, and this release carries no data")

    def _parse(self, feed: ByteFeed) -> Parsing[bytes]:
        feed.record_into(self._body)
        try:
            sessions = yield from _count(feed, "sessions")
            if sessions:
                raise ProtocolError(f"the tree holds {sessions} session(s), and this release carries none")
            yield from _read_nodes(feed, self._length_max, refuse_data)
        finally:
            feed.record_into(None)
        signature = yield from feed.string(len(SIGNATURE))
        if signature != SIGNATURE:
            raise WireError(f"the tree ends with {signature!r} instead of its signature")
        return bytes(self._body)


def fresh_snapshot_body(config_text: bytes = b"") -> bytes:
    """The fresh tree, as a snapshot file has it between header and seal; config_text is its configuration node's."""
    out = bytearray()
    put_int(out, 0)
    put_int(out, 1)
    put_long(out, _CONFIG_ACL)
    put_int(out, 1)
    put_int(out, _READ)
    put_string(out, "world")
    put_string(out, "anyone")
    for path in FRESH_NODES:
        config = path == CONFIG_NODE
        put_string(out, path)
        put_buffer(out, config_text if config else b"")
        put_long(out, _CONFIG_ACL if config else OPEN_ACL)
        out += _STAT.pack(0, 0, 0, 0, 0, 0, -1 if config else 0, 0, 0)
    put_string(out, TREE_END)
    return bytes(out)


def fresh_snapshot_stream() -> bytes:
    """The fresh tree, as it follows a SNAP packet."""
    out = bytearray(fresh_snapshot_body())
    put_string(out, SIGNATURE)
    return bytes(out)
