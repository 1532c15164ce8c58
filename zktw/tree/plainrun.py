"""insert_run: plain nodes of a snapshot, one after the other, into a tree. Nearly all nodes of nearly all trees are.

A plain node has the open list, no owner, never had children and lies outside of /zookeeper. One by one they take 5.4
microseconds each, this way 3: a start on a million nodes is that much sooner. Everything else is left to the general
way, which this must equal.
"""

import struct
import zlib

from zktw.tree.datatree import DataTree
from zktw.tree.node import DIGEST_MASK, OPEN_ACL_HEAD
from zktw.tree.paths import ROOT, SYSTEM_PREFIX

_int_at = struct.Struct(">i").unpack_from
_pack_int = struct.Struct(">i").pack
_crc32 = zlib.crc32
_ZEROS_4, _ZEROS_8, _ZEROS_12 = bytes(4), bytes(8), bytes(12)
# ACL number and StatPersisted behind the data.
_BEHIND_BYTES = 68
_PERSISTED_BYTES = 60
# Shorter paths may be the root, the end of the tree, or the system's.
_PATH_BYTES_MIN = 12
_SYSTEM = SYSTEM_PREFIX.encode()


def insert_run(tree: DataTree, data: bytes, offset: int, length_max: int) -> int:
    """Insert the whole plain nodes that stand at offset; returns where the first other one begins."""
    nodes, children, digests = tree.nodes, tree.children, tree.digest_enabled
    digest = size_sum = 0
    last_parent: str | None = None
    names: dict[str, None] = {}
    while True:
        try:
            length = _int_at(data, offset)[0]
            at = offset + 4 + length
            size = _int_at(data, at)[0] if _PATH_BYTES_MIN <= length <= length_max else -1
        except struct.error:
            break
        behind = at + 4 + size
        stat = data[behind + 8 : behind + _BEHIND_BYTES]
        if not 0 <= size <= length_max or len(stat) < _PERSISTED_BYTES:
            break
        raw = data[offset + 4 : at]
        plain = stat[36:40] == _ZEROS_4 and stat[44:52] == _ZEROS_8 and data[behind : behind + 8] == OPEN_ACL_HEAD
        if not plain or raw.startswith(_SYSTEM):
            break
        try:
            path = raw.decode("utf-8")
        except UnicodeDecodeError:
            break
        parent, slash, name = path.rpartition("/")
        if parent != last_parent or not slash:
            # Of the root's children the text before the slash is empty.
            holder = parent or (slash and ROOT)
            if holder not in nodes:
                break
            last_parent = parent
            names = children.setdefault(holder, {})
        if path in nodes:
            break
        field = data[at:behind]
        end = _ZEROS_8 + _pack_int(size) + _ZEROS_4 + stat[52:]
        nodes[path] = b"".join((OPEN_ACL_HEAD, _ZEROS_12, field, stat[:44], end))
        names[name] = None
        if digests:
            digest += _crc32(stat[:16] + stat[52:] + stat[16:52], _crc32(field[4:], _crc32(raw)))
        size_sum += length + size
        offset = behind + _BEHIND_BYTES
    tree.digest = tree.digest + digest & DIGEST_MASK
    tree.data_bytes += size_sum
    return offset
