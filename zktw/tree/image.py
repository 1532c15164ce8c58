"""Image: a whole database at one zxid, as the bytes of a snapshot's body and of a SNAP stream (wire document, c.4)."""

import struct
from collections.abc import Callable, Iterator

from zktw.terms.errors import WireError
from zktw.terms.limits import ACL_ITEMS_MAX
from zktw.tree.node import DATA_START, FRONT_BYTES, STAT_BYTES
from zktw.tree.owner import NodeKind, OwnerRules
from zktw.tree.paths import ROOT
from zktw.wire.jute import Reader, decode_text, put_int, put_long
from zktw.wire.records import STAT, STAT_PERSISTED, Acls, put_acls, read_acls

_INT = struct.Struct(">i")
_LONG = struct.Struct(">q")
_SESSION = struct.Struct(">qi")
_FRONT = struct.Struct(">qqi")
_PERSISTED_BYTES = STAT_PERSISTED.size
_END = _INT.pack(1) + b"/"
# A path in a message: enough to find it by.
_SHOWN_CHARS = 80
# Large nodes make a piece of their own.
_PIECE_BYTES = 65536


class Image:
    """Copies that no later transaction changes: records are replaced, never altered."""

    __slots__ = ("acls", "digest", "nodes", "sessions", "zxid")

    def __init__(
        self, zxid: int, sessions: dict[int, int], acls: dict[int, Acls], nodes: dict[str, bytes], digest: int | None
    ) -> None:
        self.zxid = zxid
        self.sessions = sessions
        self.acls = acls
        self.nodes = nodes
        # None where digests are not kept.
        self.digest = digest

    def pieces(self, count: int = 500) -> Iterator[bytes]:
        """The body in pieces of some `count` nodes: sessions, lists, nodes (parents first), and their end."""
        out = bytearray()
        put_int(out, len(self.sessions))
        for session_id, timeout_ms in self.sessions.items():
            out += _SESSION.pack(session_id, timeout_ms)
        put_int(out, len(self.acls))
        for number, acls in self.acls.items():
            put_long(out, number)
            put_acls(out, acls)
        pack_int = _INT.pack
        left = count
        # A dict keeps the order of insertion, and a node comes after its parent.
        for path, record in self.nodes.items():
            raw = path.encode("utf-8") if path != ROOT else b""
            stat = record[-STAT_BYTES:]
            out += pack_int(len(raw))
            out += raw
            out += record[FRONT_BYTES:-STAT_BYTES]
            out += record[:8]
            # czxid, mzxid, ctime, mtime, version, then the stored cversion, aversion, the stored owner, pzxid.
            out += stat[:36] + record[16:20] + stat[40:44] + record[8:16] + stat[60:]
            left -= 1
            if not left or len(out) >= _PIECE_BYTES:
                yield bytes(out)
                out.clear()
                left = count
        yield bytes(out) + _END


