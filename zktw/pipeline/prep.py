"""PrepRequestProcessor: a write becomes a transaction, or an error in its place of the order (wire document, b.8)."""

import struct
from collections.abc import Callable

from zktw.pipeline.auth import Authentication
from zktw.pipeline.figures import LENGTH_BYTES
from zktw.pipeline.outlook import Outlook
from zktw.pipeline.proposal import NullFieldError, Proposal, next_version, refuse
from zktw.pipeline.reconfiguring import CONFIG_NODE_VERSION, Reconfigurer, read_wish
from zktw.pipeline.request import Request
from zktw.terms.codes import CreateMode, ErrorCode, OpCode, Perm
from zktw.terms.errors import WireError, ZkError
from zktw.terms.limits import ACL_ITEMS_MAX, CLOSE_SESSION_BYTES_MAX, EXPANDED_BYTES_MAX
from zktw.tree.acl import expansion
from zktw.tree.change import is_leaf
from zktw.tree.database import Database
from zktw.tree.node import (
    OPEN_ACL_HEAD,
    cversion_of,
    data_of,
    owner_of,
    stat_of,
    version_of,
    wrap32,
)
from zktw.tree.owner import TTL_MAX_MS, NodeKind
from zktw.tree.paths import CONFIG, SPECIAL, is_valid, parent_of, sequence_suffix
from zktw.tree.quota import exceeded, may_stand
from zktw.wire.client import (
    BODY,
    CreateRequest,
    NullListError,
    PathVersion,
    SetDataRequest,
    read_create,
    read_multi,
    read_path_version,
    read_set_acl,
    read_set_data,
)
from zktw.wire.jute import Reader, encode_text
from zktw.wire.records import NULL_ID, Acls, Identity
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
    encode_txn,
)

_TTL_MODES = (CreateMode.PERSISTENT_WITH_TTL, CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL)
_EPHEMERAL_MODES = (CreateMode.EPHEMERAL, CreateMode.EPHEMERAL_SEQUENTIAL)
_SEQUENTIAL_MODES = (
    CreateMode.PERSISTENT_SEQUENTIAL,
    CreateMode.EPHEMERAL_SEQUENTIAL,
    CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL,
)
_MODES = {int(mode): mode for mode in CreateMode}
_REAPED = (NodeKind.CONTAINER, NodeKind.TTL)
# Schemes whose ids Apache looks at.
_READ_IDS = frozenset({"world", "digest", "ip"})


