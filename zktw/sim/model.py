"""Model: what a tree must be after each transaction, worked out anew from the rules (wire document, b.4 to b.8).

It shares records and readers with the server and none of its logic. It remembers every state, so that a reply can be
compared with the tree of its zxid, and a crash can take it back.
"""

from bisect import bisect_right
from collections.abc import Iterable
from typing import NamedTuple

from zktw.terms.codes import CreateMode, ErrorCode, EventType, OpCode
from zktw.wire.client import CreateRequest, MultiOp, PathVersion, SetAclRequest, SetDataRequest
from zktw.wire.records import OPEN_ACL, Acls, Stat
from zktw.wire.txn import (
    CheckTxn,
    CloseSessionTxn,
    CreateSessionTxn,
    CreateTxn,
    DeleteTxn,
    ErrorTxn,
    MultiTxn,
    SetAclTxn,
    SetDataTxn,
    Txn,
    TxnHeader,
)

SYSTEM = "/zookeeper"
CONTAINER = -(2**63)
_ANY = -1
_SEQUENTIAL = frozenset({CreateMode.PERSISTENT_SEQUENTIAL, CreateMode.EPHEMERAL_SEQUENTIAL})
_EPHEMERAL = frozenset({CreateMode.EPHEMERAL, CreateMode.EPHEMERAL_SEQUENTIAL})

Event = tuple[EventType, str]


class NodeState(NamedTuple):
    """A node at one zxid. owner is 0, a session, or CONTAINER; creates is the stored cversion."""

    data: bytes | None
    acls: Acls
    owner: int
    version: int
    aversion: int
    creates: int
    czxid: int
    mzxid: int
    pzxid: int
    children: frozenset[str]

    def differs(self, stat: Stat) -> str:
        """What of a Stat is not as it should be, but for its times; "" if nothing is."""
        wanted = {
            "czxid": self.czxid,
            "mzxid": self.mzxid,
            "pzxid": self.pzxid,
            "version": self.version,
            "cversion": 2 * self.creates - len(self.children),
            "aversion": self.aversion,
            "ephemeral_owner": 0 if self.owner == CONTAINER else self.owner,
            "data_length": len(self.data or b""),
            "num_children": len(self.children),
        }
        found = stat._asdict()
        return ", ".join(f"{name} {found[name]}, not {value}" for name, value in wanted.items() if found[name] != value)


class Refused(Exception):
    """A request fails with this code."""

    def __init__(self, code: ErrorCode) -> None:
        super().__init__(code.name)
        self.code = code


def split(path: str) -> tuple[str, str]:
    """Parent and name."""
    parent, _, name = path.rpartition("/")
    return parent or "/", name


