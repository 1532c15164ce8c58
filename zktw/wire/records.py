"""Id, ACL and Stat: the records that requests, transactions and snapshots share (wire document, section a)."""

import struct
from typing import NamedTuple

from zktw.terms.codes import Perm
from zktw.terms.errors import WireError
from zktw.terms.limits import ACL_ITEMS_MAX
from zktw.wire.jute import Reader, put_buffer, put_int

# czxid, mzxid, ctime, mtime, version, cversion, aversion, ephemeralOwner, dataLength, numChildren, pzxid.
STAT = struct.Struct(">qqqqiiiqiiq")
# The same without the computed ones; its cversion counts creates only.
STAT_PERSISTED = struct.Struct(">qqqqiiiqq")


class Stat(NamedTuple):
    """A node's statistics as a client sees them; the fields stand in wire order."""

    czxid: int
    mzxid: int
    ctime: int
    mtime: int
    version: int
    cversion: int
    aversion: int
    ephemeral_owner: int
    data_length: int
    num_children: int
    pzxid: int


class Acl(NamedTuple):
    """Who may do what. Ordered so that it can be shown and compared."""

    perms: int
    scheme: str
    id: str


class Identity(NamedTuple):
    """What a connection has been authenticated as."""

    scheme: str
    id: str


Acls = tuple[Acl, ...]
# Stands for a null id, which no stored list has.
NULL_ID = "\0null"
OPEN_ACL: Acls = (Acl(Perm.ALL, "world", "anyone"),)
READ_ACL: Acls = (Acl(Perm.READ, "world", "anyone"),)
_OPEN_ACL_BYTES = b"\0\0\0\1\0\0\0\x1f\0\0\0\5world\0\0\0\6anyone"


def read_acls(reader: Reader) -> Acls | None:
    """A vector of ACL entries; None for a null vector, and, as Apache reads it, empty for any other negative count."""
    if reader.skip(_OPEN_ACL_BYTES):
        # Nearly all lists are this one.
        return OPEN_ACL
    count = reader.i32()
    if count == -1:
        return None
    # The smallest entry has twelve bytes: a count that cannot be is refused before anything is made of it.
    if count > ACL_ITEMS_MAX or count * 12 > reader.remaining:
        raise WireError(f"{count} entries of an access control list, {reader.remaining} bytes left")
    return tuple([Acl(reader.i32(), reader.string() or "", _id(reader.string())) for _ in range(count)])


def _id(text: str | None) -> str:
    return NULL_ID if text is None else text


def put_acls(out: bytearray, acls: Acls) -> None:
    """Append a vector of ACL entries.

    In plain UTF-8, other than all strings that Java's servers write: those lose what lies beyond the basic plane when
    they read it again, and with it whoever has such a name would lose his nodes.
    """
    put_int(out, len(acls))
    for perms, scheme, id_ in acls:
        put_int(out, perms)
        put_buffer(out, scheme.encode("utf-8"))
        put_buffer(out, id_.encode("utf-8"))
