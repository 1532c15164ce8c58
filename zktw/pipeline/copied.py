"""CopiedSetData: a plain setData as a learner has it from its leader, without detours (setdata.py: the leader's).

What it does equals the long way (decode, tree, reply), at a third of its cost.
"""

import struct

from zktw.pipeline.setdata import SET_DATA, renewed
from zktw.tree.database import DIGEST_EVERY, Database
from zktw.tree.node import DIGEST_MASK, STAT_BYTES
from zktw.tree.paths import SYSTEM_PREFIX
from zktw.wire.txn import DIGEST_VERSION, HEADER, HEADER_BYTES

_int_at = struct.Struct(">i").unpack_from
_header_from = HEADER.unpack_from
_digest_at = struct.Struct(">iQ").unpack_from
_TYPE_AT = HEADER_BYTES - 4
_PATH_START = HEADER_BYTES + 4
_DIGEST_BYTES = 12


class CopiedSetData:
    """One setData that was proposed to us."""

    __slots__ = ("cxid", "digest", "field", "path", "payload", "raw", "session_id", "time", "version", "zxid")

    session_id: int
    cxid: int
    zxid: int
    time: int
    path: str
    raw: bytes
    # Length and bytes of the data.
    field: bytes
    version: int
    # The tree's afterwards, as its leader has it; None where it does not say.
    digest: int | None
    payload: bytes

    def apply(self, database: Database) -> bytes | None:
        """Let it happen; the node's record then. None: another way must be found."""
        tree = database.tree
        old = tree.nodes.get(self.path)
        if old is None or tree.quotas.paths:
            return None
        new, change = renewed(old, old[-STAT_BYTES:], self.raw, self.field, self.zxid, self.time, self.version)
        tree.nodes[self.path] = new
        tree.data_bytes += len(new) - len(old)
        if tree.digest_enabled:
            tree.digest = digest = tree.digest + change & DIGEST_MASK
            if not self.zxid % DIGEST_EVERY:
                database.digests.append((self.zxid, digest))
            if self.digest != digest:
                database.compare_digest(self.zxid, self.digest)
        database.last_zxid = self.zxid
        return new


def read_copied(payload: bytes) -> CopiedSetData | None:
    """A plain setData out of a proposal; None: it is something else, or not plain."""
    if _int_at(payload, _TYPE_AT)[0] != SET_DATA:
        return None
    try:
        at = _PATH_START + _int_at(payload, HEADER_BYTES)[0]
        end = at + 4 + _int_at(payload, at)[0]
        copied = CopiedSetData()
        copied.version = _int_at(payload, end)[0]
        copied.raw = raw = payload[_PATH_START:at]
        copied.path = path = raw.decode("utf-8")
    except (struct.error, UnicodeDecodeError):
        return None
    digested = len(payload) == end + 4 + _DIGEST_BYTES
    if end < at + 4 or len(raw) <= 1 or raw[0] != 0x2F or path.startswith(SYSTEM_PREFIX):
        return None
    if not digested and len(payload) != end + 4:
        return None
    version, digest = _digest_at(payload, end + 4) if digested else (0, 0)
    copied.digest = digest if version == DIGEST_VERSION else None
    copied.field, copied.payload = payload[at:end], payload
    copied.session_id, copied.cxid, copied.zxid, copied.time, _ = _header_from(payload)
    return copied
