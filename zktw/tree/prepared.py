"""A create whose records were worked out when it was proposed: at its commit they need not be again.

It holds where the tree is still what the proposal was made for, which on a leader, and on a server alone, it always is
but for what went another way in between.
"""

from dataclasses import dataclass

from zktw.tree.applied import Applied
from zktw.tree.datatree import DataTree
from zktw.tree.node import DIGEST_MASK
from zktw.wire.txn import CreateTxn


@dataclass(slots=True)
class PreparedCreate:
    """The parent's record before and after, the node's own, and what both add to the digest."""

    parent_path: str
    parent_old: bytes
    parent: bytes
    record: bytes
    digest_change: int


def apply_prepared(tree: DataTree, type_: int, txn: CreateTxn, prepared: PreparedCreate) -> Applied | None:
    """Let it happen; None where the tree is another than it was prepared for."""
    nodes, path, parent_path = tree.nodes, txn.path, prepared.parent_path
    parent, record = prepared.parent, prepared.record
    if nodes.get(parent_path) is not prepared.parent_old or path in nodes:
        return None
    nodes[parent_path] = parent
    tree.digest = tree.digest + prepared.digest_change & DIGEST_MASK
    tree.data_bytes += len(parent) - len(prepared.parent_old) + len(record)
    tree.add(path, record)
    return tree.created(type_, txn, record, parent_path, parent)
