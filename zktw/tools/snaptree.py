"""A snapshot in memory, as the file has it: nothing is recounted or made right as a server's start does."""

import os
from collections.abc import Iterator
from typing import Any

from zktw.storage.datadir import zxid_of_name
from zktw.storage.files import IFiles
from zktw.storage.snapformat import GZIP_MAGIC, SNAPPY_MAGIC, Ending, read_snapshot
from zktw.terms.errors import WireError
from zktw.tools.common import (
    LOG_MAGIC,
    SNAPSHOT_MAGIC,
    ToolError,
    acl_word,
    beginning_of,
    chunks_of,
    hexed,
    moment,
    shown_acls,
)
from zktw.tree.image import ImageParser
from zktw.tree.node import NodeFields, data_of, unpack_node, wrap32
from zktw.tree.owner import NodeKind, OwnerRules
from zktw.tree.paths import ROOT, child_of, name_of, parent_of
from zktw.wire.records import OPEN_ACL, Acls

# A session of server 255 looks like a time to live; a snapshot does not tell how its server was configured.
RULES = OwnerRules(extended=True)
_OPEN = -1


class Snapshot:
    """The content of one file. defect says where it could not be read any further, "" where all of it was."""

    def __init__(self, path: str, files: IFiles, maxbuffer: int) -> None:
        self.path = path
        self.zxid = zxid_of_name(os.path.basename(path))
        self.size = files.size(path)
        self.sessions: dict[int, int] = {}
        self.acls: dict[int, Acls] = {}
        self.nodes: dict[str, bytes] = {}
        self.children: dict[str, list[str]] = {}
        self.ending = Ending()
        self.defect = ""
        parser = ImageParser(
            RULES,
            maxbuffer,
            session=self.sessions.__setitem__,
            acl=self.acls.__setitem__,
            node=self._insert,
        )
        try:
            self.ending = read_snapshot(path, chunks_of(path, files), parser)
        except WireError as error:
            self.defect = str(error)

    def _insert(self, path: str, record: bytes) -> None:
        if path in self.nodes:
            raise WireError(f"the node {path[:80]!r} twice")
        if path != ROOT:
            parent = parent_of(path)
            if parent not in self.nodes:
                raise WireError(f"the node {path[:80]!r} before its parent")
            self.children.setdefault(parent, []).append(name_of(path))
        self.nodes[path] = record

    def walk(self, top: str = ROOT) -> Iterator[str]:
        """Paths from this one downwards, a node before its children, these by name."""
        waiting = [top]
        while waiting:
            path = waiting.pop()
            yield path
            names = self.children.get(path)
            if names:
                waiting += [child_of(path, name) for name in sorted(names, reverse=True)]

    def acls_of(self, node: NodeFields) -> Acls | None:
        """The list of a node; None where the file lacks it, as a fuzzy one may."""
        return OPEN_ACL if node.acl == _OPEN else self.acls.get(node.acl)

    def fields(self, path: str) -> dict[str, Any]:
        """A node as JSON has it. cversion is what a client sees, cversion_stored what the file has."""
        node = unpack_node(self.nodes[path])
        children = len(self.children.get(path, ()))
        acls = self.acls_of(node)
        fields: dict[str, Any] = {
            "path": path,
            "czxid": hexed(node.czxid),
            "ctime_ms": node.ctime,
            "mzxid": hexed(node.mzxid),
            "mtime_ms": node.mtime,
            "pzxid": hexed(node.pzxid),
            "version": node.version,
            "cversion": wrap32(2 * node.cversion - children),
            "cversion_stored": node.cversion,
            "aversion": node.aversion,
            "children": children,
            "bytes": None if node.data is None else len(node.data),
            "acl": None if acls is None else shown_acls(acls),
        }
        return fields | _owner_fields(node.owner)

    def words(self, path: str) -> list[str]:
        """What a line says of a node, behind its path."""
        node = unpack_node(self.nodes[path])
        fields = self.fields(path)
        acls = self.acls_of(node)
        owner = _owner_fields(node.owner)
        return [
            *([] if owner["kind"] == "persistent" else [owner["kind"]]),
            *(f"{name}={owner[name]}" for name in ("session", "ttl_ms") if name in owner),
            f"czxid={hexed(node.czxid)}",
            f"ctime={moment(node.ctime)}",
            f"mzxid={hexed(node.mzxid)}",
            f"mtime={moment(node.mtime)}",
            f"pzxid={hexed(node.pzxid)}",
            *(f"{name}={fields[name]}" for name in ("version", "cversion", "aversion", "children")),
            f"bytes={'null' if node.data is None else len(node.data)}",
            f"acl={'MISSING' if acls is None else acl_word(acls)}",
        ]

    def data_bytes(self, path: str) -> int:
        """The bytes of a node's data."""
        return len(data_of(self.nodes[path]) or b"")


def _owner_fields(owner: int) -> dict[str, Any]:
    kind = RULES.kind(owner)
    fields: dict[str, Any] = {"kind": kind.name.lower(), "owner": hexed(owner)}
    if kind is NodeKind.EPHEMERAL:
        fields["session"] = hexed(owner)
    elif kind is NodeKind.TTL:
        fields["ttl_ms"] = RULES.ttl_of(owner)
    return fields


def open_snapshot(path: str, files: IFiles, maxbuffer: int) -> Snapshot:
    """Load a snapshot. ToolError: the file is missing or of another kind."""
    beginning = beginning_of(path)
    if beginning == LOG_MAGIC:
        raise ToolError(f"{path}: is a transaction log, no snapshot; zktw log reads it")
    for suffix, magic in ((".gz", GZIP_MAGIC), (".snappy", SNAPPY_MAGIC)):
        # As Apache does, the name alone says how it is packed.
        if beginning and magic.startswith(beginning[: len(magic)]) and not path.endswith(suffix):
            raise ToolError(f"{path}: is packed, but its name does not end with {suffix}")
    snapshot = Snapshot(path, files, maxbuffer)
    if not snapshot.nodes and snapshot.defect and not SNAPSHOT_MAGIC.startswith(beginning) and not _packed(path):
        raise ToolError(f"{path}: is no snapshot: it begins with {beginning.hex()}, not {SNAPSHOT_MAGIC.hex()}")
    return snapshot


def _packed(path: str) -> bool:
    return path.endswith((".gz", ".snappy"))
