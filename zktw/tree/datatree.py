"""DataTree: nodes and what is known of them by heart; transactions change it and tell what watchers must hear."""

from collections.abc import Iterator

from zktw.terms.codes import ErrorCode, EventType, OpCode
from zktw.tree import change
from zktw.tree.acl import AclTable
from zktw.tree.applied import Applied, Event
from zktw.tree.change import Change
from zktw.tree.node import (
    DATA_START,
    DIGEST_MASK,
    OPEN_ACL_HEAD,
    OPEN_ACL_ID,
    STAT_BYTES,
    NodeFields,
    acl_of,
    data_of,
    digest_of,
    owner_of,
    pack_node,
    unpack_node,
    with_text,
)
from zktw.tree.owner import NodeKind, OwnerRules
from zktw.tree.paths import CONFIG, QUOTA, ROOT, SYSTEM, SYSTEM_PREFIX, child_of, name_of, parent_of
from zktw.tree.quota import LIMITS, QuotaIndex, StatsTrack, limits_path, quota_node, stats_path
from zktw.wire.records import READ_ACL, Acls
from zktw.wire.txn import (
    CREATES,
    DELETES,
    CheckTxn,
    CreateTxn,
    DeleteTxn,
    ErrorTxn,
    MultiTxn,
    SetAclTxn,
    SetDataTxn,
    Txn,
    TxnHeader,
)

_OK = ErrorCode.OK
# The owner that is none, as records have it.
_NOBODY = bytes(8)
# Bytes of a record that are not data.
_OVERHEAD_BYTES = DATA_START + STAT_BYTES
_CREATED, _DELETED = EventType.NODE_CREATED, EventType.NODE_DELETED
_DATA, _CHILDREN = EventType.NODE_DATA_CHANGED, EventType.NODE_CHILDREN_CHANGED


