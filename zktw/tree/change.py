"""What a transaction does to records: the one place that says it, for the tree and for what is predicted of it.

Each function looks at a View and returns the error and the changes: (path, record before or None, record after or
None), parents before children where a node comes, after it where one goes. Nothing is changed here. (Wire document,
c.2, rules of applying.)
"""

from typing import Protocol

from zktw.terms.codes import ErrorCode, OpCode
from zktw.tree.node import (
    NodeFields,
    acl_of,
    children_of,
    cversion_of,
    pack_node,
    stat_of,
    unpack_node,
    with_children,
    with_data,
    wrap32,
)
from zktw.tree.owner import CONTAINER_OWNER, TTL_MAX_MS, OwnerRules
from zktw.tree.paths import parent_of
from zktw.wire.records import Acls
from zktw.wire.txn import NEXT_CVERSION, CreateTxn, DeleteTxn, SetAclTxn, SetDataTxn, TxnHeader

Change = tuple[str, bytes | None, bytes | None]
Outcome = tuple[ErrorCode, list[Change]]

OK = ErrorCode.OK


class View(Protocol):
    """Records as they are, or as they will be."""

    def record(self, path: str) -> bytes | None:
        """The record of a path, None where there is no node."""

    def intern(self, acls: Acls) -> int:
        """The number of a list in the records of this view."""


def create_owner(rules: OwnerRules, client_id: int, type_: int, txn: CreateTxn) -> int:
    """The owner that a create gives its node."""
    if type_ == OpCode.CREATE_CONTAINER:
        return CONTAINER_OWNER
    if type_ == OpCode.CREATE_TTL:
        # No server of ours writes another; one in a log would end every Apache server that reads it.
        return rules.owner_of_ttl(txn.ttl) if 0 < txn.ttl <= TTL_MAX_MS else 0
    return client_id if txn.ephemeral else 0


def create(view: View, rules: OwnerRules, header: TxnHeader, type_: int, txn: CreateTxn) -> Outcome:
    """A node comes. Where it is there already, replay of a fuzzy snapshot still moves its list and its parent."""
    parent_path = parent_of(txn.path)
    parent = view.record(parent_path)
    if parent is None:
        return ErrorCode.NO_NODE, []
    existing = view.record(txn.path)
    if existing is not None:
        return ErrorCode.NODE_EXISTS, _create_again(view, header, type_, txn, parent_path, parent, existing)
    owner = create_owner(rules, header.client_id, type_, txn)
    zxid, time = header.zxid, header.time
    shown = owner if owner == header.client_id and txn.ephemeral else 0
    record = pack_node(
        NodeFields(view.intern(txn.acls), owner, 0, txn.data, zxid, zxid, time, time, 0, 0, shown, 0, zxid)
    )
    return OK, [(parent_path, parent, _parent_with(parent, 1, txn.parent_cversion, zxid)), (txn.path, None, record)]


def _parent_with(parent: bytes, more: int, cversion: int, zxid: int) -> bytes:
    stored = cversion_of(parent)
    if cversion == NEXT_CVERSION:
        cversion = wrap32(stored + 1)
    if cversion > stored:
        return with_children(parent, more, cversion, zxid)
    return with_children(parent, more, stored, stat_of(parent).pzxid)


def _create_again(
    view: View, header: TxnHeader, type_: int, txn: CreateTxn, parent_path: str, parent: bytes, existing: bytes
) -> list[Change]:
    changes: list[Change] = []
    number = view.intern(txn.acls)
    if number != acl_of(existing):
        # The list that the node's number stood for may be gone (bug 4846).
        changes.append((txn.path, existing, pack_node(unpack_node(existing)._replace(acl=number))))
    if type_ == OpCode.CREATE:
        raised = _parent_with(parent, 0, txn.parent_cversion, header.zxid)
        if raised != parent:
            changes.append((parent_path, parent, raised))
    return changes


def delete(view: View, header: TxnHeader, txn: DeleteTxn) -> Outcome:
    """A node goes. The parent's pzxid moves even where the node is gone already."""
    parent_path = parent_of(txn.path)
    record = view.record(txn.path)
    parent = view.record(parent_path)
    changes: list[Change] = []
    if record is not None:
        changes.append((txn.path, record, None))
    if parent is not None:
        pzxid = max(stat_of(parent).pzxid, header.zxid)
        changes.append((parent_path, parent, with_children(parent, -1 if record else 0, cversion_of(parent), pzxid)))
    return (OK if record is not None else ErrorCode.NO_NODE), changes


def set_data(view: View, header: TxnHeader, txn: SetDataTxn) -> Outcome:
    """A node has other data."""
    record = view.record(txn.path)
    if record is None:
        return ErrorCode.NO_NODE, []
    return OK, [(txn.path, record, with_data(record, txn.data, txn.version, header.zxid, header.time))]


def set_acl(view: View, txn: SetAclTxn) -> Outcome:
    """A node has another list."""
    record = view.record(txn.path)
    if record is None:
        return ErrorCode.NO_NODE, []
    fields = unpack_node(record)._replace(acl=view.intern(txn.acls), aversion=txn.version)
    return OK, [(txn.path, record, pack_node(fields))]


def is_leaf(record: bytes) -> bool:
    """Whether a node has no children."""
    return children_of(record) == 0
