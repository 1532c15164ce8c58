"""The fresh tree as servers of a simulation have it on disk and send it."""

from zktw.storage.snapformat import SnapshotEncoder
from zktw.tree.database import Database
from zktw.wire.peers import TREE_SIGNATURE

_BODY = b"".join(Database().image().pieces())
# As it follows a SNAP packet.
FRESH_STREAM = _BODY + TREE_SIGNATURE


def fresh_file() -> bytes:
    """As a snapshot file."""
    encoder = SnapshotEncoder()
    return encoder.begin() + encoder.add(_BODY) + encoder.end(0, digest=None, last_zxid=None)