class DataTree:
    """Records by path. Children stand beside the records, not in them; a leaf has no entry there."""

    def __init__(self, rules: OwnerRules, *, digest_enabled: bool = True, config_version: int = 0) -> None:
        self.rules = rules
        self.acls = AclTable()
        self.nodes: dict[str, bytes] = {}
        self.children: dict[str, dict[str, None]] = {}
        self.ephemerals: dict[int, dict[str, None]] = {}
        self.containers: dict[str, None] = {}
        self.ttls: dict[str, None] = {}
        self.quotas = QuotaIndex()
        self.digest_enabled = digest_enabled
        self.digest = 0
        self.data_bytes = 0
        # What watchers must hear of, since the last take_events.
        self._events: list[Event] = []
        self._plant(config_version)

    def _plant(self, config_version: int) -> None:
        """The fresh tree: its stored cversions are 0 although there are children."""
        read = self.acls.intern(READ_ACL)
        for path, acl, version, aversion, count in (
            (ROOT, OPEN_ACL_ID, 0, 0, 1),
            (SYSTEM, OPEN_ACL_ID, 0, 0, 2),
            (CONFIG, read, config_version, -1, 0),
            (QUOTA, OPEN_ACL_ID, 0, 0, 0),
        ):
            self.insert(path, pack_node(NodeFields(acl, 0, 0, b"", 0, 0, 0, 0, version, aversion, 0, count, 0)))

    # -- looking -----------------------------------------------------------------------------------------------------

    def record(self, path: str) -> bytes | None:
        """The record of a path; "" is the root for readers."""
        return self.nodes.get(path)

    def intern(self, acls: Acls) -> int:
        """The number of a list."""
        return self.acls.intern(acls)

    def acls_of(self, record: bytes) -> Acls:
        """The list of a node."""
        return self.acls.get(acl_of(record))

    def descendants(self, path: str) -> Iterator[str]:
        """All paths below this one, parents first."""
        waiting = [path]
        while waiting:
            parent = waiting.pop()
            for name in self.children.get(parent, ()):
                child = child_of(parent, name)
                yield child
                if child in self.children:
                    waiting.append(child)

    def descendant_count(self, path: str) -> int:
        """How many there are; the root has two names, and by the empty one it counts itself."""
        if path in (ROOT, ""):
            return len(self.nodes) - (path == ROOT)
        return sum(1 for _ in self.descendants(path))

    @property
    def ephemeral_count(self) -> int:
        """How many nodes live as long as a session."""
        return sum(map(len, self.ephemerals.values()))

    # -- changing ----------------------------------------------------------------------------------------------------

    def insert(self, path: str, record: bytes) -> None:
        """A node of a snapshot, or of the fresh tree. Its parent is there; a parent's count is what the record says."""
        # Called a million times at a start: each step is asked for first.
        self.nodes[path] = record
        if path != ROOT:
            slash = path.rindex("/")
            parent, name = path[:slash] or ROOT, path[slash + 1 :]
            names = self.children.get(parent)
            if names is None:
                self.children[parent] = {name: None}
            else:
                names[name] = None
        if record[8:16] != _NOBODY:
            self._note_owner(path, record)
        if record[:8] != OPEN_ACL_HEAD:
            self.acls.use(acl_of(record))
        self.data_bytes += len(path) + len(record) - _OVERHEAD_BYTES
        if path.startswith(SYSTEM_PREFIX):
            quota = quota_node(path)
            if quota is not None and quota[1] == LIMITS:
                self.quotas.paths[quota[0]] = None
        elif self.digest_enabled:
            self.digest = self.digest + digest_of(b"" if path == ROOT else path.encode("utf-8"), record) & DIGEST_MASK

    def _note_owner(self, path: str, record: bytes) -> None:
        owner = owner_of(record)
        if not owner:
            return
        kind = self.rules.kind(owner)
        if kind is NodeKind.EPHEMERAL:
            self.ephemerals.setdefault(owner, {})[path] = None
        elif kind is NodeKind.CONTAINER:
            self.containers[path] = None
        elif kind is NodeKind.TTL:
            self.ttls[path] = None

    def _forget_owner(self, path: str, record: bytes) -> None:
        owner = owner_of(record)
        if not owner:
            return
        self.containers.pop(path, None)
        self.ttls.pop(path, None)
        paths = self.ephemerals.get(owner)
        if paths is not None:
            paths.pop(path, None)
            if not paths:
                del self.ephemerals[owner]

    def _carry_out(self, changes: list[Change]) -> None:
        for path, old, new in changes:
            if self.digest_enabled and not path.startswith(SYSTEM_PREFIX):
                raw = b"" if path == ROOT else path.encode("utf-8")
                gone = digest_of(raw, old) if old is not None else 0
                come = digest_of(raw, new) if new is not None else 0
                self.digest = self.digest + come - gone & DIGEST_MASK
            self.data_bytes += (len(new) if new is not None else 0) - (len(old) if old is not None else 0)
            if new is None:
                assert old is not None
                self._remove(path, old)
            elif old is None:
                self.add(path, new)
            else:
                self.nodes[path] = new
                if old[:8] != new[:8]:
                    self.acls.use(acl_of(new))
                    self.acls.leave(acl_of(old))

    def add(self, path: str, record: bytes) -> None:
        """A node comes; digest, and the bytes of its record, are counted by who brings it."""
        self.nodes[path] = record
        parent = parent_of(path)
        names = self.children.get(parent)
        if names is None:
            names = self.children[parent] = {}
        names[name_of(path)] = None
        self._note_owner(path, record)
        self.acls.use(acl_of(record))
        self.data_bytes += len(path) - _OVERHEAD_BYTES

    def _remove(self, path: str, record: bytes) -> None:
        del self.nodes[path]
        parent = parent_of(path)
        names = self.children.get(parent)
        if names is not None:
            names.pop(name_of(path), None)
            if not names:
                del self.children[parent]
        self.children.pop(path, None)
        self._forget_owner(path, record)
        self.acls.leave(acl_of(record))
        self.data_bytes -= len(path) - _OVERHEAD_BYTES

    # -- transactions ------------------------------------------------------------------------------------------------

    def apply(self, header: TxnHeader, type_: int, txn: Txn) -> Applied:
        """Let a transaction happen (of sessions only their nodes are known here). Errors are normal in replay."""
        match txn:
            case SetDataTxn():
                return self._set_data(header, type_, txn)
            case CreateTxn() if type_ in CREATES:
                return self._create(header, type_, txn)
            case DeleteTxn() if type_ in DELETES:
                return self._delete(header, type_, txn)
            case MultiTxn(txns):
                return self._multi(header, txns)
            case SetAclTxn(path, _, _):
                err, changes = change.set_acl(self, txn)
                self._carry_out(changes)
                return Applied(type_, err, path, changes[0][2] if changes else None)
            case ErrorTxn(err):
                return Applied(type_, err)
            case CheckTxn(path, _):
                return Applied(type_, _OK, path)
        return Applied(type_)

    def _create(self, header: TxnHeader, type_: int, txn: CreateTxn) -> Applied:
        err, changes = change.create(self, self.rules, header, type_, txn)
        self._carry_out(changes)
        if err != _OK:
            return Applied(type_, err, txn.path)
        (parent_path, _, parent), (_, _, record) = changes
        assert parent is not None
        assert record is not None
        return self.created(type_, txn, record, parent_path, parent)

    def created(self, type_: int, txn: CreateTxn, record: bytes, parent_path: str, parent: bytes) -> Applied:
        """What follows from a node that has come."""
        self._note_quota_node(txn.path, record)
        self._count_quota(txn.path, 1, len(txn.data or b""))
        self._events.append((_CREATED, txn.path, txn.acls))
        self._events.append((_CHILDREN, parent_path, self.acls_of(parent)))
        return Applied(type_, _OK, txn.path, record)

    def _delete(self, header: TxnHeader, type_: int, txn: DeleteTxn) -> Applied:
        record = self.nodes.get(txn.path)
        acls = self.acls_of(record) if record is not None else ()
        if txn.path in self.children:
            self._clear_below(txn.path)
        if record is not None:
            self._count_quota(txn.path, -1, -len(data_of(record) or b""))
        err, changes = change.delete(self, header, txn)
        self._carry_out(changes)
        if err == _OK:
            self._forget_quota_node(txn.path)
            self._events.append((_DELETED, txn.path, acls))
            parent = self.nodes.get(parent_of(txn.path))
            if parent is not None:
                self._events.append((_CHILDREN, parent_of(txn.path), self.acls_of(parent)))
        return Applied(type_, err, txn.path)

    def _clear_below(self, path: str) -> None:
        """A fuzzy snapshot may show children that came after this deletion: replay brings them again."""
        for child in reversed(list(self.descendants(path))):
            self._carry_out([(child, self.nodes[child], None)])
            self._forget_quota_node(child)

    def _forget_quota_node(self, path: str) -> None:
        quota = quota_node(path)
        if quota is not None and quota[1] == LIMITS:
            self.quotas.paths.pop(quota[0], None)

    def _set_data(self, header: TxnHeader, type_: int, txn: SetDataTxn) -> Applied:
        err, changes = change.set_data(self, header, txn)
        if err != _OK:
            return Applied(type_, err, txn.path)
        self._carry_out(changes)
        _, old, new = changes[0]
        assert old is not None
        assert new is not None
        if self.quotas.paths:
            self._count_quota(txn.path, 0, len(new) - len(old))
        self._events.append((_DATA, txn.path, self.acls_of(new)))
        return Applied(type_, _OK, txn.path, new)

    def _multi(self, header: TxnHeader, txns: list[tuple[int, Txn]]) -> Applied:
        whole = Applied(OpCode.MULTI)
        failed = any(isinstance(txn, ErrorTxn) for _, txn in txns)
        for type_, txn in txns:
            if not failed:
                whole.parts.append(self.apply(header, type_, txn))
            elif isinstance(txn, ErrorTxn):
                whole.parts.append(Applied(OpCode.ERROR, txn.err))
            else:
                whole.parts.append(Applied(OpCode.ERROR, _OK))
        return whole

    def remove_ephemerals(self, header: TxnHeader, paths: tuple[str, ...] | None) -> None:
        """A session ends: the nodes that its transaction names, then what else it owns."""
        for path in paths or ():
            self._delete(header, OpCode.DELETE, DeleteTxn(path))
        for path in list(self.ephemerals.get(header.client_id, ())):
            self._delete(header, OpCode.DELETE, DeleteTxn(path))

    def take_events(self) -> list[Event]:
        """What watchers must hear of, in order; asked once."""
        events, self._events = self._events, []
        return events

    def due(self, wall_ms: int, never_used_ms: int, count_max: int) -> Iterator[str]:
        """Containers and TTL nodes that have outlived themselves (wire document, b.8), so many at most."""
        for path in self.containers:
            fields = unpack_node(self.nodes[path])
            if fields.num_children or count_max <= 0:
                continue
            unused = fields.cversion == 0 and 0 < never_used_ms < wall_ms - fields.mtime
            if fields.cversion > 0 or unused:
                count_max -= 1
                yield path
        for path in self.ttls:
            fields = unpack_node(self.nodes[path])
            over = wall_ms - fields.mtime > self.rules.ttl_of(fields.owner)
            if over and not fields.num_children and count_max > 0:
                count_max -= 1
                yield path

    # -- quotas ------------------------------------------------------------------------------------------------------

    def _note_quota_node(self, path: str, record: bytes) -> None:
        quota = quota_node(path)
        if quota is None:
            return
        if quota[1] == LIMITS:
            self.quotas.paths[quota[0]] = None
        else:
            self.recount(quota[0])

    def recount(self, path: str) -> None:
        """Count a subtree anew, the node with the quota included."""
        stats = self.nodes.get(stats_path(path))
        if stats is None:
            return
        count = size = 0
        if path in self.nodes:
            count, size = 1, len(data_of(self.nodes[path]) or b"")
            for child in self.descendants(path):
                count += 1
                size += len(data_of(self.nodes[child]) or b"")
        self._set_stats(path, stats, StatsTrack(count, size))

    def _count_quota(self, path: str, more_count: int, more_bytes: int) -> None:
        limited = self.quotas.deepest(path)
        if limited is None:
            return
        stats = self.nodes.get(stats_path(limited))
        if stats is None:
            return
        now = StatsTrack.parse(data_of(stats))
        self._set_stats(limited, stats, StatsTrack(now.count + more_count, now.size + more_bytes))

    def _set_stats(self, path: str, record: bytes, stats: StatsTrack) -> None:
        self._carry_out([(stats_path(path), record, with_text(record, stats.text()))])

    def quota_of(self, path: str) -> tuple[str, StatsTrack, StatsTrack] | None:
        """The quota that a node at this path falls under: its path, limits and figures."""
        limited = self.quotas.deepest(path)
        if limited is None:
            return None
        limits, stats = self.nodes.get(limits_path(limited)), self.nodes.get(stats_path(limited))
        if limits is None or stats is None:
            return None
        return limited, StatsTrack.parse(data_of(limits)), StatsTrack.parse(data_of(stats))

    # -- after loading -----------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """After a snapshot was inserted: counts of children, unused lists and quota figures are made right."""
        self.acls.drop_unused()
        for path, names in self.children.items():
            record = self.nodes.get(path)
            if record is not None and len(names) != unpack_node(record).num_children:
                self._carry_out([(path, record, pack_node(unpack_node(record)._replace(num_children=len(names))))])
        for path in list(self.quotas.paths):
            self.recount(path)

    def clear(self) -> None:
        """Forget even the fresh tree: a snapshot brings all nodes."""
        self.nodes.clear()
        self.children.clear()
        self.acls = AclTable()
        self.digest = 0
        self.data_bytes = 0
