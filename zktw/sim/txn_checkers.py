"""TxnCheckers: what may be logged, judged by what was asked and by the tree before it; and what memory must be."""

from abc import ABC, abstractmethod

from zktw.sim.cnxn_checkers import Asked
from zktw.sim.history import Entry
from zktw.sim.model import CONTAINER, SYSTEM, Model, split
from zktw.terms.codes import ErrorCode
from zktw.tree.database import Database
from zktw.tree.node import acl_of, stat_of, unpack_node
from zktw.wire.txn import CloseSessionTxn, CreateSessionTxn, DeleteTxn, ErrorTxn


class TxnCheckers(ABC):
    """Of one history, that of a server alone or that of an ensemble."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.replies = 0
        self.events = 0
        self._asked: dict[tuple[int, int], Asked] = {}
        self._begun: dict[int, None] = {}
        self._sequences: dict[tuple[str, int], set[str]] = {}
        # What is done: each request once, and those of a session in their order.
        self._done: dict[int, int] = {}

    @abstractmethod
    def fail(self, reason: str) -> None:
        """An invariant does not hold."""

    @abstractmethod
    def check_may_end(self, session_id: int, told: str) -> None:
        """A session ends: it has asked for that, or was silent for too long."""

    def count(self, event: bool) -> None:
        """The server has told something: an event, or a reply."""
        self.events += event
        self.replies += not event

    def check_sequence(self, path: str, zxid: int) -> None:
        """No number is given twice among the children of one parent, in all its life."""
        parent = split(path)[0]
        node = self.model.at(parent, zxid)
        given = self._sequences.setdefault((parent, node.czxid if node is not None else 0), set())
        if path in given:
            self.fail(f"sequence: {path} is given twice")
        given.add(path)

    def check_txn(self, entry: Entry) -> None:
        """What is logged is what was asked, judged by the tree before it; no session ends before its time."""
        header, txn = entry
        asked = self._asked.get((header.client_id, header.cxid))
        told = f"0x{header.zxid:x} {txn}"
        match txn:
            case CreateSessionTxn():
                if header.client_id in self._begun:
                    self.fail(f"session: {told} gives 0x{header.client_id:x} for the second time")
                self._begun[header.client_id] = None
            case CloseSessionTxn(paths):
                owned = self.model.ephemerals(header.client_id)
                if paths is not None and set(paths) != owned:
                    self.fail(f"C2: {told} ends a session that owns {sorted(owned)}")
                self.check_may_end(header.client_id, told)
            case _ if header.client_id == 0:
                self._check_reaped(entry)
            case ErrorTxn(ErrorCode.SESSION_MOVED) if asked is not None:
                pass
            case ErrorTxn(ErrorCode.SESSION_EXPIRED) if header.client_id not in self.model.sessions:
                pass
            case _ if header.client_id not in self.model.sessions:
                self.fail(f"C2: {told} is of a session that is not there")
            case _ if asked is None:
                self.fail(f"log: {told} of 0x{header.client_id:x}, xid {header.cxid}, was never asked for")
            case _:
                self._check_asked(entry, asked)

    def _check_asked(self, entry: Entry, asked: Asked) -> None:
        header, txn = entry
        told = f"0x{header.zxid:x} {txn}"
        wanted = self.model.judge(asked.op, asked.what, header.client_id)
        if wanted != txn:
            self.fail(f"log: {told}, and {asked} must become {wanted}")
        if header.cxid <= self._done.get(header.client_id, 0):
            self.fail(f"order: {told}, xid {header.cxid}, is behind xid {self._done[header.client_id]} of its session")
        self._done[header.client_id] = header.cxid

    def _check_reaped(self, entry: Entry) -> None:
        header, txn = entry
        if isinstance(txn, ErrorTxn):
            return
        node = self.model.nodes.get(txn.path) if isinstance(txn, DeleteTxn) else None
        if node is None or node.owner != CONTAINER or node.children or not node.creates:
            self.fail(f"container: 0x{header.zxid:x} {txn} removes {node}")

    def check_database(self, database: Database, zxid: int, who: str = "the server") -> None:
        """A server's memory is the model at this zxid: every node and session, none besides; digests agree."""
        if database.digest_mismatches:
            self.fail(
                f"digest: {database.digest_mismatches} transactions have left another tree at {who} than they tell"
            )
        sessions = self.model.sessions_at(zxid)
        if database.sessions.keys() != sessions:
            ours, theirs = sessions, set(database.sessions)
            self.fail(f"C2: sessions {who} has lost: {sorted(ours - theirs)}; kept: {sorted(theirs - ours)}")
        wanted = self.model.nodes_at(zxid)
        nodes = {path: node for path, node in database.tree.nodes.items() if not path.startswith(SYSTEM)}
        if nodes.keys() != wanted.keys():
            lost, kept = sorted(wanted.keys() - nodes.keys()), sorted(nodes.keys() - wanted.keys())
            self.fail(f"D5: nodes {who} has lost at 0x{zxid:x}: {lost}; has and should not have: {kept}")
            return
        for path, record in nodes.items():
            node, fields = wanted[path], unpack_node(record)
            wrong = node.differs(stat_of(record))
            if wrong or (fields.data, fields.owner) != (node.data, node.owner):
                self.fail(f"D5: {path} is not what it should be at 0x{zxid:x} at {who}: {wrong}; {fields}, not {node}")
            elif database.tree.acls_of(record) != node.acls:
                self.fail(f"D5: {path} has the list {database.tree.acls_of(record)}, not {node.acls}")

    def check_sessions(self, living: set[int]) -> None:
        """These sessions are there, and no others."""
        if set(self.model.sessions) != living:
            dead, gone = sorted(set(self.model.sessions) - living), sorted(living - set(self.model.sessions))
            self.fail(f"C2: sessions of nobody are kept: {dead}; lost are {gone}")


def records_of(database: Database) -> dict[str, object]:
    """All of each node, its list in place of the list's number, which is another one after a restart."""
    acls = database.tree.acls
    return {
        path: (unpack_node(record)._replace(acl=0), acls.get(acl_of(record)))
        for path, record in database.tree.nodes.items()
    }