class ImageParser:
    """A body as it arrives, in any pieces: sessions and lists, then nodes, handed on one by one.

    When feed() has returned True, rest holds what came behind the body. WireError: it is none.
    """

    def __init__(
        self,
        rules: OwnerRules,
        length_max: int,
        *,
        session: Callable[[int, int], None],
        acl: Callable[[int, Acls], None],
        node: Callable[[str, bytes], None],
        run: Callable[[bytes, int, int], int] | None = None,
    ) -> None:
        self._rules = rules
        self._length_max = length_max
        self._on_session = session
        self._on_acl = acl
        self._on_node = node
        # Takes as many nodes at an offset as it can in its own way, and says where the next one begins.
        self._run = run
        self._data = b""
        self._part = self._begin_sessions
        self._left = 0
        self._rooted = False
        self._parents: set[str] = set()
        self.rest = b""

    def feed(self, data: bytes) -> bool:
        """Take what has arrived; whether the body is complete."""
        self._data = self._data + data if self._data else data
        offset = 0
        while True:
            part = self._part
            after = part(offset)
            if after < 0:
                self.rest = self._data[-after - 1 :]
                self._data = b""
                return True
            if after == offset and self._part == part:
                self._data = self._data[offset:]
                return False
            offset = after

    def _count(self, offset: int, what: str) -> int | None:
        if len(self._data) - offset < 4:
            return None
        count: int = _INT.unpack_from(self._data, offset)[0]
        if count < 0:
            raise WireError(f"{count} {what}")
        return count

    def _begin_sessions(self, offset: int) -> int:
        count = self._count(offset, "sessions")
        if count is None:
            return offset
        self._left, self._part = count, self._sessions
        return offset + 4

    def _sessions(self, offset: int) -> int:
        whole = min(self._left, (len(self._data) - offset) // _SESSION.size)
        for session_id, timeout_ms in _SESSION.iter_unpack(self._data[offset : offset + whole * _SESSION.size]):
            self._on_session(session_id, timeout_ms)
        self._left -= whole
        if not self._left:
            self._part = self._begin_acls
        return offset + whole * _SESSION.size

    def _begin_acls(self, offset: int) -> int:
        count = self._count(offset, "access control lists")
        if count is None:
            return offset
        self._left, self._part = count, self._acls
        return offset + 4

    def _acls(self, offset: int) -> int:
        while self._left:
            after = self._acl(offset)
            if after == offset:
                return offset
            offset = after
            self._left -= 1
        self._part = self._nodes
        return offset

    def _acl(self, offset: int) -> int:
        """One list; the same offset where it is not whole yet."""
        after = _skip_acl(self._data, offset + 8, self._length_max)
        if after is None:
            return offset
        reader = Reader(self._data[offset:after], self._length_max)
        number, acls = reader.i64(), read_acls(reader)
        if acls is None:
            raise WireError("an access control list that is null")
        self._on_acl(number, acls)
        return after

    def _nodes(self, offset: int) -> int:
        """All nodes that are whole; -1 - offset when the last one was the end."""
        data, length_max, on_node = self._data, self._length_max, self._on_node
        end = len(data)
        unpack_int = _INT.unpack_from
        while end - offset >= 5:
            if self._rooted and self._run is not None:
                offset = self._run(data, offset, length_max)
                if end - offset < 5:
                    break
            length = unpack_int(data, offset)[0]
            if not 0 <= length <= length_max:
                raise WireError(f"a node's path of {length} bytes (at most {length_max})")
            at = offset + 4 + length
            if end - at < 4:
                if length == 1 and end - at >= 0 and data[offset + 4 : at] == b"/":
                    return self._end(at)
                break
            path = decode_text(data[offset + 4 : at])
            if path == "/":
                return self._end(at)
            size = unpack_int(data, at)[0]
            if not -1 <= size <= length_max:
                raise WireError(f"the data of node {path[:_SHOWN_CHARS]!r} has {size} bytes (at most {length_max})")
            behind = at + 4 + max(size, 0)
            after = behind + 8 + _PERSISTED_BYTES
            if end < after:
                break
            if not path:
                path, self._rooted = ROOT, True
            elif not self._rooted or path[0] != "/":
                raise WireError(f"a tree with {path[:_SHOWN_CHARS]!r} where its root was expected")
            on_node(path, self._record(data, at, behind))
            offset = after
        return offset

    def _record(self, data: bytes, at: int, behind: int) -> bytes:
        persisted = data[behind + 8 : behind + 8 + _PERSISTED_BYTES]
        # czxid 0-8, mzxid -16, ctime -24, mtime -32, version -36, cversion -40, aversion -44, owner -52, pzxid -60.
        owner = persisted[44:52]
        shown = owner
        if owner != _NOBODY and self._rules.kind(_LONG.unpack(owner)[0]) is not NodeKind.EPHEMERAL:
            shown = _NOBODY
        cversion = persisted[36:40]
        doubled = _INT.unpack(cversion)[0]
        return b"".join(
            (
                data[behind : behind + 8],
                owner,
                cversion,
                data[at:behind],
                persisted[:36],
                cversion if not doubled else _INT.pack(((2 * doubled + 0x8000_0000) & 0xFFFF_FFFF) - 0x8000_0000),
                persisted[40:44],
                shown,
                _INT.pack(behind - at - 4),
                _NO_CHILDREN,
                persisted[52:60],
            )
        )

    def _end(self, at: int) -> int:
        if not self._rooted:
            raise WireError("a tree without a root")
        return -1 - at


_NOBODY = bytes(8)
_NO_CHILDREN = bytes(4)
assert DATA_START == FRONT_BYTES + 4
assert STAT.size == STAT_BYTES
assert _FRONT.size == FRONT_BYTES


def _skip_acl(data: bytes, offset: int, length_max: int) -> int | None:
    """Where the list that begins at offset ends; None where it is not whole."""
    if len(data) - offset < 4:
        return None
    count = _INT.unpack_from(data, offset)[0]
    if count < 0 or count > ACL_ITEMS_MAX:
        raise WireError(f"{count} entries of an access control list (at most {ACL_ITEMS_MAX})")
    offset += 4
    for _ in range(count):
        offset += 4
        for _ in range(2):
            if len(data) - offset < 4:
                return None
            length = _INT.unpack_from(data, offset)[0]
            if not -1 <= length <= length_max:
                raise WireError(f"a name of {length} bytes in an access control list (at most {length_max})")
            offset += 4 + max(length, 0)
    return offset if offset <= len(data) else None
