"""Outlook: the tree as it will be once all that is proposed has been applied."""

from collections import deque

from zktw.terms.codes import ErrorCode
from zktw.terms.limits import OUTLOOK_ACLS_MAX
from zktw.tree import change
from zktw.tree.change import Change
from zktw.tree.datatree import DataTree
from zktw.tree.node import (
    DIGEST_MASK,
    OPEN_ACL_HEAD,
    OPEN_ACL_ID,
    acl_of,
    digest_of,
    owner_of,
)
from zktw.tree.paths import ROOT, SYSTEM_PREFIX
from zktw.tree.prepared import PreparedCreate
from zktw.wire.records import OPEN_ACL, Acls
from zktw.wire.txn import CreateTxn, DeleteTxn, SetAclTxn, SetDataTxn, Txn, TxnHeader

# The first number of a list that only proposals have; the tree's are positive, and -1 is the open list.
_FIRST_ACL_ID = -2


class Outlook:
    """Records by proposals that were not applied yet, over those of the tree; see tree/change.py for what makes them.

    mark() and rollback() bound the parts of a multi, of which all or none hold.
    """

    def __init__(self, tree: DataTree) -> None:
        self._tree = tree
        self.records: dict[str, bytes | None] = {}
        # Which proposal a record is of, and which records each proposal has, oldest first.
        self._newest: dict[str, int] = {}
        self._proposals: deque[tuple[int, list[str]]] = deque()
        self._acls: dict[int, Acls] = {}
        self._acl_ids: dict[Acls, int] = {}
        self._next_acl_id = _FIRST_ACL_ID
        self._undo: list[tuple[str, bool, bytes | None]] | None = None
        self._undo_digest = 0
        self.digest = tree.digest
        self._digested = tree.digest_enabled

    def record(self, path: str) -> bytes | None:
        """The record that a path will have."""
        records = self.records
        if path in records:
            return records[path]
        return self._tree.nodes.get(path)

    def intern(self, acls: Acls) -> int:
        """A number for this list, good for records of this outlook."""
        if acls == OPEN_ACL:
            return OPEN_ACL_ID
        number = self._acl_ids.get(acls)
        if number is None:
            number = self._acl_ids[acls] = self._next_acl_id
            self._next_acl_id -= 1
            self._acls[number] = acls
        return number

    def acls_of(self, record: bytes) -> Acls:
        """The list of a record."""
        number = acl_of(record)
        if number <= _FIRST_ACL_ID:
            return self._acls[number]
        return self._tree.acls.get(number)

    def ephemerals_of(self, session_id: int) -> tuple[str, ...]:
        """The nodes that will go with a session, those that are only proposed included."""
        paths = dict.fromkeys(self._tree.ephemerals.get(session_id, ()))
        for path, record in self.records.items():
            if record is not None and owner_of(record) == session_id:
                paths[path] = None
            else:
                paths.pop(path, None)
        return tuple(paths)

    # -- proposing ---------------------------------------------------------------------------------------------------

    def propose(self, header: TxnHeader, type_: int, txn: Txn) -> PreparedCreate | None:
        """Let this hold from now on. It was checked: that it fails is a bug.

        Of a create it gives what needs not be worked out again: not where lists have numbers of this outlook only.
        """
        match txn:
            case SetDataTxn():
                err, changes = change.set_data(self, header, txn)
            case CreateTxn():
                err, changes = change.create(self, self._tree.rules, header, type_, txn)
            case DeleteTxn():
                err, changes = change.delete(self, header, txn)
            case SetAclTxn():
                err, changes = change.set_acl(self, txn)
            case _:
                return None
        assert err == ErrorCode.OK, f"{txn} was checked, and fails: {err.name}"
        before = self.digest
        self._hold(changes)
        if not isinstance(txn, CreateTxn):
            return None
        (parent_path, old, parent), (_, _, record) = changes
        assert old is not None
        assert parent is not None
        assert record is not None
        if not (_is_lasting(record) and _is_lasting(parent)):
            return None
        return PreparedCreate(parent_path, old, parent, record, self.digest - before)

    def hold_data(self, path: str, record: bytes, digest_change: int) -> int:
        """What a plain setData makes of a node, and the digest then; whoever applies it takes it out of records."""
        if self._newest:
            # An earlier proposal of the same node must not take this one with it.
            self._newest.pop(path, None)
        self.records[path] = record
        self.digest = digest = self.digest + digest_change & DIGEST_MASK
        return digest

    def _hold(self, changes: list[Change]) -> None:
        for path, old, new in changes:
            if self._undo is not None:
                self._undo.append((path, path in self.records, self.records.get(path)))
            self.records[path] = new
            if self._digested and not path.startswith(SYSTEM_PREFIX):
                raw = b"" if path == ROOT else path.encode("utf-8")
                gone = digest_of(raw, old) if old is not None else 0
                come = digest_of(raw, new) if new is not None else 0
                self.digest = self.digest + come - gone & DIGEST_MASK
        self._changed += [path for path, _, _ in changes]

    def open(self) -> None:
        """A proposal begins."""
        self._changed: list[str] = []

    def close(self, zxid: int) -> None:
        """It ends, and has this zxid."""
        if not self._changed:
            return
        for path in self._changed:
            self._newest[path] = zxid
        self._proposals.append((zxid, self._changed))

    def mark(self) -> None:
        """From here on all may be taken back."""
        self._undo = []
        self._undo_digest = self.digest

    def rollback(self) -> None:
        """Take back all since mark()."""
        assert self._undo is not None
        for path, was_there, record in reversed(self._undo):
            if was_there:
                self.records[path] = record
            else:
                del self.records[path]
        self.digest = self._undo_digest
        self._changed = []
        self._undo = None

    def give_up(self) -> None:
        """Take back all of the proposal that is open."""
        if self._undo is not None:
            self.rollback()

    def keep(self) -> None:
        """All since mark() holds."""
        self._undo = None

    def on_applied(self, zxid: int) -> None:
        """The tree itself has come so far."""
        proposals, newest = self._proposals, self._newest
        while proposals and proposals[0][0] <= zxid:
            of, paths = proposals.popleft()
            for path in paths:
                if newest.get(path) == of:
                    del newest[path]
                    del self.records[path]
        if len(self._acls) > OUTLOOK_ACLS_MAX or (self._acls and not proposals):
            self._forget_acls()

    def _forget_acls(self) -> None:
        """A busy server always has proposals under way: it must not keep all the lists that there ever were."""
        numbers = {acl_of(record) for record in self.records.values() if record is not None}
        self._acls = {number: acls for number, acls in self._acls.items() if number in numbers}
        self._acl_ids = {acls: number for number, acls in self._acls.items()}


def _is_lasting(record: bytes) -> bool:
    """Whether the number of its list is one that the tree knows."""
    return record[0] != 0xFF or record[:8] == OPEN_ACL_HEAD