class PrepRequestProcessor:
    """Checks each write against the tree as it will be, and says what it changes."""

    def __init__(
        self,
        database: Database,
        auth: Authentication,
        length_max: int,
        *,
        digest_enabled: bool = True,
        close_session_txn: bool = True,
        enforce_quota: bool = False,
        reconfig_enabled: bool = False,
        has_peers: bool = False,
    ) -> None:
        self._auth = auth
        self._length_max = length_max
        self._digest_enabled = digest_enabled
        self._close_session_txn = close_session_txn
        self._enforce_quota = enforce_quota
        self._reconfig_enabled = reconfig_enabled
        self._has_peers = has_peers
        # A leader's; a server alone has no ensemble to change.
        self.reconfigurer: Reconfigurer | None = None
        # What the entries of scheme auth in the request at hand have become so far.
        self._expanded_bytes = 0
        # Where there are sessions that may own nothing: whether a session may.
        self.may_own: Callable[[int], bool] | None = None
        # Quotas that a request went over: path and what would be exceeded, for the log.
        self.over_quota: list[tuple[str, str]] = []
        self._handlers: dict[int, Callable[[Request, TxnHeader], Txn]] = {
            OpCode.CREATE: self._create,
            OpCode.CREATE2: self._create,
            OpCode.CREATE_CONTAINER: self._create,
            OpCode.CREATE_TTL: self._create,
            OpCode.DELETE: self._delete,
            OpCode.SET_DATA: self._set_data,
            OpCode.SET_ACL: self._set_acl,
            OpCode.MULTI: self._multi,
            OpCode.RECONFIG: self._reconfig,
            OpCode.CREATE_SESSION: self._create_session,
            OpCode.CLOSE_SESSION: self._close_session,
            OpCode.DELETE_CONTAINER: self._delete_container,
        }
        self.begin(database)

    def begin(self, database: Database) -> None:
        """Forget what was proposed and not applied."""
        self._database = database
        self.outlook = Outlook(database.tree)

    def prepare(self, request: Request, zxid: int, time: int) -> Proposal | None:
        """The transaction of this request at this place; time is the wall's, in ms. None: it cannot be read.

        As with Apache 3.9 that takes no place in the order, but a multi cut short does, and a list with a null id.
        """
        header = TxnHeader(request.session_id, request.cxid, zxid, time, request.op)
        outlook = self.outlook
        outlook.open()
        self._expanded_bytes = 0
        txn: Txn
        prepared = None
        try:
            txn = self._handlers[request.op](request, header)
            if request.op != OpCode.MULTI:
                prepared = outlook.propose(header, header.type, txn)
        except ZkError as error:
            txn = refuse(header, error.code)
        except NullFieldError:
            outlook.give_up()
            txn = refuse(header, ErrorCode.MARSHALLING_ERROR)
        except NullListError:
            return None
        except (WireError, struct.error, IndexError):
            outlook.give_up()
            if request.op != OpCode.MULTI:
                return None
            txn = refuse(header, ErrorCode.MARSHALLING_ERROR)
        outlook.close(zxid)
        digest = outlook.digest if self._digest_enabled and header.type != OpCode.ERROR else None
        return Proposal(header, txn, encode_txn(header, txn, digest), prepared)

    def refused(self, request: Request, zxid: int, time: int, code: ErrorCode) -> Proposal:
        """An error at this place, whatever the request would have been."""
        header = TxnHeader(request.session_id, request.cxid, zxid, time, request.op)
        txn = refuse(header, code)
        return Proposal(header, txn, encode_txn(header, txn, None))

    def _reader(self, request: Request) -> Reader:
        reader = Reader(request.frame, self._length_max)
        reader.offset = BODY
        return reader

    def _record(self, path: str) -> bytes:
        record = self.outlook.record(path)
        if record is None:
            raise ZkError(ErrorCode.NO_NODE)
        return record

    def _check_acl(self, record: bytes, perm: Perm, identities: tuple[Identity, ...]) -> None:
        if record[:8] != OPEN_ACL_HEAD and not self._auth.allows(self.outlook.acls_of(record), perm, identities):
            raise ZkError(ErrorCode.NO_AUTH)

    def _fix(self, acls: Acls | None, identities: tuple[Identity, ...]) -> Acls:
        if acls and any(acl.id == NULL_ID and acl.scheme in _READ_IDS for acl in acls):
            raise NullFieldError
        count, size = expansion(acls or (), identities)
        self._expanded_bytes += size
        # Before memory is taken for it: a frame may ask for gigabytes, and for entries that no reader of a log takes.
        if self._expanded_bytes > EXPANDED_BYTES_MAX or len(acls or ()) + count > ACL_ITEMS_MAX:
            raise ZkError(ErrorCode.INVALID_ACL)
        fixed = self._auth.fix(acls, identities)
        if fixed is None:
            raise ZkError(ErrorCode.INVALID_ACL)
        return fixed

    # -- single writes -----------------------------------------------------------------------------------------------

    def _create(self, request: Request, header: TxnHeader) -> Txn:
        return self._create_txn(read_create(self._reader(request), request.op), request)

    def _create_txn(self, asked: CreateRequest, request: Request, op: int = 0) -> CreateTxn:
        op = op or request.op
        mode = self._mode(asked, op)
        if mode in _EPHEMERAL_MODES and self.may_own is not None and not self.may_own(request.session_id):
            # Its server would have made it the ensemble's if it was to be.
            local = request.client is not None and op in (OpCode.CREATE, OpCode.CREATE2)
            raise ZkError(ErrorCode.EPHEMERAL_ON_LOCAL_SESSION if local else ErrorCode.SESSION_EXPIRED)
        path, data = asked.path, asked.data
        if path is None:
            raise NullFieldError
        if "/" not in path or "\0" in path:
            raise ZkError(ErrorCode.BAD_ARGUMENTS)
        acls = self._fix(asked.acls, request.identities)
        parent = self._record(parent_of(path))
        self._check_acl(parent, Perm.CREATE, request.identities)
        cversion = cversion_of(parent)
        if mode in _SEQUENTIAL_MODES:
            path += sequence_suffix(cversion)
        if not is_valid(path) or (self._has_peers and not may_stand(path, data)):
            raise ZkError(ErrorCode.BAD_ARGUMENTS)
        if self.outlook.record(path) is not None:
            raise ZkError(ErrorCode.NODE_EXISTS)
        owner = owner_of(parent)
        if owner and self._database.rules.kind(owner) is NodeKind.EPHEMERAL:
            raise ZkError(ErrorCode.NO_CHILDREN_FOR_EPHEMERALS)
        self._check_quota(path, 1, len(data or b""))
        ephemeral = mode in _EPHEMERAL_MODES and op in (OpCode.CREATE, OpCode.CREATE2)
        ttl = asked.ttl if op == OpCode.CREATE_TTL else 0
        return CreateTxn(path, data, acls, ephemeral, wrap32(cversion + 1), ttl)

    def _mode(self, asked: CreateRequest, op: int) -> CreateMode:
        mode = _MODES.get(asked.flags)
        if mode is None:
            raise ZkError(ErrorCode.BAD_ARGUMENTS)
        if mode in _TTL_MODES:
            if not self._database.rules.extended:
                raise ZkError(ErrorCode.UNIMPLEMENTED)
            if not 0 < asked.ttl <= TTL_MAX_MS:
                raise ZkError(ErrorCode.BAD_ARGUMENTS)
        elif asked.ttl >= 0 or op == OpCode.CREATE_TTL:
            # A createTTL without a time to live would end every Apache server that applies it.
            raise ZkError(ErrorCode.BAD_ARGUMENTS)
        return mode

    def _check_quota(self, path: str, more_count: int, more_bytes: int) -> None:
        if not self._database.tree.quotas.paths:
            return
        quota = self._database.tree.quota_of(path)
        if quota is None:
            return
        limited, limits, stats = quota
        for hard, what in exceeded(limits, stats, more_count, more_bytes):
            self.over_quota.append((limited, what))
            if hard and self._enforce_quota:
                raise ZkError(ErrorCode.QUOTA_EXCEEDED)

    def _delete(self, request: Request, header: TxnHeader) -> Txn:
        return self._delete_txn(read_path_version(self._reader(request)), request)

    def _delete_txn(self, asked: PathVersion, request: Request) -> DeleteTxn:
        path = asked.path
        if path is None:
            raise NullFieldError
        if "/" not in path or "\0" in path or path in SPECIAL:
            raise ZkError(ErrorCode.BAD_ARGUMENTS)
        parent = self._record(parent_of(path))
        self._check_acl(parent, Perm.DELETE, request.identities)
        record = self._record(path)
        next_version(version_of(record), asked.version)
        if not is_leaf(record):
            raise ZkError(ErrorCode.NOT_EMPTY)
        return DeleteTxn(path)

    def _set_data(self, request: Request, header: TxnHeader) -> Txn:
        return self._set_data_txn(read_set_data(self._reader(request)), request)

    def _set_data_txn(self, asked: SetDataRequest, request: Request) -> SetDataTxn:
        path, data, version = asked
        if path is None or not is_valid(path) or (self._has_peers and not may_stand(path, data)):
            raise ZkError(ErrorCode.BAD_ARGUMENTS)
        record = self._record(path)
        self._check_acl(record, Perm.WRITE, request.identities)
        self._check_quota(path, 0, len(data or b"") - len(data_of(record) or b""))
        return SetDataTxn(path, data, next_version(version_of(record), version))

    def _set_acl(self, request: Request, header: TxnHeader) -> Txn:
        path, acls, version = read_set_acl(self._reader(request))
        if path is None or not is_valid(path):
            raise ZkError(ErrorCode.BAD_ARGUMENTS)
        fixed = self._fix(acls, request.identities)
        record = self._record(path)
        self._check_acl(record, Perm.ADMIN, request.identities)
        return SetAclTxn(path, fixed, next_version(stat_of(record).aversion, version))

    def _check_txn(self, asked: PathVersion, request: Request) -> CheckTxn:
        path = asked.path
        if path is None or not is_valid(path):
            raise ZkError(ErrorCode.BAD_ARGUMENTS)
        record = self._record(path)
        self._check_acl(record, Perm.READ, request.identities)
        return CheckTxn(path, next_version(version_of(record), asked.version))

    def _reconfig(self, request: Request, header: TxnHeader) -> Txn:
        wish = read_wish(self._reader(request))
        if not self._reconfig_enabled:
            raise ZkError(ErrorCode.RECONFIG_DISABLED)
        if self.reconfigurer is None:
            raise ZkError(ErrorCode.UNIMPLEMENTED)
        ensemble = self.reconfigurer.work_out(wish, header.zxid)
        self._check_acl(self._record(CONFIG), Perm.WRITE, request.identities)
        return SetDataTxn(CONFIG, self.reconfigurer.begin(ensemble), CONFIG_NODE_VERSION)

    # -- multi -------------------------------------------------------------------------------------------------------

    def _multi(self, request: Request, header: TxnHeader) -> Txn:
        ops = read_multi(self._reader(request))
        outlook = self.outlook
        outlook.mark()
        txns: list[tuple[int, Txn]] = []
        failed = False
        for op, asked in ops:
            if failed:
                txns.append((OpCode.ERROR, ErrorTxn(ErrorCode.RUNTIME_INCONSISTENCY)))
                continue
            try:
                type_, txn = self._part(op, asked, request)
                outlook.propose(header, type_, txn)
                txns.append((type_, txn))
            except ZkError as error:
                failed = True
                txns.append((OpCode.ERROR, ErrorTxn(error.code)))
        if failed:
            outlook.rollback()
        else:
            outlook.keep()
        return MultiTxn(txns)

    def _part(
        self, op: int, asked: "CreateRequest | PathVersion | SetDataRequest", request: Request
    ) -> tuple[int, Txn]:
        match asked:
            case CreateRequest():
                # Apache 3.8.0 knows no create2 within a multi, and would apply nothing of it.
                return (OpCode.CREATE if op == OpCode.CREATE2 else op), self._create_txn(asked, request, op)
            case SetDataRequest():
                return op, self._set_data_txn(asked, request)
            case _ if op == OpCode.CHECK:
                return op, self._check_txn(asked, request)
            case _:
                return op, self._delete_txn(asked, request)

    # -- sessions and reapers ----------------------------------------------------------------------------------------

    def _create_session(self, request: Request, header: TxnHeader) -> Txn:
        timeout_ms = self._reader(request).i32()
        if timeout_ms <= 0:
            raise ZkError(ErrorCode.BAD_ARGUMENTS)
        return CreateSessionTxn(timeout_ms)

    def _close_session(self, request: Request, header: TxnHeader) -> Txn:
        paths = self.outlook.ephemerals_of(request.session_id)
        for path in paths:
            self.outlook.propose(header, OpCode.DELETE, DeleteTxn(path))
        return CloseSessionTxn(_that_fit(paths) if self._close_session_txn else None)

    def _delete_container(self, request: Request, header: TxnHeader) -> Txn:
        path = request.frame[BODY:].decode("utf-8")
        record = self._record(path)
        if not is_leaf(record):
            raise ZkError(ErrorCode.NOT_EMPTY)
        if self._database.rules.kind(owner_of(record)) not in _REAPED:
            # Another node has come to stand there meanwhile. Apache would delete one that is to stay.
            raise ZkError(ErrorCode.BAD_VERSION)
        return DeleteTxn(path)


def _that_fit(paths: tuple[str, ...]) -> tuple[str, ...]:
    """As many of the paths as the end of a session names."""
    size = 0
    for count, path in enumerate(paths):
        size += LENGTH_BYTES + len(encode_text(path))
        if size > CLOSE_SESSION_BYTES_MAX:
            return paths[:count]
    return paths
