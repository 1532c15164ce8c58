"""Snapshot files in one piece, as tests put them on disks."""

from zktw.storage.snapformat import SnapshotEncoder
from zktw.tree.database import Database


def fresh_body(config_text: bytes = b"") -> bytes:
    """The fresh tree as a file has it between header and seal; config_text is its configuration node's."""
    database = Database()
    if config_text:
        database.set_config(config_text, 0, 0)
    return b"".join(database.image().pieces())


def snapshot_file(body: bytes) -> bytes:
    """A whole file around this body. No digest: a reader takes its absence for "not known"."""
    encoder = SnapshotEncoder()
    return encoder.begin() + encoder.add(body) + encoder.end(0, digest=None, last_zxid=None)
