"""A node as one flat record of bytes, replaced when it changes.

    acl i64, owner i64, cversion i32, data (i32 length and bytes), Stat (68 bytes)

Everything behind the first 20 bytes is the body of a getData reply, and the last 68 are that of an exists reply: a read
is one slice. The Stat is kept as a client sees it, so its cversion and owner may differ from those in front, which are
the stored ones (wire document, a). Bytes are no containers: a million nodes cost the garbage collector nothing.
"""

import struct
import zlib
from typing import NamedTuple

from zktw.wire.records import STAT, Stat

# acl, owner, cversion.
FRONT = struct.Struct(">qqi")
FRONT_BYTES = FRONT.size
DATA_START = FRONT_BYTES + 4
STAT_BYTES = STAT.size
_INT = struct.Struct(">i")
_LONG = struct.Struct(">q")
OPEN_ACL_ID = -1
# The same as a record begins with it.
OPEN_ACL_HEAD = _LONG.pack(OPEN_ACL_ID)
# Digests are sums of 64 bits.
DIGEST_MASK = 0xFFFF_FFFF_FFFF_FFFF

_front_from = FRONT.unpack_from
_stat_from = STAT.unpack_from
_pack_front = FRONT.pack
_pack_stat = STAT.pack
_pack_int = _INT.pack
_crc32 = zlib.crc32


class NodeFields(NamedTuple):
    """A record taken apart. owner and cversion are the stored ones; shown_owner is what a client sees."""

    acl: int
    owner: int
    cversion: int
    data: bytes | None
    czxid: int
    mzxid: int
    ctime: int
    mtime: int
    version: int
    aversion: int
    shown_owner: int
    num_children: int
    pzxid: int


def wrap32(value: int) -> int:
    """As Java's int arithmetic leaves it."""
    return (value + 0x8000_0000 & 0xFFFF_FFFF) - 0x8000_0000


def pack_node(fields: NodeFields) -> bytes:
    """The record of these fields."""
    acl, owner, cversion, data, czxid, mzxid, ctime, mtime, version, aversion, shown, children, pzxid = fields
    shown_cversion = wrap32(2 * cversion - children)
    length = 0 if data is None else len(data)
    return b"".join(
        (
            _pack_front(acl, owner, cversion),
            _pack_int(-1 if data is None else length),
            data or b"",
            _pack_stat(czxid, mzxid, ctime, mtime, version, shown_cversion, aversion, shown, length, children, pzxid),
        )
    )


def unpack_node(record: bytes) -> NodeFields:
    """The fields of a record."""
    acl, owner, cversion = _front_from(record)
    czxid, mzxid, ctime, mtime, version, _, aversion, shown, _, children, pzxid = _stat_from(
        record, len(record) - STAT_BYTES
    )
    return NodeFields(
        acl, owner, cversion, data_of(record), czxid, mzxid, ctime, mtime, version, aversion, shown, children, pzxid
    )


def data_of(record: bytes) -> bytes | None:
    """Its data."""
    if record[FRONT_BYTES] & 0x80:
        return None
    return record[DATA_START:-STAT_BYTES]


def acl_of(record: bytes) -> int:
    """The number of its access control list."""
    acl: int = _LONG.unpack_from(record)[0]
    return acl


def owner_of(record: bytes) -> int:
    """Its stored owner."""
    owner: int = _LONG.unpack_from(record, 8)[0]
    return owner


def cversion_of(record: bytes) -> int:
    """Its stored cversion."""
    cversion: int = _INT.unpack_from(record, 16)[0]
    return cversion


def stat_of(record: bytes) -> Stat:
    """Its Stat as a client sees it."""
    return Stat(*_stat_from(record, len(record) - STAT_BYTES))


def version_of(record: bytes) -> int:
    """The version of its data."""
    version: int = _INT.unpack_from(record, len(record) - STAT_BYTES + 32)[0]
    return version


def children_of(record: bytes) -> int:
    """How many children it has."""
    children: int = _INT.unpack_from(record, len(record) - 12)[0]
    return children


def with_data(record: bytes, data: bytes | None, version: int, zxid: int, time: int) -> bytes:
    """The record after its data were set."""
    czxid, _, ctime, _, _, cversion, aversion, shown, _, children, pzxid = _stat_from(record, len(record) - STAT_BYTES)
    length = 0 if data is None else len(data)
    return b"".join(
        (
            record[:FRONT_BYTES],
            _pack_int(-1 if data is None else length),
            data or b"",
            _pack_stat(czxid, zxid, ctime, time, version, cversion, aversion, shown, length, children, pzxid),
        )
    )


def with_text(record: bytes, data: bytes) -> bytes:
    """The record with other data and nothing else changed: quota statistics."""
    fields = unpack_node(record)
    return pack_node(fields._replace(data=data))


def with_children(record: bytes, more: int, cversion: int, pzxid: int) -> bytes:
    """The record of a parent after it has won or lost children."""
    acl, owner, _ = _front_from(record)
    end = len(record) - STAT_BYTES
    czxid, mzxid, ctime, mtime, version, _, aversion, shown, length, children, _ = _stat_from(record, end)
    children += more
    return b"".join(
        (
            _pack_front(acl, owner, cversion),
            record[FRONT_BYTES:end],
            _pack_stat(
                czxid,
                mzxid,
                ctime,
                mtime,
                version,
                wrap32(2 * cversion - children),
                aversion,
                shown,
                length,
                children,
                pzxid,
            ),
        )
    )


def digest_of(path: bytes, record: bytes) -> int:
    """The node's part in the tree's digest, version 2 (wire document, c.2). The root's path is b""."""
    end = len(record) - STAT_BYTES
    crc = _crc32(record[DATA_START:end], _crc32(path))
    stat = record[end:]
    # czxid, mzxid, pzxid, ctime, mtime, version, cversion, aversion, owner: the last three as they are stored.
    return _crc32(stat[:16] + stat[60:] + stat[16:36] + record[16:20] + stat[40:44] + record[8:16], crc)