class Draft:
    """Changes on top of a tree: of one transaction, or of the parts of a multi so far."""

    def __init__(self, nodes: dict[str, NodeState], zxid: int) -> None:
        self.changes: dict[str, NodeState | None] = {}
        self.events: list[Event] = []
        self._nodes = nodes
        self._zxid = zxid

    def get(self, path: str) -> NodeState | None:
        """The node, None where there is none."""
        return self.changes[path] if path in self.changes else self._nodes.get(path)

    def need(self, path: str) -> NodeState:
        """The node; Refused where there is none."""
        node = self.get(path)
        if node is None:
            raise Refused(ErrorCode.NO_NODE)
        return node

    def _set_child(self, path: str, *, there: bool) -> None:
        parent, name = split(path)
        node = self.need(parent)
        children = node.children | {name} if there else node.children - {name}
        self.changes[parent] = node._replace(
            children=children, creates=node.creates + (1 if there else 0), pzxid=self._zxid
        )
        self.events.append((EventType.NODE_CHILDREN_CHANGED, parent))

    def create(self, path: str, data: bytes | None, acls: Acls, owner: int) -> None:
        """A node comes."""
        zxid = self._zxid
        self.changes[path] = NodeState(data, acls, owner, 0, 0, 0, zxid, zxid, zxid, frozenset())
        self.events.append((EventType.NODE_CREATED, path))
        self._set_child(path, there=True)

    def delete(self, path: str) -> None:
        """It goes."""
        self.changes[path] = None
        self.events.append((EventType.NODE_DELETED, path))
        self._set_child(path, there=False)

    def apply(self, header: TxnHeader, type_: int, txn: Txn) -> None:
        """Let one transaction happen that is no multi. Refused: it cannot."""
        match txn:
            case CreateTxn(path, data, acls, ephemeral):
                if self.get(path) is not None:
                    raise Refused(ErrorCode.NODE_EXISTS)
                owner = CONTAINER if type_ == OpCode.CREATE_CONTAINER else header.client_id if ephemeral else 0
                self.create(path, data, acls, owner)
            case DeleteTxn(path):
                self.need(path)
                self.delete(path)
            case SetDataTxn(path, data, version):
                self.changes[path] = self.need(path)._replace(data=data, version=version, mzxid=self._zxid)
                self.events.append((EventType.NODE_DATA_CHANGED, path))
            case SetAclTxn(path, acls, version):
                self.changes[path] = self.need(path)._replace(acls=acls, aversion=version)

    # -- what a request must become ----------------------------------------------------------------------------------

    def judge_create(self, op: int, asked: CreateRequest) -> CreateTxn:
        """The transaction of a create. Refused: it has none."""
        assert asked.path is not None
        parent = self.need(split(asked.path)[0])
        path = asked.path + (f"{parent.creates:010d}" if asked.flags in _SEQUENTIAL else "")
        if self.get(path) is not None:
            raise Refused(ErrorCode.NODE_EXISTS)
        if parent.owner not in (0, CONTAINER):
            raise Refused(ErrorCode.NO_CHILDREN_FOR_EPHEMERALS)
        ephemeral = asked.flags in _EPHEMERAL and op != OpCode.CREATE_CONTAINER
        return CreateTxn(path, asked.data, asked.acls or (), ephemeral, parent.creates + 1)

    def judge_delete(self, path: str, version: int) -> DeleteTxn:
        """That of a delete."""
        self.need(split(path)[0])
        node = self.need(path)
        _next(node.version, version)
        if node.children:
            raise Refused(ErrorCode.NOT_EMPTY)
        return DeleteTxn(path)

    def judge(self, op: int, asked: object) -> Txn:
        """That of any single write."""
        match asked:
            case CreateRequest():
                return self.judge_create(op, asked)
            case PathVersion(str() as path, version) if op == OpCode.CHECK:
                return CheckTxn(path, _next(self.need(path).version, version))
            case PathVersion(str() as path, version):
                return self.judge_delete(path, version)
            case SetDataRequest(str() as path, data, version):
                return SetDataTxn(path, data, _next(self.need(path).version, version))
            case SetAclRequest(str() as path, acls, version):
                return SetAclTxn(path, acls or (), _next(self.need(path).aversion, version))
        raise AssertionError(f"no write of this model: {asked}")


def _next(version: int, expected: int) -> int:
    if expected not in (_ANY, version):
        raise Refused(ErrorCode.BAD_VERSION)
    return version + 1


class Model:
    """The tree and the sessions after each transaction of a history."""

    def __init__(self) -> None:
        self.zxid = 0
        self.sessions: dict[int, int] = {}
        # Of all sessions that ever were: the transactions that have begun and ended them, an end of 0: none yet.
        self.spans: dict[int, tuple[int, int]] = {}
        self.nodes: dict[str, NodeState] = {}
        # Events by transaction; and by path, what fires watches of its data and of its children.
        self.events: dict[int, list[Event]] = {}
        self._fired: dict[tuple[str, bool], list[int]] = {}
        self._states: dict[str, tuple[list[int], list[NodeState | None]]] = {}
        self._remember("/", NodeState(b"", OPEN_ACL, 0, 0, 0, 0, 0, 0, 0, frozenset({"zookeeper"})))

    def _remember(self, path: str, node: NodeState | None) -> None:
        if node is None:
            self.nodes.pop(path, None)
        else:
            self.nodes[path] = node
        zxids, states = self._states.setdefault(path, ([], []))
        if zxids and zxids[-1] == self.zxid:
            states[-1] = node
        else:
            zxids.append(self.zxid)
            states.append(node)

    def at(self, path: str, zxid: int) -> NodeState | None:
        """The node as it was after this transaction."""
        zxids, states = self._states.get(path, ([], []))
        number = bisect_right(zxids, zxid)
        return states[number - 1] if number else None

    def nodes_at(self, zxid: int) -> dict[str, NodeState]:
        """The tree as it was after this transaction."""
        found = {path: self.at(path, zxid) for path in self._states}
        return {path: node for path, node in found.items() if node is not None}

    def sessions_at(self, zxid: int) -> set[int]:
        """The sessions that there were after this transaction."""
        return {id_ for id_, (begun, ended) in self.spans.items() if begun <= zxid and not 0 < ended <= zxid}

    def fired_between(self, path: str, children: bool, after: int, upto: int) -> int:
        """The first transaction in the range that fires such a watch; 0 if there is none."""
        zxids = self._fired.get((path, children), [])
        number = bisect_right(zxids, after)
        return zxids[number] if number < len(zxids) and zxids[number] <= upto else 0

    def ephemerals(self, session_id: int) -> set[str]:
        """The nodes that a session owns now."""
        return {path for path, node in self.nodes.items() if node.owner == session_id}

    def draft(self) -> Draft:
        """Changes of the next transaction."""
        return Draft(self.nodes, self.zxid + 1)

    def judge(self, op: int, asked: object, session_id: int) -> Txn:
        """What a session's write must become as the next transaction: errors are transactions too."""
        if op != OpCode.MULTI:
            try:
                return self.draft().judge(op, asked)
            except Refused as refused:
                return ErrorTxn(refused.code)
        assert isinstance(asked, list)
        return self._judge_multi(asked, session_id)

    def _judge_multi(self, ops: Iterable[MultiOp], session_id: int) -> MultiTxn:
        draft, header = self.draft(), TxnHeader(session_id, 0, 0, 0, 0)
        txns: list[tuple[int, Txn]] = []
        failed = False
        for op, asked in ops:
            if failed:
                txns.append((OpCode.ERROR, ErrorTxn(ErrorCode.RUNTIME_INCONSISTENCY)))
                continue
            try:
                txn = draft.judge(op, asked)
            except Refused as refused:
                failed = True
                txns.append((OpCode.ERROR, ErrorTxn(refused.code)))
            else:
                draft.apply(header, op, txn)
                txns.append((OpCode.CREATE if op == OpCode.CREATE2 else op, txn))
        return MultiTxn(txns)

    def apply(self, header: TxnHeader, txn: Txn) -> str:
        """Let the next transaction of the history happen; what is wrong with it, or ""."""
        if header.zxid <= self.zxid:
            return f"zxid 0x{header.zxid:x} follows 0x{self.zxid:x}"
        draft = Draft(self.nodes, header.zxid)
        try:
            self._apply(draft, header, txn)
        except Refused as refused:
            return f"transaction 0x{header.zxid:x} cannot be: {refused.code.name} ({txn})"
        self.zxid = header.zxid
        for path, node in draft.changes.items():
            self._remember(path, node)
        if draft.events:
            self.events[self.zxid] = draft.events
            self._note_fired(draft.events)
        return ""

    def _apply(self, draft: Draft, header: TxnHeader, txn: Txn) -> None:
        match txn:
            case MultiTxn(txns):
                if not any(isinstance(part, ErrorTxn) for _, part in txns):
                    for type_, part in txns:
                        draft.apply(header, type_, part)
            case CreateSessionTxn(timeout_ms):
                self.sessions[header.client_id] = timeout_ms
                self.spans[header.client_id] = (header.zxid, 0)
            case CloseSessionTxn():
                # Whatever the transaction names: all that is the session's goes with it.
                for path in sorted(self.ephemerals(header.client_id)):
                    draft.delete(path)
                self.sessions.pop(header.client_id, None)
                self.spans[header.client_id] = (self.spans.get(header.client_id, (0, 0))[0], header.zxid)
            case ErrorTxn():
                pass
            case _:
                draft.apply(header, header.type, txn)

    def _note_fired(self, events: list[Event]) -> None:
        for type_, path in events:
            keys = [(path, type_ == EventType.NODE_CHILDREN_CHANGED)]
            if type_ == EventType.NODE_DELETED:
                keys.append((path, True))
            for key in keys:
                zxids = self._fired.setdefault(key, [])
                if not zxids or zxids[-1] != self.zxid:
                    zxids.append(self.zxid)
